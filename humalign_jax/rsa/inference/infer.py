"""Inference on models in one call: intervals, tests and differences, for new stimuli, new subjects or both."""

from collections.abc import Sequence

import jax
import numpy as np

from humalign_jax.devices import local_devices
from humalign_jax.records import Rdm
from humalign_jax.rsa.inference.crossval import deal_folds, default_folds, evaluate_crossvalidated
from humalign_jax.rsa.inference.evaluation import evaluate_fixed
from humalign_jax.rsa.inference.models import Fixed, Model
from humalign_jax.rsa.inference.resample import WEIGHTED_INDICES, bootstrap_weights, half_samples, stimulus_permutations
from humalign_jax.rsa.inference.result import InferenceResult, summarise
from humalign_jax.rsa.pairs import between_category, category_rdm, condensed_rows, n_stimuli_of, within_category
from humalign_jax.rsa.similarity.ceiling import PAIRS
from humalign_jax.rsa.similarity.compare import INDICES, WHOLE, Rdms, join_rdms

BOOTSTRAPS = ('stimuli', 'subjects', 'both')
MIN_STIMULI = 4  # with three, most samples have too few distinct ones
MIN_HALVED = 8  # half of them are four


def infer(
    models: Rdms | Sequence[Model],
    reference: Rdms,
    *,
    index: str = 'spearman',
    bootstrap: str = 'stimuli',
    n_bootstrap: int = 1000,
    n_permutations: int = 1000,
    labels: np.ndarray | None = None,
    pairs: str = 'all',
    n_stimulus_folds: int | None = None,
    n_subject_folds: int | None = None,
    seed: int = 0,
    devices: Sequence[jax.Device] | None = None,
) -> InferenceResult:
    """Scores of models with a reference, their intervals, tests against zero, the ceiling and each other.

    A score is the mean over subjects of the index between a model's RDM and a subject's RDM.

    *Draws* are bootstrap samples: pairs of a stimulus with itself are left out, ranks are formed anew in every sample,
    as in rsatoolbox. The whitened indices and Bures' have no place for a repeated stimulus (it would be a point at
    distance zero from another; without these pairs the RDM is not whole): their draws are random halves of the stimuli.

    *Intervals* are those of Student's t around Fisher's z of the score, for the score over all stimuli and subjects
    of their kind. Over stimuli, standard errors are not those of the draws, which are up to 20 % too wide (halves of
    the stimuli err by -10 to 70 %), but follow in closed form, see `dyads`, with the measurements; those of Bures' are
    by `jackknife`. Over subjects alone they are those of a mean over subjects, see `over_subjects`; elsewhere, as for
    flexible models over subjects alone, those of the draws, times n / (n - 1) in variance.
    'pearson' and the whitened indices have t around the score itself, cut off at -1 and 1: their standard errors do
    not fall as the score rises (correlated with it by -0.02 to 0.17 and 0.2 to 0.5 over simulated studies), so that
    around Fisher's z the interval is too short for low scores, and the truth was above it three (whitened: seven) times
    as often as below. 'cosine' of fixed models is biased, by a third of a standard error at 40 stimuli, and skewed,
    which its draws show: its interval is around the score less the bias (`values` are as they were found) with their
    standard error. For 'both' the variances over stimuli and over subjects are added and that of their interaction,
    which both contain, is taken out. Degrees of freedom are those of the units, Satterthwaite's for sums, and in closed
    form those of resampled quantiles (`quantiles`), over subjects from five on. How often intervals hold the truth and
    tests reject: benchmarks/results/rsa_calibration.json.

    *Against zero*: stimuli of the reference are exchanged at random. With `pairs` other than 'all' they are exchanged
    within their category only, so that the test is of what the categories do not explain.

    *Against the ceiling and each other*: t tests with the standard error of the difference, found in the same way; the
    family-wise correction takes the distribution of the smallest p of all pairs of models from t values as correlated
    as the draws: that of the largest |t| where all have as many degrees of freedom. The ceiling is a mean over subjects
    who agree with each other, so that each counts twice; over subjects its test needs three of them.

    *Flexible models* (Selected, Weighted, Interpolated) are fitted and scored on different stimuli and subjects, and so
    are all models beside them; they are fitted anew in every sample, of stimuli, subjects or both. See `crossval`.
    Scores are means over folds, of the pairs within them, and are about as reliable as these few pairs: intervals are
    those in closed form for the fits that were made (draws are up to 1.8 times too wide: a fold has few stimuli). Over
    subjects alone all is said of these folds of these stimuli: dealt anew, 40 of them move scores by more than 12 other
    subjects do, and two models that are as good as each other over all pairs may differ within folds.

    Args:
        models: RDMs, a condensed array [m, p], or `rsa.Fixed`, `rsa.Selected`, `rsa.Weighted`, `rsa.Interpolated`.
        reference: RDM of each subject, k of them, or one; records join by stimulus id.
        index: One of `compare.INDICES`; those outside `resample.WEIGHTED_INDICES` are slower.
        bootstrap: 'stimuli' (would it hold for other stimuli?), 'subjects' or 'both'.
        n_bootstrap: Number of bootstrap samples.
        n_permutations: Number of permutations; 0 for no test against zero.
        labels: Category of each stimulus, [n], in the order of the first model's RDM.
        pairs: 'all'; 'within' or 'between' for pairs of one or of two categories; 'partial' for all pairs with the
            same/different RDM of the categories partialled out of both sides.
        n_stimulus_folds: Folds of stimuli for flexible models; default 2 to 5.
        n_subject_folds: Folds of subjects for flexible models; default 1 to 5.
        seed: Seed of samples, permutations and folds. The same on any number of devices.
        devices: Where to compute; default all local devices.

    Returns:
        The result; `.scores()` makes records of it.

    Raises:
        ValueError: Too few stimuli or subjects for what is asked, stimuli that do not match, or options that clash.

    References:
        Nili et al. (2014). doi:10.1371/journal.pcbi.1003553
        Schutt et al. (2023), bootstrap over stimuli and subjects. doi:10.7554/eLife.82566
        Satterthwaite (1946), degrees of freedom. doi:10.2307/3002019
        Nichols & Holmes (2002), the largest statistic. doi:10.1002/hbm.1058
        Benjamini & Hochberg (1995). doi:10.1111/j.2517-6161.1995.tb02031.x
    """
    listed = _as_models(models)
    *components, subjects = join_rdms(*(model.components for model in listed), reference)
    n, k = n_stimuli_of(subjects.shape[1]), len(subjects)
    check_options(index, bootstrap, pairs, n, k, n_bootstrap, n_permutations)
    for name, rdms in [*((model.name, c) for model, c in zip(listed, components)), ('reference', subjects)]:
        if not np.isfinite(rdms).all():
            raise ValueError(
                f'{name!r} has {np.sum(~np.isfinite(rdms))} values that are NaN or infinite: leave their stimuli out '
                'with rsa.select before inference.'
            )
    mask, control, groups = _restriction(labels, pairs, n)
    devices = list(devices) if devices is not None else local_devices()
    weights, people = np.empty((0, n), np.float32), np.empty((0, k), np.float32)
    if bootstrap != 'subjects':
        halved = index in WHOLE
        weights = half_samples(seed, n, n_bootstrap) if halved else bootstrap_weights(seed, n, n_bootstrap, stream=0)
    if bootstrap != 'stimuli':
        people = bootstrap_weights(seed, k, n_bootstrap, stream=1)
    names = [model.name for model in listed]
    settings = {'index': index, 'pairs': pairs, 'seed': seed}
    settings |= {'n_bootstrap': n_bootstrap, 'n_permutations': n_permutations}
    if any(model.flexible for model in listed):
        stimulus_folds, subject_folds = _folds(n, k, n_stimulus_folds, n_subject_folds, index, seed)
        settings |= {'n_stimulus_folds': int(stimulus_folds.max()) + 1, 'n_subject_folds': int(subject_folds.max()) + 1}
        groups = groups + (groups.max() + 1) * stimulus_folds
        evaluation = evaluate_crossvalidated(
            listed,
            components,
            subjects,
            index,
            stimulus_folds=stimulus_folds,
            subject_folds=subject_folds,
            weights=weights,
            subject_weights=people,
            orders=stimulus_permutations(seed, groups, n_permutations),
            mask=mask,
            control=control,
            devices=devices,
        )
    else:
        evaluation = evaluate_fixed(
            np.concatenate(components),
            subjects,
            index,
            weights=weights,
            orders=stimulus_permutations(seed, groups, n_permutations),
            mask=mask,
            control=control,
            devices=devices,
            names=names,
            seed=seed,
            by_subject=bootstrap != 'stimuli',
        )
    return summarise(evaluation, names=names, bootstrap=bootstrap, n=n, subject_weights=people, settings=settings)


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


def check_options(
    index: str, bootstrap: str, pairs: str, n: int, k: int, n_bootstrap: int, n_permutations: int
) -> None:
    """Raises ValueError for options of `infer` that do not fit n stimuli, k subjects or each other."""
    for name, value, choices in (
        ('index', index, tuple(INDICES)),
        ('bootstrap', bootstrap, BOOTSTRAPS),
        ('pairs', pairs, PAIRS),
    ):
        if value not in choices:
            raise ValueError(f'{name} must be one of {", ".join(choices)}, not {value!r}.')
    if n_bootstrap < 20 or n_permutations < 0:
        raise ValueError(
            f'n_bootstrap must be at least 20 and n_permutations 0 or more, not {n_bootstrap} and {n_permutations}.'
        )
    if bootstrap != 'subjects' and n < MIN_STIMULI:
        raise ValueError(f'a bootstrap over stimuli needs at least {MIN_STIMULI} of them, not {n}.')
    if bootstrap != 'stimuli' and k < 2:
        raise ValueError(
            f"bootstrap={bootstrap!r} needs the RDMs of at least two subjects, not {k}: use bootstrap='stimuli'."
        )
    if bootstrap != 'subjects' and index in WHOLE and n < MIN_HALVED:
        raise ValueError(f'{index!r} is resampled by halves of the stimuli: at least {MIN_HALVED} are needed, not {n}.')
    if (pairs == 'partial' and index not in ('pearson', 'spearman')) or (
        pairs != 'all' and index not in WEIGHTED_INDICES
    ):
        fitting = ('pearson', 'spearman') if pairs == 'partial' else WEIGHTED_INDICES
        raise ValueError(f'pairs={pairs!r} does not go with index {index!r}: choose one of {", ".join(fitting)}.')


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


def _folds(
    n: int, k: int, n_stimulus_folds: int | None, n_subject_folds: int | None, index: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fold of each stimulus, [n], and of each subject, [k]."""
    if index not in WEIGHTED_INDICES:
        raise ValueError(f'flexible models go with {", ".join(WEIGHTED_INDICES)}, not with {index!r}.')
    defaults = default_folds(n, k)
    n_stimulus_folds = defaults[0] if n_stimulus_folds is None else n_stimulus_folds
    n_subject_folds = defaults[1] if n_subject_folds is None else n_subject_folds
    if not 2 <= n_stimulus_folds <= n // 3 or not 1 <= n_subject_folds <= k:
        raise ValueError(
            f'{n_stimulus_folds} folds of stimuli and {n_subject_folds} of subjects do not fit {n} stimuli and {k} '
            'subjects: at least two folds of three stimuli or more, and folds of one subject or more.'
        )
    return deal_folds(seed, n, n_stimulus_folds, stream=3), deal_folds(seed, k, n_subject_folds, stream=4)
