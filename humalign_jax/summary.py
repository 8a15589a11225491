"""Last lines of a run: its main scores, its page, and the next command."""

import csv
import pathlib
from collections import defaultdict
from collections.abc import Sequence

from humalign_jax import results, storage
from humalign_jax.records import Score

MOST_SCORES = 8
_MOST_COLUMNS = 3  # that tell scores apart
_MOST_MEASURES = 4  # of a page's headline table
# Entries of a score's provenance that may tell it from the others, in this order.
_TELLS = ('model', 'layer', 'human', 'roi', 'category', 'pairs', 'level', 'condition', 'mode', 'of', 'measure', 'stage')
_TRAINED = 'humalign run extract --config.run={folder} --workdir={folder}-features'
_SCORED = 'humalign run report --config.study={folder} --workdir={folder}/report'
_NEXT = {
    **dict.fromkeys(('train_classifier', 'train_vae', 'train_deconv', 'import_checkpoint', 'tune_to_brain'), _TRAINED),
    **dict.fromkeys(
        (
            *('alignment', 'channels', 'encoding', 'geometry', 'human_rsa', 'interpretability', 'latents', 'learning'),
            *('odd_one_out', 'ratings', 'rsa', 'train_soft_labels'),
        ),
        _SCORED,
    ),
}


def of_run(folder: pathlib.Path, experiment: str) -> str:
    """Lines for the end of a run; '' where it left neither scores nor a page.

    Args:
        folder: The run's folder.
        experiment: The config's experiment.
    """
    lines = []
    rows = storage.read_jsonl(folder / 'scores.jsonl')
    if rows:
        lines += [results.text_table(_columns([Score.from_json(row) for row in rows]))]
    if len(rows) > MOST_SCORES:
        lines += [f'{len(rows) - MOST_SCORES} more: {folder / "scores.jsonl"}']
    page = next((path for path in (folder / 'report.html', folder / 'report' / 'report.html') if path.is_file()), None)
    if page is not None:
        if not rows and (headline := _headline(page.parent / 'tables' / 'headline.csv')):
            lines += [results.text_table(headline)]
        lines += [f'Page: {page.resolve().as_uri()}']
    elif experiment in _NEXT:
        run = min(folder.glob('seed_*'), default=folder) if _NEXT[experiment] == _TRAINED else folder
        lines += [f'Next: {_NEXT[experiment].format(folder=run)}']
    return '\n'.join(lines)


def _columns(scores: Sequence[Score]) -> dict[str, list[str]]:
    """A table of the main scores: name, what tells them apart, value, interval, n."""
    chosen = _main(scores)
    told = {key: [str(score.provenance.get(key, '')) for score in chosen] for key in _TELLS}
    varying = [key for key in _TELLS if len(set(told[key])) > 1][:_MOST_COLUMNS]
    return {
        'score': [score.name for score in chosen],
        **{key: told[key] for key in varying},
        'value': [f'{score.value:.4g}' for score in chosen],
        '95 % interval': [
            '-' if score.low != score.low else f'[{score.low:.4g}, {score.high:.4g}]' for score in chosen
        ],
        'n': [str(score.n) for score in chosen],
    }


def _headline(path: pathlib.Path) -> dict[str, list[str]]:
    """The models of a page's headline table, with the values of its first measures; {} if there is none."""
    if not path.is_file():
        return {}
    with open(path, encoding='utf-8', newline='') as file:
        rows = [row for row in csv.DictReader(file) if row.get('kind') == 'model']
    if not rows:
        return {}
    names = [name for name in rows[0] if name != 'kind' and not name.endswith((', low', ', high', ', n'))]
    shown = [name for name in names if any(row[name] for row in rows)][: _MOST_MEASURES + 1]
    return {name: [_cell(row[name]) for row in rows] for name in shown}


def _cell(text: str) -> str:
    try:
        return f'{float(text):.4g}'
    except ValueError:
        return text or '-'


def _main(scores: Sequence[Score]) -> list[Score]:
    """The first scores of every name in turn, in their order in the file, without baselines where others suffice."""
    models = [score for score in scores if not score.provenance.get('baseline')]
    by_name = defaultdict(list)
    for place, score in enumerate(models or scores):
        by_name[score.name].append(place)
    order = sorted((turn, places[turn]) for places in by_name.values() for turn in range(len(places)))
    return [(models or scores)[place] for place in sorted(place for _, place in order[:MOST_SCORES])]
