"""A plain-words reading of a study, made of its scores by rules: what they show, and what they do not.

A sentence appears only if its numbers are there. "Above" and "below" are said of two scores only if the corrected p
value of their difference is below 5 %, or if an interval leaves out the number it is held against.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

from humalign_jax.report import numbers
from humalign_jax.report.comparisons import index_text
from humalign_jax.report.study import Entry, Study

ALPHA = 0.05
SAME = 'same category'  # the baseline that knows the category and nothing else
CLASS_MEAN = 'class-mean human label'
_MOST_NAMED = 8  # references named in a sentence
Part = str | Entry


@dataclasses.dataclass(frozen=True)
class Sentence:
    """Words and the scores between them."""

    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """Without links, for a terminal."""
        return ''.join(part if isinstance(part, str) else number(part) for part in self.parts)


@dataclasses.dataclass(frozen=True)
class Passage:
    """A heading and its sentences."""

    heading: str
    sentences: tuple[Sentence, ...]


def number(entry: Entry) -> str:
    """A score inside a sentence: value and interval."""
    return f'{numbers.value_text(entry.score)} {numbers.interval_text(entry.score)}'.strip()


def read(
    study: Study, recipe_epochs: Mapping[str, float] | None = None, claims: Sequence[tuple[str, str]] = ()
) -> list[Passage]:
    """The passages of a study, those with nothing to say left out.

    Args:
        study: The study.
        recipe_epochs: Epochs of the full recipe of each kind of model, by `config.model.name`.
        claims: Beginnings of the names of two models, of which the first is said to agree more with people.
    """
    passages = [
        ('What was measured', [*_compared_with(study), *reduced_training(study, recipe_epochs or {})]),
        ('Plain agreement, and what the category alone gives', [*_plain_scores(study), *_against_same(study)]),
        (
            'Once the category is accounted for',
            [*_beyond_category(study, 'within'), *_beyond_category(study, 'partial')],
        ),
        ('Which models differ', _which_differ(study)),
        *((f'The claim that {one} is above {two}', _one_above_other(study, one, two)) for one, two in claims),
        ('The claim that the VAE’s code keeps category structure', _vae_keeps_structure(study)),
        ('Probabilities and errors', [*_against_class_mean(study), *_error_consistency(study)]),
        ('Training on people’s answers', _training_arms(study)),
        ('What these scores do not show', _limits(study)),
    ]
    return [Passage(heading, tuple(sentences)) for heading, sentences in passages if sentences]


def reduced_training(study: Study, recipe_epochs: Mapping[str, float]) -> list[Sentence]:
    """Which networks were trained for less than their recipe says."""
    sentences = []
    for model in study.models:
        run = study.runs.get(f'networks/{model}')
        if run is None or not run.config.get('train'):
            continue
        kind = str(run.config.get('model', {}).get('name', ''))
        epochs = epochs_run(run.config, run.metrics)
        full = recipe_epochs.get(kind)
        length = f'{epochs:.3g} epoch' + ('s' if epochs != 1 else '')
        if any(entry.simulated for entry in study.entries if entry.run == run.name):
            sentences.append(_say(f'{model} was trained for {length} on simulated data.'))
        elif full is None:
            sentences.append(_say(f'{model} was trained for {length}.'))
        elif epochs < full:
            sentences.append(
                _say(
                    f'{model} was trained for {length}, a reduced run: its recipe has {full:g}. Its scores describe '
                    'this short training and not the architecture at its best.'
                )
            )
        else:
            sentences.append(_say(f'{model} was trained for its full recipe of {full:g} epochs.'))
    return sentences


def epochs_run(config: Mapping, metrics: Sequence[Mapping]) -> float:
    """Epochs that a run has trained: the last of its metrics, else those of its config."""
    seen = [row['epoch'] for row in metrics if isinstance(row.get('epoch'), int | float)]
    return float(max(seen)) if seen else float(config['train'].get('epochs', math.nan))


def _compared_with(study: Study) -> list[Sentence]:
    """Whose answers or which RDMs models are compared with, about how many stimuli."""
    count = f'{study.n_stimuli:,} stimuli'.replace(',', ' ') if study.n_stimuli else ''
    sentences = []
    if study.humans:
        about = f' about {count}' if count else ''
        sentences.append(_say(f'Models are compared with the answers of {" and ".join(study.humans)}{about}.'))
    elif study.references:
        names = study.references
        listed = ', '.join(names[:_MOST_NAMED]) + (', …' if len(names) > _MOST_NAMED else '')
        what = listed if len(names) == 1 else f'{len(names)} references ({listed}), and scores are means over them'
        about = f'Over {count}, models' if count else 'Models'
        sentences.append(_say(f'{about} are compared with {what}.'))
    if study.simulated:
        whole = all(entry.simulated for entry in study.entries)
        sentences.append(
            _say(
                f'{"The data are" if whole else "Some data are"} simulated: a program made stimuli or answers. These '
                'numbers test the method, and say nothing about people.'
            )
        )
    return sentences


def _plain_scores(study: Study) -> list[Sentence]:
    scored = _networks(study, 'all')
    if not scored:
        return []
    top = max(scored, key=lambda e: e.score.value)
    sentence: list[Part] = [
        f'Over all {"" if study.compares_features else "pairs of "}stimuli, {_with_layer(top)} has the highest '
        f'{index_text(study)} with {study.reference}, ',
        top,
    ]
    if _finite(top.score.ceiling_upper):
        share = 100 * top.score.value / top.score.ceiling_upper
        sentence.append(f', {share:.0f} % of the upper noise ceiling ({numbers.text(top.score.ceiling_upper, 3)})')
    return [Sentence((*sentence, '.'))]


def _against_same(study: Study) -> list[Sentence]:
    baseline = study.rsa(SAME, pairs='all')
    if baseline is None:
        return []
    sentences = [
        Sentence(
            (
                'A baseline that only knows whether two stimuli have the same category scores ',
                baseline,
                ' by the same measure: a model that knows the category of every stimulus, and nothing else, reaches '
                'this.',
            )
        )
    ]
    groups: dict[str, list[Part]] = {'above': [], 'below': [], 'not shown to differ from': []}
    for entry in _networks(study, 'all'):
        groups[_relation(study, entry, baseline, 'all')] += [entry.model, ' (', entry, '), ']
    for relation, parts in groups.items():
        if parts:
            verb = {'above': 'Above this baseline: ', 'below': 'Below this baseline: '}.get(
                relation, 'Not shown to differ from this baseline: '
            )
            sentences.append(Sentence((verb, *parts[:-1], ').')))
    return sentences


def _beyond_category(study: Study, pairs: str) -> list[Sentence]:
    scored = _networks(study, pairs)
    if not scored:
        return []
    what = {
        'within': 'Among pairs of stimuli of one category, where the category can play no part',
        'partial': 'With the category partialled out of both sides',
    }[pairs]
    sentences = []
    left = [e for e in scored if e.score.low > 0]
    gone = [e for e in scored if not e.score.low > 0 and _finite(e.score.low)]
    if left:
        sentences.append(Sentence((f'{what}, agreement remains for ', *_listed(left), '.')))
        ceilings = [e for e in left if _finite(e.score.ceiling_upper)]
        if ceilings:
            top = max(ceilings, key=lambda e: e.score.value)
            share = 100 * top.score.value / top.score.ceiling_upper
            sentences.append(
                _say(
                    f'The largest of these, of {top.model}, is {share:.0f} % of the upper noise ceiling '
                    f'({numbers.text(top.score.ceiling_upper, 3)}).'
                )
            )
    if gone:
        sentences.append(
            Sentence((f'{what}, no agreement above zero was shown for ', *_listed(gone), '.')),
        )
    for name in study.anchors if left or gone else ():
        baseline = study.rsa(name, pairs=pairs)
        if baseline is not None and _finite(baseline.score.value):
            sentences.append(Sentence((f'The baseline {name} scores ', baseline, ' on the same pairs.')))
    return sentences


def _which_differ(study: Study) -> list[Sentence]:
    sentences = []
    networks = set(study.models)
    kinds = {'all': 'all pairs', 'within': 'pairs of one category', 'partial': 'category partialled out'}
    for pairs, what in kinds.items():
        tested = [
            e
            for e in study.differences(pairs=pairs)
            if {e.model, e.get('other')} <= networks and _finite(_p(e)) and _finite(e.score.value)
        ]
        found = [e for e in tested if _p(e) < ALPHA]
        for entry in found:
            first, second = (entry.model, str(entry.get('other')))
            upper, lower = (first, second) if entry.score.value > 0 else (second, first)
            sentences.append(
                Sentence(
                    (
                        f'{_capital(what)}: {upper} is above {lower} (difference {first} − {second}: ',
                        entry,
                        f'; {_p_words(entry)}).',
                    )
                )
            )
        others = [f'{e.model} and {e.get("other")}' for e in tested if _p(e) >= ALPHA]
        if others:
            sentences.append(_say(f'{_capital(what)}: no difference was shown between {_and(others)}.'))
    return sentences


def _one_above_other(study: Study, one_name: str, two_name: str) -> list[Sentence]:
    """Whether a claim that one model agrees more with people than another holds here; nothing without the first."""
    first, second = _named(study, one_name), _named(study, two_name)
    if first is None:
        return []
    if second is None:
        return [_say(f'Not tested: no model in this study has a name that begins with {two_name}.')]
    sentences, verdicts = [], {}
    for pairs, what in (
        ('all', 'Over all pairs'),
        ('within', 'Over pairs of one category'),
        ('partial', 'With category partialled out'),
    ):
        one, two = study.rsa(first, pairs=pairs), study.rsa(second, pairs=pairs)
        if one is None or two is None:
            continue
        relation = _relation(study, one, two, pairs)
        verdicts[pairs] = relation
        p = _difference(study, one, two, pairs)
        tail = f' ({_p_words(p[0])})' if p else ' (by their intervals; the difference itself was not tested)'
        sentences.append(Sentence((f'{what}, {first} (', one, f') is {relation} {second} (', two, f'){tail}.')))
    if not sentences:
        return []
    if 'partial' in verdicts:
        held = {'above': 'holds', 'below': 'does not hold; the order is the opposite'}
        partial = held.get(verdicts['partial'], 'is not supported')
        plain = held.get(verdicts.get('all', ''), 'is not supported')
        sentences.append(
            _say(
                f'For these models the claim {plain} in the plain score and {partial} once class separation '
                'is partialled out.'
            )
        )
    accuracies = [_accuracy(study, name) for name in (first, second)]
    if all(accuracies):
        one, two = accuracies
        sentences.append(
            Sentence(
                (
                    'Their accuracies are ',
                    *(one, ' and ', two),  # type: ignore[arg-type]
                    '. This comparison does not separate architecture from accuracy or length of training.',
                )
            )
        )
    return sentences


def _vae_keeps_structure(study: Study) -> list[Sentence]:
    trained = [name.split('/')[1] for name, run in study.runs.items() if run.config.get('experiment') == 'train_vae']
    scored = [e.model for e in study.entries if e.score.name.startswith('vae/') and not e.is_anchor]
    model = next(iter([*trained, *scored]), None)
    sentences = []
    probe = next(iter(study.find('vae/linear_probe_accuracy')), None)
    if probe is not None and _finite(probe.score.value):
        chance = _chance(study, probe)
        above = _finite(probe.score.low) and chance is not None and probe.score.low > chance
        tail = '.' if chance is None else f', where guessing gives {chance:g}'
        if chance is not None:
            tail += ': the code carries category information that a linear rule can read.' if above else '.'
        sentences.append(Sentence(('A linear probe on the code names the category with accuracy ', probe, tail)))
        others = [e for e in study.find('vae/linear_probe_accuracy') if e.is_anchor and _finite(e.score.value)]
        if others:
            sentences.append(Sentence(('The same probe on codes without a network: ', *_listed(others), '.')))
    if model is None:
        return sentences
    scores = {pairs: study.rsa(model, pairs=pairs) for pairs in ('all', 'within', 'partial')}
    for pairs, what in (('all', 'Over all pairs of stimuli'), ('partial', 'With category partialled out')):
        entry = scores[pairs]
        if entry is None or not _finite(entry.score.low):
            continue
        agrees = f'agree with {study.reference}'
        verdict = f'is shown to {agrees}' if entry.score.low > 0 else f'is not shown to {agrees}'
        sentence: list[Part] = [f'{what}, its {entry.get("layer") or "code"!s} {verdict}: ', entry]
        for name in study.anchors:
            baseline = study.rsa(name, pairs=pairs)
            if baseline is not None and _finite(baseline.score.value):
                relation = _relation(study, entry, baseline, pairs)
                sentence += [f'; that is {relation} the baseline {name} (', baseline, ')']
        sentences.append(Sentence((*sentence, '.')))
    by_class = study.rsa(model, pairs='all', level='class')
    if by_class is not None:
        sentences.append(
            Sentence((f'Over pairs of class means its {index_text(study)} with {study.reference} is ', by_class, '.'))
        )
    whole, partial = scores['all'], scores['partial']
    if whole is not None and partial is not None and _finite(whole.score.low) and _finite(partial.score.low):
        if whole.score.low > 0 and partial.score.low > 0:
            verdict = (
                f'holds in the weak sense that the code shares some structure with {study.reference}, also beyond the '
                'category; the share of the ceiling tells how much'
            )
        elif whole.score.low > 0:
            verdict = 'holds for the category itself only: beyond it no shared structure was shown'
        else:
            verdict = 'is not supported by these scores'
        sentences.append(_say(f'For this trained VAE the claim {verdict}.'))
    return sentences


def _against_class_mean(study: Study) -> list[Sentence]:
    anchor = next(
        (e for e in study.find('soft_labels/cross_entropy', arm=None, fold=None) if e.model == CLASS_MEAN), None
    )
    if anchor is None:
        return []
    sentences: list[Sentence] = []
    for name, what in (
        ('soft_labels/cross_entropy', 'as the networks give them'),
        ('soft_labels/cross_entropy_scaled', 'after fitting a temperature'),
    ):
        scored = [e for e in study.find(name, arm=None, fold=None) if not e.is_anchor and _finite(e.score.value)]
        if not scored:
            continue
        below = [e for e in scored if e.score.high < anchor.score.value]
        above = [e for e in scored if e.score.low > anchor.score.value]
        tail: list[Part] = []
        if below:
            tail += ['closer to people are ', *_listed(below)]
        if above:
            tail += ['; ' if tail else '', 'farther from people are ', *_listed(above)]
        if not tail:
            tail = ['no network is shown to differ from it']
        sentences.append(
            Sentence(
                (
                    'Knowing the true class and people’s average answer to it gives a cross-entropy of ',
                    anchor,
                    f' nats; probabilities {what}: ',
                    *tail,
                    '.',
                )
            )
        )
    return sentences


def _error_consistency(study: Study) -> list[Sentence]:
    scored = [e for e in study.find('errors/kappa', arm=None, fold=None) if not e.is_anchor and _finite(e.score.value)]
    if not scored:
        return []
    top = max(scored, key=lambda e: e.score.value)
    if not top.score.low > 0:
        words = 'No network’s errors were shown to fall on the same stimuli as people’s more than by chance: kappa '
        return [Sentence((words, *_listed(scored), '.'))]
    parts: list[Part] = [
        f'Errors fall on the same stimuli as people’s errors most for {top.model}: kappa ',
        top,
        ' (0 is what the two accuracies alone would give, 1 is the same stimuli)',
    ]
    if _finite(top.score.ceiling_lower) or _finite(top.score.ceiling_upper):
        parts.append(f'; among people {numbers.ceiling_text(top.score)}')
    return [Sentence((*parts, '.'))]


def _training_arms(study: Study) -> list[Sentence]:
    scored = {
        str(e.get('arm')): e
        for e in study.find('soft_labels/cross_entropy')
        if e.get('arm') is not None and str(e.get('fold')) == 'all' and _finite(e.score.value)
    }
    if 'human' not in scored:
        return []
    human = scored['human']
    sentences = []
    for other, words in (('hard', 'fine-tuned on hard labels'), ('pretrained', 'not fine-tuned')):
        if other not in scored:
            continue
        differences = study.find('soft_labels/cross_entropy/difference', arm='human', other=other, fold='all')
        tested = next((e for e in differences if e.get('resampled') == 'folds'), next(iter(differences), None))
        if tested is not None:
            relation = 'below' if tested.score.high < 0 else 'above' if tested.score.low > 0 else ''
        else:
            relation = {'above': 'above', 'below': 'below'}.get(_apart(human, scored[other]), '')
        verdict = {'below': 'are closer to people than networks', 'above': 'are farther from people than networks'}.get(
            relation, 'are not shown to differ from networks'
        )
        parts: list[Part] = [
            f'On held-out stimuli, networks fine-tuned on people’s answers {verdict} {words}: cross-entropy ',
            *(human, ' against ', scored[other], ' nats'),
        ]
        parts += [' (difference ', tested, ')'] if tested is not None else []
        sentences.append(Sentence((*parts, '.')))
    anchor = next((e for e in study.find('soft_labels/cross_entropy', arm=None) if e.model == CLASS_MEAN), None)
    if anchor is not None:
        reached = human.score.high < anchor.score.value
        sentences.append(
            Sentence(
                (
                    'The cross-entropy of those fine-tuned on people’s answers is ',
                    'below' if reached else 'not shown to be below',
                    ' that of the class-mean human label (',
                    anchor,
                    ' nats).',
                )
            )
        )
    return sentences


def _limits(study: Study) -> list[Sentence]:
    """What no score of this study can carry."""
    lines = []
    if study.simulated:
        lines.append('Simulated data say nothing about people.')
    if study.index:
        lines.append(
            'These similarities say that two representations arrange the stimuli alike. They do not say that two '
            'systems compute alike, nor why.'
        )
    k = len(study.class_names)
    if study.humans and k:
        lines.append(
            f'People answered with one of {k} classes. Similarity between their answers is similarity in naming, not '
            'in everything that people perceive.'
        )
    trained = {name: run for name, run in study.runs.items() if name.startswith('networks/')}
    if len({str(run.config.get('seed')) for run in trained.values()}) == 1:
        lines.append(
            'There is one training of each network: intervals say how the score would vary with other data of the '
            'same kind, not with another seed or recipe.'
        )
    if len(trained) > 1:
        lines.append(
            'Networks differ in accuracy, size and length of training; a difference between two of them is not '
            'evidence for any one of these.'
        )
    if any(_finite(e.score.low) for e in study.entries):
        line = 'Intervals are for one score at a time'
        corrected = any(_finite(_p(e)) for e in study.entries)
        lines.append(line + ('; only p values called corrected allow for the number of tests.' if corrected else '.'))
    return [_say(line) for line in lines]


def _relation(study: Study, one: Entry, two: Entry, pairs: str) -> str:
    """'above', 'below' or 'not shown to differ from', by the tested difference, else by intervals."""
    tested = _difference(study, one, two, pairs)
    if tested is not None:
        entry, sign = tested
        if _p(entry) >= ALPHA or entry.score.value == 0:
            return 'not shown to differ from'
        return 'above' if sign * entry.score.value > 0 else 'below'
    return _apart(one, two)


def _difference(study: Study, one: Entry, two: Entry, pairs: str) -> tuple[Entry, int] | None:
    """The tested difference of two models, and 1 if it is one minus two, -1 if the other way round."""
    for entry in study.differences(pairs=pairs, level=one.get('level', 'image')):
        names = (entry.model, entry.get('other'))
        if _finite(_p(entry)) and names in ((one.model, two.model), (two.model, one.model)):
            return entry, 1 if names[0] == one.model else -1
    return None


def _apart(one: Entry, two: Entry) -> str:
    """The same by intervals alone; beside an interval, a number without one counts as exact."""
    if not any(_finite(x) for x in (one.score.low, one.score.high, two.score.low, two.score.high)):
        return 'not shown to differ from'
    low, high = (x if _finite(x) else two.score.value for x in (two.score.low, two.score.high))
    own_low, own_high = (x if _finite(x) else one.score.value for x in (one.score.low, one.score.high))
    if own_low > high:
        return 'above'
    return 'below' if own_high < low else 'not shown to differ from'


def _networks(study: Study, pairs: str) -> list[Entry]:
    found = [study.rsa(model, pairs=pairs) for model in study.models]
    return [e for e in found if e is not None and _finite(e.score.value)]


def _named(study: Study, *beginnings: str) -> str | None:
    """The first model whose name begins so."""
    return next((m for b in beginnings for m in study.models if m.lower().startswith(b)), None)


def _accuracy(study: Study, model: str) -> Entry | None:
    found = [e for e in study.find('accuracy', model=model) if e.run.startswith('networks/')]
    return next(iter(found or study.find('soft_labels/accuracy', model=model, arm=None, fold=None)), None)


def _chance(study: Study, probe: Entry) -> float | None:
    """What guessing gives: what the score says, else one over the number of classes of the confusion matrices."""
    if isinstance(probe.get('chance'), int | float):
        return float(probe.get('chance'))
    for _, values, _ in study.arrays('alignment/*/confusion.npy'):
        return 1.0 / len(values)
    return None


def _p(entry: Entry) -> float:
    """The family-wise p value of a difference, NaN if it has none."""
    p = entry.get('p_fwer')
    return float(p) if isinstance(p, int | float) else math.nan


def _p_words(entry: Entry | tuple[Entry, int]) -> str:
    entry = entry[0] if isinstance(entry, tuple) else entry
    return f'{numbers.p_text(_p(entry))}, corrected for all pairs of models'


def _listed(entries: Sequence[Entry]) -> Iterable[Part]:
    """name (number), name (number)"""
    parts: list[Part] = []
    for entry in entries:
        parts += [f'{entry.model} (', entry, '), ']
    return [*parts[:-1], ')']


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else '; '.join(names)


def _with_layer(entry: Entry) -> str:
    layer = str(entry.get('layer') or '')
    return f'{entry.model} (layer {layer})' if layer else entry.model


def _say(text: str) -> Sentence:
    return Sentence((text,))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _finite(value: float) -> bool:
    return math.isfinite(value)
