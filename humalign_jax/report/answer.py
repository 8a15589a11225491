"""The answer of a page, made from its scores: two sentences, one figure, four numbers."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

from humalign_jax.report import figures, numbers, relations
from humalign_jax.report.figures import Picture
from humalign_jax.report.plots import answer as plots
from humalign_jax.report.section import Main, Options, Section
from humalign_jax.report.sentences import Part, Sentence, capital, say
from humalign_jax.report.study import Entry, Study

_MOST_ROWS, _MOST_LINES, _MOST_NAMED, _N_NUMBERS = 12, 3, 3, 4
_RELATIONS = ('above', 'below', relations.UNDECIDED)


@dataclasses.dataclass(frozen=True)
class Key:
    """One of the numbers on the first screen: the number, the score it comes from if any, and what it is."""

    text: str
    what: str
    entry: Entry | None = None


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the first screen shows.

    Attributes:
        sentences: The answer, two sentences.
        picture: Scores of the models as dots.
        caption: How to read it.
        numbers: Four numbers, fewer if there are no more.
    """

    sentences: tuple[Sentence, ...]
    picture: Picture
    caption: str
    numbers: tuple[Key, ...]


def answer(study: Study, options: Options, sections: Sequence[Section]) -> Answer | None:
    """The answer by the main score of the first section with one, else by the score of most models; None without."""
    mains = [main for section in sections if (main := section.main) is not None and _ranked(main)[0]]
    main = mains[0] if mains else _of_most_models(study)
    if main is None:
        return None
    models, baselines = _ranked(main)
    lines = {name: entry.score.value for name, entry in list(baselines.items())[:_MOST_LINES]} | dict(main.lines)
    label = capital(main.label) + ('' if 'simulated' in main.label else study.mark)
    shown = dict(list(models.items())[:_MOST_ROWS])
    figure = plots.draw_answer({name: entry.score for name, entry in shown.items()}, lines, label=label)
    spoken = ', '.join(f'{name} {numbers.score_text(entry.score)}' for name, entry in shown.items())
    first = next(iter(models.values())).score
    levels = [f'noise ceiling {numbers.ceiling_text(first)}'] if _has_ceiling(first) else []
    levels += [f'{name} {numbers.text(value, 3)}' for name, value in lines.items()]
    alt = f'Dots of the {main.label}: {spoken}{"; " if levels else ""}{", ".join(levels)}.'
    picture = figures.picture_of(figure, alt)
    figures.save(figure, options.figures, 'answer')
    caption = 'Dots: models'
    caption += ' with 95 % intervals' if math.isfinite(first.low) else ''
    caption += f', the first {len(shown)} of {len(models)}' if len(models) > len(shown) else ''
    caption += '; band: noise ceiling' if _has_ceiling(first) else ''
    caption += '; lines: baselines' if baselines else '; lines: levels to compare with' if lines else ''
    sentences = (_best(main, models), _beside(study, main, models, baselines))
    return Answer(sentences, picture, f'{caption}.', tuple(_numbers(study, main, mains))[:_N_NUMBERS])


def _ranked(main: Main) -> tuple[dict[str, Entry], dict[str, Entry]]:
    """Models and baselines with a value, the best first."""
    sign = -1.0 if main.better == 'larger' else 1.0
    known = {name: entry for name, entry in main.of.items() if math.isfinite(entry.score.value)}
    order = sorted(known.items(), key=lambda item: sign * item[1].score.value)
    models = {name: entry for name, entry in order if not entry.is_baseline}
    endings = {name.partition(', ')[2] for name in models}
    if len(endings) == 1:  # such as the measure of all
        models = {name.partition(', ')[0]: entry for name, entry in models.items()}
    return models, {name: entry for name, entry in order if entry.is_baseline}


def _of_most_models(study: Study) -> Main | None:
    """The score that most models have, the first of several; scores without a direction come last."""
    of: dict[str, dict[str, Entry]] = {}
    for entry in study.entries:
        if entry.model and math.isfinite(entry.score.value) and not entry.score.name.endswith('/difference'):
            of.setdefault(entry.score.name, {}).setdefault(entry.model, entry)
    known = {name: found for name, found in of.items() if any(not e.is_baseline for e in found.values())}
    if not known:
        return None
    n_models = {name: sum(not e.is_baseline for e in found.values()) for name, found in known.items()}
    directed = {name: any(e.get('better') for e in found.values()) for name, found in known.items()}
    name = max(known, key=lambda name: (directed[name], n_models[name]))
    said = next((str(e.get('better')) for e in known[name].values() if e.get('better')), 'larger')
    unit = next((f' ({e.get("unit")})' for e in known[name].values() if e.get('unit')), '')
    return Main(
        name.replace('/', ': ').replace('_', ' ') + unit, known[name], 'smaller' if said == 'smaller' else 'larger'
    )


def _best(main: Main, models: Mapping[str, Entry]) -> Sentence:
    name, entry = next(iter(models.items()))
    parts: list[Part] = [f'{name} has the {"highest" if main.better == "larger" else "lowest"} {main.label}: ', entry]
    if len(models) == 1:
        article = 'an' if main.label[0].lower() in 'aeiou' else 'a'
        parts = [f'{name} has {article} {main.label} of ', entry]
    if math.isfinite(entry.score.ceiling_upper) and main.better == 'larger' and entry.score.ceiling_upper > 0:
        parts.append(f', {_share(entry)} % of the upper noise ceiling')
    return say(*parts, '.')


def _beside(study: Study, main: Main, models: Mapping[str, Entry], baselines: Mapping[str, Entry]) -> Sentence:
    """The best model beside the others, the best baseline, and the levels to compare with."""
    (_, best), *others = models.items()
    groups: dict[str, list[str]] = {relation: [] for relation in _RELATIONS}
    for name, entry in others:
        groups[relations.between(study, best, entry)].append(name)
    parts: list[Part] = []
    for relation, names in groups.items():
        if names:
            many = f'{len(names)} of {len(others)} other models'
            who = many if len(names) > _MOST_NAMED else _and(names)
            parts.append(f'{", and " if parts else "It is "}{relation} {who}')
    if baselines:
        name, entry = next(iter(baselines.items()))
        what = 'the best baseline, ' if len(baselines) > 1 else 'the baseline '
        start = '; it is ' if parts else 'It is '
        parts += [f'{start}{relations.between(study, best, entry)} {what}{name} (', entry, ')']
    elif main.lines:
        name, value = next(iter(main.lines.items()))
        score = best.score
        ends = (score.low, score.high) if math.isfinite(score.low) else (score.value, score.value)
        relation = 'above' if ends[0] > value else 'below' if ends[1] < value else relations.UNDECIDED
        parts.append(f'{"; it is " if parts else "It is "}{relation} {name} ({numbers.text(value, 3)})')
    if not parts:
        parts.append(f'It rests on n = {best.score.n}, without a baseline to compare it with')
    return say(*parts, '.')


def _numbers(study: Study, main: Main, mains: Sequence[Main]) -> Iterator[Key]:
    """The best score, its ceiling, the best baseline, the number of stimuli, then the best of other scores."""
    models, baselines = _ranked(main)
    best, score = next(iter(models.items()))[0], next(iter(models.values())).score
    yield Key(numbers.value_text(score), f'{best}: {main.label}', models[best])
    if _has_ceiling(score):
        yield Key(numbers.ceiling_text(score), 'noise ceiling, lower – upper', models[best])
    for name, entry in list(baselines.items())[:1]:
        yield Key(numbers.value_text(entry.score), f'best baseline: {name}', entry)
    for other in mains[1:]:
        name, entry = next(iter(_ranked(other)[0].items()))
        yield Key(numbers.value_text(entry.score), f'{name}: {other.label}', entry)
    for name, value in main.lines.items():
        yield Key(numbers.text(value, 3), name)
    if study.n_stimuli:
        yield Key(f'{study.n_stimuli:,}'.replace(',', '\u202f'), 'stimuli')
    yield Key(f'{score.n:,}'.replace(',', '\u202f'), f'n of the score of {best}')
    yield Key(str(len(models)), f'model{"s" if len(models) > 1 else ""} with this score')
    yield Key(str(len(study.entries)), 'scores on this page')


def _has_ceiling(score: object) -> bool:
    return all(math.isfinite(getattr(score, end)) for end in ('ceiling_lower', 'ceiling_upper'))


def _share(entry: Entry) -> str:
    return numbers.text(100 * entry.score.value / entry.score.ceiling_upper, 0)


def _and(names: Sequence[str]) -> str:
    return f'{", ".join(names[:-1])} and {names[-1]}' if len(names) > 1 else names[0]
