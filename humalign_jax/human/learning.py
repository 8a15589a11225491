"""Human learning data: choices with feedback in category and reward learning, one trial a line.

    category learning   participant, trial, unique_id, choice, true_category
    reward learning     participant, trial, left_unique_id, right_unique_id, reward_left, reward_right, choice

Columns may stand in any order; further columns are ignored. The names `image`, `true_category_binary`, `left_image`,
`right_image`, `left_reward` and `right_reward` are read, too. Without `trial` the lines of a participant are in order.

References:
    Demircan et al. (2022), CogSci; Demircan et al. (2024), NeurIPS (tasks with images of THINGS).
"""

import csv
import pathlib
import re

import numpy as np

from humalign_jax import storage, text
from humalign_jax.human import things
from humalign_jax.human_data import Choices

SETS = {
    'category_learning_2024': ('category_learning_2024.csv.gz', 'category learning 2024'),
    'reward_learning_2024': ('reward_learning_2024.csv.gz', 'reward learning 2024'),
    'decisions': ('decisions.csv.gz', 'reward learning 2022'),
}
TASKS = ('category', 'reward')
_SIDES = ('left', 'right')
_CATEGORY = (('unique_id', 'image'),)
_REWARD = (('left_unique_id', 'left_image'), ('right_unique_id', 'right_image'))
_REWARDS = (('reward_left', 'left_reward'), ('reward_right', 'right_reward'))
_TRUE = ('true_category', 'true_category_binary')


def load_set(name: str, root: storage.PathLike) -> Choices:
    """The choices of one of `SETS`, from `root/things` or `root`.

    Raises:
        ValueError: An unknown name, or the file is not there; the message says what was looked for.
    """
    if name not in SETS:
        raise ValueError(f'there is no learning data named {name!r}. Known: {", ".join(SETS)}.')
    file, title = SETS[name]
    return read_choices(_find(root, file), name=title)


def read_concepts(root: storage.PathLike) -> np.ndarray:
    """Ids of the THINGS concepts (`unique_id`) in the published order, from `concepts.tsv`: [1854] strings."""
    return things.load_concepts(_find(root, things.CONCEPTS_FILE).parent).ids


def read_choices(path: storage.PathLike, *, name: str = '') -> Choices:
    """Choices from a table separated by commas, plain or gzip-compressed (`.csv.gz`).

    Participants are sorted as people count, their trials by number. A `.json` beside the table may say that a program
    made the choices (`simulated`), and their `name`.

    Args:
        path: The table.
        name: What a legend calls the choices; '' for the name of the file.

    Raises:
        ValueError: A column is missing, a cell is empty or of another kind, or a trial occurs twice.
    """
    path = pathlib.Path(path)
    rows = _rows(path, ('participant', 'choice'))
    about = storage.read_sidecar(path)
    head = rows[0]
    is_reward = any(alias in head for aliases in _REWARD for alias in aliases)
    shown = [_column(path, head, aliases) for aliases in (_REWARD if is_reward else _CATEGORY)]
    told = [_column(path, head, aliases) for aliases in (_REWARDS if is_reward else (_TRUE,))]
    numbered = 'trial' in head
    read = []
    for line, row in enumerate(rows, start=2):
        for column in ('participant', 'choice', *shown, *told, *(['trial'] if numbered else [])):
            if not (row[column] or '').strip():
                raise ValueError(f'{path}, line {line}: {column} is empty.')
        trial = _whole(path, line, 'trial', row['trial']) if numbered else line
        read.append((_natural(row['participant'].strip()), trial, line, row))
    read.sort(key=lambda one: one[:3])
    options = _SIDES if is_reward else tuple(sorted({one[3][told[0]].strip() for one in read}, key=_natural))
    number = {option: k for k, option in enumerate(options)}
    choices, feedback = [], []
    for _, _, line, row in read:
        choices.append(_option(path, line, 'choice', row['choice'], number))
        if is_reward:
            feedback.append([_number(path, line, column, row[column]) for column in told])
        else:
            feedback.append([number[row[told[0]].strip()]])
    return Choices(
        participants=np.array([row['participant'].strip() for *_, row in read]),
        trials=np.array([trial for _, trial, _, _ in read]),
        stimuli=np.array([[row[column].strip() for column in shown] for *_, row in read]),
        choices=np.array(choices),
        feedback=np.array(feedback, dtype=np.float64),
        options=options,
        name=name or about.get('name') or re.sub(r'\.(csv|tsv)(\.gz)?$', '', path.name),
        simulated=bool(about.get('simulated')),
        provenance={'file': path.name, 'sha256': storage.file_digest(path)},
    )


def _find(root: storage.PathLike, file: str) -> pathlib.Path:
    tried = [pathlib.Path(root) / 'things' / file, pathlib.Path(root) / file]
    found = next((path for path in tried if path.is_file()), None)
    if found is None:
        raise ValueError(
            f'{" and ".join(map(str, tried))} do not exist: put {file} there (third_party/things_learning/README.md), '
            'or name the folder with --config.human.root=DIR.'
        )
    return found


def _rows(path: pathlib.Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a table by the names of its columns."""
    lines = [line for line in text.lines_of(text.read_text(path)[0]) if line.strip()]
    table = csv.DictReader(lines)
    missing = [column for column in columns if column not in (table.fieldnames or ())]
    if missing:
        raise ValueError(f'{path} has no column {missing[0]!r}, only {", ".join(table.fieldnames or ("none",))}.')
    rows = list(table)
    if not rows:
        raise ValueError(f'{path} holds no row below its header.')
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise ValueError(f'{path}, line {line}: the header has {len(table.fieldnames or ())} cells, this line not.')
    return rows


def _column(path: pathlib.Path, head: dict[str, str], aliases: tuple[str, ...]) -> str:
    found = next((alias for alias in aliases if alias in head), None)
    if found is None:
        raise ValueError(f'{path} has no column {aliases[0]!r}, only {", ".join(head)}.')
    return found


def _option(path: pathlib.Path, line: int, column: str, cell: str, number: dict[str, int]) -> int:
    """Number of an option, given by its name."""
    if cell.strip() not in number:
        raise ValueError(f'{path}, line {line}: {column} is {cell!r}, where one of {", ".join(number)} is expected.')
    return number[cell.strip()]


def _whole(path: pathlib.Path, line: int, column: str, cell: str) -> int:
    value = _number(path, line, column, cell)
    if value != int(value):
        raise ValueError(f'{path}, line {line}: {column} is {cell!r}, where a whole number is expected.')
    return int(value)


def _number(path: pathlib.Path, line: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = float('nan')
    if not np.isfinite(value):
        raise ValueError(f'{path}, line {line}: {column} is {cell!r}, where a number is expected.')
    return value


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts p2 before p10."""
    parts = re.findall(r'\d+|\D+', name)
    return tuple((0, int(part), '') if part.isdecimal() else (1, 0, part) for part in parts)


def write_choices(path: storage.PathLike, choices: Choices) -> None:
    """Writes choices as a table that `read_choices` reads, and a `.json` beside it with their name."""
    is_reward = choices.task == 'reward'
    shown = [names[0] for names in (_REWARD if is_reward else _CATEGORY)]
    told = [names[0] for names in (_REWARDS if is_reward else (_TRUE,))]
    lines = [','.join(['participant', 'trial', *shown, *told, 'choice'])]
    for who, trial, stimuli, feedback, choice in zip(
        choices.participants, choices.trials, choices.stimuli, choices.feedback, choices.choices
    ):
        known = [f'{value:g}' for value in feedback] if is_reward else [choices.options[int(feedback[0])]]
        lines.append(','.join([str(who), str(trial), *map(str, stimuli), *known, choices.options[choice]]))
    storage.write_text(path, '\n'.join(lines) + '\n')
    about = {'name': choices.name, 'simulated': choices.simulated}
    storage.write_json(pathlib.Path(path).with_suffix('.json'), about)
