"""What `rsa.infer` and `rsa.bootstrap` are given: models, subjects, and which pairs count, checked and joined."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from humalign_jax.records import Rdm
from humalign_jax.rsa.inference.models import Fixed, Model
from humalign_jax.rsa.pairs import between_category, category_rdm, condensed_rows, n_stimuli_of, within_category
from humalign_jax.rsa.similarity.ceiling import PAIRS
from humalign_jax.rsa.similarity.compare import Rdms, join_rdms
from humalign_jax.rsa.similarity.indices import WEIGHTED_INDICES, index_named, indices_that

OVER = ('stimuli', 'subjects', 'both')
MIN_STIMULI = 4  # a dyadic variance divides by n - 2, a jackknife leaves three


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Joined RDMs and which of their pairs count.

    Attributes:
        models: m models.
        components: Their condensed component RDMs, m arrays [q, p].
        subjects: Condensed RDMs of the reference, [k, p].
        mask: Which pairs count, [p]; None for all.
        control: RDMs to partial out, [c, p]; None for none.
        groups: Groups within which stimuli may be exchanged, [n].
    """

    models: Sequence[Model]
    components: Sequence[np.ndarray]
    subjects: np.ndarray
    mask: np.ndarray | None
    control: np.ndarray | None
    groups: np.ndarray

    @classmethod
    def of(
        cls,
        models: Rdms | Sequence[Model],
        reference: Rdms,
        index: str,
        over: str,
        labels: np.ndarray | None,
        pairs: str,
    ) -> 'Inputs':
        """Arguments of `infer`, checked and joined by stimulus id."""
        listed = _as_models(models)
        *components, subjects = join_rdms(*(model.components for model in listed), reference)
        n = n_stimuli_of(subjects.shape[1])
        check_inference(index, over, pairs, n, len(subjects))
        for name, rdms in [*((model.name, c) for model, c in zip(listed, components)), ('reference', subjects)]:
            if not np.isfinite(rdms).all():
                raise ValueError(
                    f'{name!r} has {np.sum(~np.isfinite(rdms))} values that are NaN or infinite: leave their stimuli '
                    'out with rsa.select before inference.'
                )
        return cls(listed, components, subjects, *_restriction(labels, pairs, n))

    @property
    def names(self) -> list[str]:
        """Names of the models."""
        return [model.name for model in self.models]

    @property
    def is_flexible(self) -> bool:
        """Whether any model has something to fit."""
        return any(model.flexible for model in self.models)

    @property
    def n_stimuli(self) -> int:
        """Number of stimuli."""
        return len(self.groups)


def check_inference(index: str, over: str, pairs: str, n: int, k: int) -> None:
    """Raises ValueError for options of `infer` that do not fit n stimuli, k subjects or each other.

    Example:
        >>> rsa.check_inference('spearman', 'both', 'all', 20, 1)
        Traceback (most recent call last):
            ...
        ValueError: over='both' needs the RDMs of at least two subjects, not 1: use over='stimuli'.
    """
    chosen = index_named(index)
    for name, value, choices in (('over', over, OVER), ('pairs', pairs, PAIRS)):
        if value not in choices:
            raise ValueError(f'{name} must be one of {", ".join(choices)}, not {value!r}.')
    if over != 'subjects' and n < MIN_STIMULI:
        raise ValueError(f'inference over stimuli needs at least {MIN_STIMULI} of them, not {n}.')
    if over != 'stimuli' and k < 2:
        raise ValueError(f"over={over!r} needs the RDMs of at least two subjects, not {k}: use over='stimuli'.")
    if (pairs == 'partial' and not chosen.partialable) or (pairs != 'all' and not chosen.weighted):
        fitting = indices_that(lambda x: x.partialable) if pairs == 'partial' else WEIGHTED_INDICES
        raise ValueError(f'pairs={pairs!r} is for {", ".join(fitting)}, not for {index!r}.')


def _as_models(models: Rdms | Sequence[Model]) -> list[Model]:
    """A list of models, fixed ones made of bare RDMs."""
    if isinstance(models, Rdm | Model):
        return _as_models([models])  # type: ignore[list-item]
    listed: list[Model]
    if not isinstance(models, np.ndarray) and all(isinstance(model, Model | Rdm) for model in models):
        listed = [model if isinstance(model, Model) else Fixed([model], model.name) for model in models]
    else:
        listed = [Fixed(row[None], f'model {i}') for i, row in enumerate(condensed_rows(models))]
    names = [model.name for model in listed]
    if not names or len(set(names)) != len(names):
        raise ValueError(f'models need names that differ, at least one of them, not {names}.')
    return listed


def _restriction(
    labels: np.ndarray | None, pairs: str, n: int
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray]:
    """Mask of pairs, control RDM, and groups within which stimuli may be exchanged, [n]."""
    if pairs == 'all':
        return None, None, np.zeros(n, dtype=np.int64)
    if labels is None or np.shape(labels) != (n,):
        raise ValueError(f'pairs={pairs!r} needs the category of each of the {n} stimuli: pass labels, [{n}].')
    groups = np.unique(labels, return_inverse=True)[1]
    if pairs == 'partial':
        return None, category_rdm(labels)[None], groups
    mask = (within_category if pairs == 'within' else between_category)(labels)
    if mask.sum() < 2:
        raise ValueError(
            f'pairs={pairs!r}: {mask.sum()} pairs are left of {n} stimuli in {groups.max() + 1} categories, but at '
            'least two are needed: check labels, or compare all pairs.'
        )
    return mask, None, groups
