"""RSA scores of a study: what they are called, and the score of each model."""

import math
from collections.abc import Sequence

from humalign_jax.report import numbers
from humalign_jax.report.study import Entry, Study

PAIRS = {
    'all': 'all pairs',
    'within': 'pairs of one category',
    'between': 'pairs of two categories',
    'partial': 'all pairs, category partialled out',
}
_NAMES = {
    **{name: name.capitalize() for name in ('spearman', 'pearson', 'kendall', 'bures', 'procrustes')},
    **{name: name.upper() for name in ('cka', 'rbf', 'rv')},
}


def index_text(study: Study) -> str:
    """The RSA index in words, such as 'Spearman correlation' or 'linear CKA'."""
    words = [_NAMES.get(word, word) for word in study.index.split('_')]
    kinds = ((('Pearson', 'Spearman', 'rho', 'tau'), ' correlation'), (('CKA', 'RV'), ''))
    noun = next((noun for among, noun in kinds if set(among) & set(words)), ' similarity')
    return ' '.join(words) + noun


def measured(study: Study) -> str:
    """What an RSA score is: the index, and of what."""
    return f'{index_text(study)} of {"features" if study.compares_features else "dissimilarities"}'


def by_model(study: Study, models: Sequence[str], pairs: str, level: str = 'image') -> dict[str, Entry]:
    """The RSA score of each model that has one, undefined scores included."""
    found = {model: study.rsa(model, pairs=pairs, level=level) for model in models}
    return {model: entry for model, entry in found.items() if entry is not None}


def defined(study: Study, models: Sequence[str], pairs: str) -> list[Entry]:
    """The RSA scores of models that are defined."""
    return [entry for entry in by_model(study, models, pairs).values() if math.isfinite(entry.score.value)]


def share_of_ceiling(entry: Entry) -> str:
    """The share of the upper noise ceiling that a score reaches, in words; the score must have a ceiling."""
    upper = entry.score.ceiling_upper
    share = numbers.text(100 * entry.score.value / upper, 0)
    return f'{share} % of the upper noise ceiling ({numbers.text(upper, 3)})'
