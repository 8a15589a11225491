"""Claims about models that a config makes and the page judges by RSA scores.

A claim is a tuple that reads as a sentence: a model, a kind of claim and, where the kind needs it, another model, such
as `('one', 'is above', 'two')` or `('one', 'keeps category structure')`. A model is named by the beginning of its name.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence

from humalign_jax.report import relations, similarities
from humalign_jax.report.sentences import Part, Passage, Sentence, passages_of, say
from humalign_jax.report.study import Entry, Study


def check(claims: Sequence[Sequence[str]]) -> None:
    """Raises ValueError if an entry is no claim."""
    for claim in claims:
        words = () if isinstance(claim, str) else tuple(map(str, claim))
        kind = KINDS.get(words[1]) if len(words) > 1 else None
        n_words = len(inspect.signature(kind).parameters) if kind else 0  # the kind's word stands for the study
        if kind is None or len(words) != n_words:
            raise ValueError(
                f'config.claims has {claim!r}, which is no claim. --config.claims=\'(("this", "is above", "that"), '
                '("this", "keeps category structure"))\' says that this model agrees more with people than that one, '
                'and that it shares structure with them.'
            )


def judged(study: Study, claims: Sequence[Sequence[str]]) -> tuple[Passage, ...]:
    """A passage for each claim about a model of the study, with its verdict; other claims are not mentioned."""
    return passages_of(
        *((f'The claim that {" ".join(claim)}', KINDS[claim[1]](study, claim[0], *claim[2:])) for claim in claims)
    )


def _is_above(study: Study, model: str, other: str) -> list[Sentence]:
    """Whether one model agrees more with the reference than another one."""
    first, second = _named(study, model), _named(study, other)
    if first is None:
        return []
    if second is None:
        return [say(f'Not tested: no model in this study has a name that begins with {other}.')]
    sentences, relation_of = [], {}
    for pairs, what in (
        ('all', 'Over all pairs'),
        ('within', 'Over pairs of one category'),
        ('partial', 'With category partialled out'),
    ):
        one, two = study.rsa(first, pairs=pairs), study.rsa(second, pairs=pairs)
        if one is None or two is None:
            continue
        relation_of[pairs] = relation = relations.relation(study, one, two, pairs=pairs)
        tested = relations.tested_difference(study, one, two, pairs=pairs)
        by = relations.p_words(tested) if tested else 'by their intervals; the difference itself was not tested'
        sentences.append(say(f'{what}, {first} (', one, f') is {relation} {second} (', two, f') ({by}).'))
    if not sentences:
        return []
    if 'partial' in relation_of:
        verdict = {'above': 'holds', 'below': 'does not hold; the order is the opposite'}
        plain, partial = (verdict.get(relation_of.get(p, ''), 'is not supported') for p in ('all', 'partial'))
        words = f'For these models the claim {plain} in the plain score and {partial} once class separation '
        sentences.append(say(f'{words}is partialled out.'))
    one, two = _accuracy(study, first), _accuracy(study, second)
    if one and two:
        words = '. This comparison does not separate architecture from accuracy or length of training.'
        sentences.append(say('Their accuracies are ', one, ' and ', two, words))
    return sentences


def _keeps_category_structure(study: Study, model: str) -> list[Sentence]:
    """Whether a model agrees with the reference, and whether it does so beyond the category."""
    name = _named(study, model)
    if name is None:
        return []
    sentences = []
    scores = {pairs: study.rsa(name, pairs=pairs) for pairs in ('all', 'partial')}
    scores = {pairs: e for pairs, e in scores.items() if e is not None and math.isfinite(e.score.low)}
    for pairs, entry in scores.items():
        what = {'all': 'Over all pairs of stimuli', 'partial': 'With category partialled out'}[pairs]
        layer = f'layer {entry.get("layer")} of {name}' if entry.get('layer') else name
        agrees = f'is {"" if entry.score.low > 0 else "not "}shown to agree with {study.reference}'
        parts: list[Part] = [f'{what}, {layer} {agrees}: ', entry]
        for baseline in similarities.defined(study, study.baselines, pairs):
            relation = relations.relation(study, entry, baseline, pairs=pairs)
            parts += [f'; that is {relation} the baseline {baseline.model} (', baseline, ')']
        sentences.append(say(*parts, '.'))
    by_class = study.rsa(name, pairs='all', level='class')
    if by_class is not None:
        index = similarities.index_text(study)
        words = f'Over pairs of class means its {index} with {study.reference} is '
        sentences.append(say(words, by_class, '.'))
    if len(scores) == 2:
        verdict = _verdict(study, scores['all'], scores['partial'])
        sentences.append(say(f'For this trained model the claim {verdict}.'))
    return sentences


def _verdict(study: Study, plain: Entry, partial: Entry) -> str:
    if plain.score.low > 0 and partial.score.low > 0:
        return (
            f'holds in the weak sense that the model shares some structure with {study.reference}, also beyond the '
            'category; the share of the ceiling tells how much'
        )
    if plain.score.low > 0:
        return 'holds for the category itself only: beyond it no shared structure was shown'
    return 'is not supported by these scores'


def _named(study: Study, beginning: str) -> str | None:
    """The first model whose name begins so."""
    return next((model for model in study.models if model.lower().startswith(beginning.lower())), None)


def _accuracy(study: Study, model: str) -> Entry | None:
    found = [e for e in study.find('accuracy', model=model) if e.run.startswith('networks/')]
    return next(iter(found or study.find('soft_labels/accuracy', model=model, arm=None, fold=None)), None)


KINDS: Mapping[str, Callable[..., list[Sentence]]] = {
    'is above': _is_above,
    'keeps category structure': _keeps_category_structure,
}
