"""Bootstrap samples of scores and noise ceilings, as rsatoolbox draws them.

`rsa.infer` needs them for 'cosine' alone; they serve comparisons, and users who want this scheme.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from scipy.spatial.distance import squareform

from humalign_jax import results
from humalign_jax.devices import local_devices
from humalign_jax.rsa.inference.covariance import variances_over_both
from humalign_jax.rsa.inference.evaluation import evaluate_fixed
from humalign_jax.rsa.inference.inputs import Inputs
from humalign_jax.rsa.inference.models import Model
from humalign_jax.rsa.inference.resample import bootstrap_weights, weighted_products, weighted_rank_products
from humalign_jax.rsa.similarity.compare import Rdms
from humalign_jax.rsa.similarity.indices import INDICES, WEIGHTED_INDICES

MIN_DISTINCT = 3  # a bootstrap sample of fewer distinct stimuli has no correlation; as in rsatoolbox


@dataclasses.dataclass(frozen=True, repr=False)
class Bootstrap(results.Result):
    """Bootstrap samples of the scores of m fixed models.

    Attributes:
        names: Names of the models, m of them.
        index: The index of similarity.
        over: What was resampled: 'stimuli', 'subjects' or 'both'.
        scores: Mean scores over subjects in every sample, [b, m].
        ceilings: Lower and upper noise ceiling in every sample, [b, 2]; NaN for a single subject.
        standard_errors: Of the scores, [m]: n / (n - 1) times the variance over n units. Over both, the sum over
            stimuli and subjects less the interaction, by the two-factor correction.
        n_undefined: Samples left out because a score was not defined in them.
    """

    names: tuple[str, ...]
    index: str
    over: str
    scores: np.ndarray
    ceilings: np.ndarray
    standard_errors: np.ndarray
    n_undefined: int

    def columns(self) -> dict[str, Sequence[Any]]:
        """One row for each model: mean of the samples and standard error."""
        each = {'index': self.index, 'over': self.over, 'n_draws': len(self.scores), 'n_undefined': self.n_undefined}
        return {
            'model': list(self.names),
            'mean_of_samples': self.scores.mean(axis=0).tolist(),
            'standard_error': self.standard_errors.tolist(),
            **{name: [value] * len(self.names) for name, value in each.items()},
        }

    def shown(self) -> tuple[str, dict[str, list[str]]]:
        """Title and columns of the printed table."""
        return (
            f'{self.index}, {len(self.scores)} bootstrap samples of {self.over}',
            {
                'model': list(self.names),
                'mean of samples': [results.number(value) for value in self.scores.mean(axis=0)],
                'standard error': [results.number(value) for value in self.standard_errors],
            },
        )


def bootstrap(
    models: Rdms | Sequence[Model],
    reference: Rdms,
    *,
    index: str = 'spearman',
    over: str = 'stimuli',
    n_draws: int = 1000,
    labels: np.ndarray | None = None,
    pairs: str = 'all',
    seed: int = 0,
    devices: Sequence[jax.Device] | None = None,
) -> Bootstrap:
    """Scores of fixed models and noise ceilings in bootstrap samples of stimuli, subjects or both.

    Pairs of a stimulus with itself are left out, and ranks are formed anew in every sample. Standard errors over
    stimuli are too large, see docs/inference.md; `rsa.infer` has them in closed form.

    Args:
        models: As for `infer`, without flexible ones.
        reference: As for `infer`.
        index: 'pearson', 'spearman', 'rho_a' or 'cosine'.
        over: What is resampled: 'stimuli', 'subjects' or 'both'.
        n_draws: Number of samples, two or more.
        labels: As for `infer`.
        pairs: As for `infer`.
        seed: Seed of the samples. The same on any number of devices.
        devices: Where to compute; default all local devices.

    Raises:
        ValueError: As `infer`; flexible models, another index, or scores that are defined in fewer than two samples.

    References:
        Nili et al. (2014). doi:10.1371/journal.pcbi.1003553
        Schutt et al. (2023), equation 5. doi:10.7554/eLife.82566

    Example:
        >>> seen = np.random.default_rng(0).normal(size=(20, 6))
        >>> people = [rsa.rdm(seen + np.random.default_rng(s).normal(size=seen.shape)) for s in range(1, 5)]
        >>> print(rsa.bootstrap(rsa.rdm(seen), np.stack(people), over='subjects', n_draws=200))
        spearman, 200 bootstrap samples of subjects
        model    mean of samples  standard error
        model 0            0.380           0.078
    """
    inputs = Inputs.of(models, reference, index, over, labels, pairs)
    if index not in WEIGHTED_INDICES or inputs.is_flexible or n_draws < 2:
        raise ValueError(
            f'rsa.bootstrap draws two samples or more of fixed models for {", ".join(WEIGHTED_INDICES)}, not '
            f'{n_draws} for {index!r}{" and models to fit" if inputs.is_flexible else ""}: use rsa.infer.'
        )
    n, k = inputs.n_stimuli, len(inputs.subjects)
    rdms = np.concatenate(inputs.components)
    used = list(devices) if devices is not None else local_devices()
    options: dict[str, Any] = {'mask': inputs.mask, 'control': inputs.control, 'devices': used}
    none = np.empty((0, n), dtype=np.int64)
    data = evaluate_fixed(rdms, inputs.subjects, index, over='none', orders=none, names=inputs.names, **options)
    of_data = np.concatenate([data.scores, data.lower[None], data.upper[None]])
    share = np.full((n_draws, k), 1.0 / k)
    if over != 'stimuli':
        share = bootstrap_weights(seed, k, n_draws, stream=1).astype(np.float64) / k
    samples = {'subjects': share @ of_data.T}  # [b, m + 2]
    if over != 'subjects':
        weights = bootstrap_weights(seed, n, n_draws, stream=0)
        scores, ceilings = weighted_draws(rdms, inputs.subjects, index, weights, **options)
        drawn = np.concatenate([scores, ceilings.swapaxes(0, 1)], axis=1)  # [b, m + 2, k]
        samples |= {'stimuli': drawn.mean(axis=2), 'both': np.einsum('bik,bk->bi', drawn, share)}
    m = len(rdms)
    ok = np.isfinite(samples[over][:, :m]).all(axis=1)
    samples = {kind: x[ok] for kind, x in samples.items()}
    check_samples(samples[over], n_draws)
    return Bootstrap(
        names=tuple(inputs.names),
        index=index,
        over=over,
        scores=samples[over][:, :m],
        ceilings=samples[over][:, m:],
        standard_errors=_standard_errors({kind: x[:, :m] for kind, x in samples.items()}, over, n, k),
        n_undefined=n_draws - len(samples[over]),
    )


def check_samples(defined: np.ndarray, n_draws: int) -> None:
    """Raises ValueError unless two samples of `n_draws` are defined."""
    if len(defined) < 2:
        raise ValueError(
            f'scores are not defined in {n_draws - len(defined)} of {n_draws} samples: in them, a model or subject has '
            'equal distances only. Use more stimuli, or leave out the RDM of few distinct values.'
        )


def _standard_errors(samples: dict[str, np.ndarray], over: str, n: int, k: int) -> np.ndarray:
    """Of scores in samples of n stimuli, k subjects or both, [b, m] -> [m]."""
    raw = {kind: x.var(axis=0, ddof=1) for kind, x in samples.items()}
    factors = {'stimuli': n / (n - 1.0), 'subjects': k / (k - 1.0) if k > 1 else 1.0}
    if over != 'both':
        return np.sqrt(factors[over] * raw[over])
    stimuli, subjects = ((factors[kind] * raw[kind], np.ones(1)) for kind in factors)
    interaction = factors['stimuli'] * factors['subjects'] * (raw['both'] - raw['stimuli'] - raw['subjects'])
    return np.sqrt(variances_over_both(stimuli, subjects, interaction)[0])


def weighted_draws(
    models: np.ndarray,
    subjects: np.ndarray,
    index: str,
    weights: np.ndarray,
    *,
    mask: np.ndarray | None,
    control: np.ndarray | None,
    devices: Sequence[jax.Device],
) -> tuple[np.ndarray, np.ndarray]:
    """Scores [b, m, k] and ceilings [2, b, k] in bootstrap samples, read off the weighted inner products.

    Args:
        models: Condensed RDMs, [m, p].
        subjects: Condensed RDMs of the same stimuli, [k, p].
        index: One of `indices.WEIGHTED_INDICES`.
        weights: How often each stimulus is drawn, [b, n].
        mask: Which pairs count, [p]; None for all.
        control: RDMs to partial out, [c, p]; None for none.
        devices: Where to compute.

    Returns:
        Scores, and lower and upper ceilings; NaN in samples where they are not defined.
    """
    m, r = len(models), len(models) + len(subjects)
    rdms = np.concatenate([models, subjects] + ([] if control is None else [control])).astype(np.float64)
    kept = slice(None) if mask is None else mask
    chosen = INDICES[index]
    if chosen.ranked:
        products = weighted_rank_products(rdms, weights, mask=mask, devices=devices)
    else:
        if chosen.centred:  # float32 sums keep their digits for what is centred
            rdms = rdms - rdms[:, kept].mean(axis=1, keepdims=True)
        scale = np.sqrt((rdms[:, kept] ** 2).mean(axis=1, keepdims=True))
        rdms = np.concatenate([np.ones((1, rdms.shape[1])), rdms / np.where(scale > 0, scale, 1.0)])
        products = weighted_products(rdms, weights, mask=mask, devices=devices)
        totals, sums, products = products[:, :1, :1], products[:, 0, 1:], products[:, 1:, 1:]
        if chosen.centred:
            products = products - sums[:, :, None] * sums[:, None, :] / np.maximum(totals, 1.0)
    whole_squares = np.einsum('bii->bi', products)[:, :r].copy()
    if control is not None:
        across = products[:, :, r:]
        products = products - across @ np.linalg.pinv(products[:, r:, r:]) @ across.transpose(0, 2, 1)
    few = (weights > 0).sum(axis=1) < MIN_DISTINCT
    products = np.where(few[:, None, None], np.nan, products[:, :r, :r])
    squares = np.einsum('bii->bi', products).copy()
    # Constant in this sample, or explained by the controls: only rounding errors are left.
    squares[squares <= 1e-6 * np.median(whole_squares, axis=0)] = np.nan
    lengths = np.sqrt(squares)
    if chosen.untied_scale:  # as if no values were tied
        n_pairs = np.maximum(_n_pairs_drawn(weights, mask), 1.0)  # none: all of a sample is one stimulus
        lengths[:] = np.sqrt((1.0 - n_pairs**-2.0) / 12.0)[:, None]
    scores = products[:, :m, m:] / (lengths[:, :m, None] * lengths[:, None, m:])

    # The pooled RDM is a sum of the subjects' RDMs (of unit length, or of ranks), so its products are known too.
    own = products[:, m:, m:]
    if not chosen.ranked:
        own = own / (lengths[:, m:, None] * lengths[:, None, m:])
        lengths = np.ones_like(lengths)
    to_all, whole = own.sum(axis=2), own.sum(axis=(1, 2))[:, None]
    self_products = np.einsum('bii->bi', own)
    upper = to_all / (np.sqrt(whole) * lengths[:, m:])
    rest = whole - 2.0 * to_all + self_products
    lower = (to_all - self_products) / (np.sqrt(np.where(rest > 0, rest, np.nan)) * lengths[:, m:])
    return scores, np.stack([lower, upper])


def _n_pairs_drawn(weights: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """How many pairs of different stimuli each sample has, [b, n] -> [b]."""
    weights = weights.astype(np.float64)
    if mask is None:
        return (weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)) / 2.0
    return np.einsum('bi,bi->b', weights @ squareform(mask.astype(np.float64)), weights) / 2.0
