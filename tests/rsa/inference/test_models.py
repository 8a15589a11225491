import numpy as np
import pytest
import scipy.optimize
from scipy.spatial.distance import pdist

from humalign_jax.rsa.inference import crossval
from humalign_jax.rsa.inference import infer as infer_module
from humalign_jax.rsa.inference.infer import infer
from humalign_jax.rsa.inference.models import Fixed, Interpolated, Selected, Weighted
from humalign_jax.rsa.inference.resample import bootstrap_weights
from humalign_jax.rsa.pairs import category_rdm, take_stimuli
from humalign_jax.rsa.similarity.compare import compare_condensed


def make_parts(n=24, n_subjects=4, noise=0.3, seed=0):
    """Three component RDMs, and subjects that weight the last two of them 1 to 3."""
    np_rng = np.random.default_rng(seed)
    parts = np.stack([pdist(np_rng.normal(size=(n, 3))) for _ in range(3)])
    mixed = 0.25 * parts[1] + 0.75 * parts[2]
    return parts, mixed + noise * np_rng.normal(size=(n_subjects, len(mixed)))


def products_of(parts, target):
    x, y = parts - parts.mean(axis=1, keepdims=True), target - target.mean()
    return x @ x.T, x @ y


def test_weighted_fit_is_non_negative_least_squares():
    parts, subjects = make_parts()
    target = subjects.mean(axis=0) - 0.2 * parts[0]
    x, y = parts - parts.mean(axis=1, keepdims=True), target - target.mean()
    got = Weighted(parts, 'w').weights(*products_of(parts, target))
    np.testing.assert_allclose(got, scipy.optimize.nnls(x.T, y)[0], rtol=1e-8)
    assert got[0] == 0.0


def test_weighted_fit_survives_a_repeated_component():
    parts, subjects = make_parts()
    doubled = np.concatenate([parts, parts[1:2]])
    got = Weighted(doubled, 'w').weights(*products_of(doubled, subjects[0]))
    expected = Weighted(parts, 'w').weights(*products_of(parts, subjects[0]))
    np.testing.assert_allclose(got @ doubled, expected @ parts, rtol=1e-6)


def test_interpolated_fit_is_the_best_on_a_fine_grid():
    parts, subjects = make_parts()
    got = Interpolated(parts, 'i').weights(*products_of(parts, subjects[0]))
    grid = np.linspace(0.0, 1.0, 2001)[:, None]
    mixtures = np.concatenate([(1 - grid) * parts[i] + grid * parts[i + 1] for i in (0, 1)])
    best = compare_condensed(mixtures, subjects[:1], 'pearson').max()
    assert compare_condensed((got @ parts)[None], subjects[:1], 'pearson')[0, 0] >= best
    assert got.sum() == pytest.approx(1.0)
    np.testing.assert_array_equal(
        Interpolated(parts[:2], 'i').weights(*products_of(parts[:2], -parts[0] - 2 * parts[1])), [1.0, 0.0]
    )


def test_selected_fit_is_the_component_with_the_largest_correlation():
    parts, subjects = make_parts()
    assert np.argmax(Selected(parts, 's').weights(*products_of(parts, subjects[0]))) == 2


@pytest.mark.parametrize('index', ['pearson', 'spearman', 'cosine', 'rho_a'])
def test_crossvalidated_scores_equal_fitting_and_scoring_by_hand(index):
    parts, subjects = make_parts()
    result = infer([Weighted(parts, 'w'), Fixed(parts[:1], 'f')], subjects, index=index, n_permutations=0)
    stimuli = crossval.deal_folds(0, 24, result.settings['n_stimulus_folds'], stream=3)
    people = crossval.deal_folds(0, 4, result.settings['n_subject_folds'], stream=4)
    scaled = crossval.unit_rdms(subjects, index)
    expected = np.zeros((2, 4))
    for fold in range(stimuli.max() + 1):
        train, test = np.flatnonzero(stimuli != fold), np.flatnonzero(stimuli == fold)
        for s in range(4):
            x, y = take_stimuli(parts, train), take_stimuli(scaled[people != people[s]].mean(axis=0), train)
            if index != 'cosine':
                x, y = x - x.mean(axis=1, keepdims=True), y - y.mean()
            weights = scipy.optimize.nnls(x.T, y)[0]
            predicted = take_stimuli(np.stack([weights @ parts, parts[0]]), test)
            scores = compare_condensed(predicted, take_stimuli(subjects[s : s + 1], test), index)
            expected[:, s] += scores[:, 0] / (stimuli.max() + 1)
    np.testing.assert_allclose(result.scores_by_subject, expected, atol=1e-5)  # fitted to float32 sums


def test_fitted_weights_do_not_profit_from_noise_but_find_a_true_mixture():
    parts, subjects = make_parts(noise=0.1)
    noise = np.random.default_rng(1).normal(size=subjects.shape)
    fitted = [Weighted(parts, 'weighted'), Selected(parts, 'selected'), Fixed(parts[1:2], 'fixed')]
    options = dict(index='pearson', n_permutations=99)
    found = infer(fitted, subjects, **options)
    assert found.values[0] > 0.95 > found.values[1] > found.values[2]
    assert found.p_zero[0] == 0.01
    assert found.values[0] <= found.ceiling_upper
    scores = [infer([Weighted(parts, 'w')], noise, **options, seed=seed).values[0] for seed in range(10)]
    assert abs(np.mean(scores)) < 0.05


def test_one_subject_is_fitted_on_its_other_stimuli():
    parts, subjects = make_parts(noise=0.1)
    result = infer([Weighted(parts, 'w')], subjects[0], index='pearson', n_permutations=0)
    assert result.values[0] > 0.9
    assert np.isnan(result.ceiling_lower)


def test_standard_errors_over_subjects_are_those_of_refits_to_drawn_subjects(monkeypatch):
    monkeypatch.setattr(infer_module, 'N_DRAWS', 20)
    parts, subjects = make_parts(noise=0.6)
    options = dict(index='pearson', n_permutations=0, n_stimulus_folds=2, n_subject_folds=2)
    result = infer([Weighted(parts, 'w'), Selected(parts, 's')], subjects, over='subjects', **options)
    assert result.interval == "bootstrap over subjects for these folds, t of Fisher's z"
    stimuli, people = (crossval.deal_folds(0, units, 2, stream=stream) for units, stream in ((24, 3), (4, 4)))
    scaled, draws = crossval.unit_rdms(subjects, 'pearson'), []
    for drawn in bootstrap_weights(0, 4, 20, stream=1).astype(int):
        if not all(drawn[people == g].sum() for g in (0, 1)):
            continue  # a group without others
        scores = np.zeros(2)
        for fold in range(2):
            train, test = np.flatnonzero(stimuli != fold), np.flatnonzero(stimuli == fold)
            for s in range(4):
                others = np.repeat(np.arange(4), drawn * (people != people[s]))
                x, y = take_stimuli(parts, train), take_stimuli(scaled[others].mean(axis=0), train)
                x, y = x - x.mean(axis=1, keepdims=True), y - y.mean()
                fits = np.stack(
                    [scipy.optimize.nnls(x.T, y)[0], np.eye(3)[np.argmax(x @ y / np.linalg.norm(x, axis=1))]]
                )
                tested = take_stimuli(fits @ parts, test), take_stimuli(subjects[s : s + 1], test)
                scores += drawn[s] / 8 * np.nan_to_num(compare_condensed(*tested, 'pearson')[:, 0])
        draws.append(scores)
    np.testing.assert_allclose(result.standard_errors, np.std(draws, axis=0, ddof=1) * np.sqrt(4 / 3), rtol=1e-6)


@pytest.mark.parametrize('index', ['pearson', 'spearman'])
def test_partial_scores_of_flexible_models_equal_fitting_residuals_by_hand(index):
    parts, subjects = make_parts(noise=0.6)
    labels = np.arange(24) % 2
    control = category_rdm(labels)[None].astype(float)
    options = dict(index=index, pairs='partial', labels=labels, n_permutations=19)
    result = infer([Weighted(parts, 'w')], subjects, n_stimulus_folds=2, n_subject_folds=1, **options)
    stimuli = crossval.deal_folds(0, 24, 2, stream=3)
    target = crossval.unit_rdms(subjects, index).mean(axis=0)
    expected = np.zeros(4)
    for fold in range(2):
        train, test = np.flatnonzero(stimuli != fold), np.flatnonzero(stimuli == fold)
        design = np.concatenate([take_stimuli(control, train), np.ones((1, 66))]).T
        x, y = take_stimuli(parts, train).T, take_stimuli(target, train)
        x, y = (z - design @ np.linalg.lstsq(design, z)[0] for z in (x, y))
        predicted = scipy.optimize.nnls(x, y)[0] @ take_stimuli(parts, test)
        held = take_stimuli(control, test)
        expected += compare_condensed(predicted[None], take_stimuli(subjects, test), index, control=held)[0] / 2
    np.testing.assert_allclose(result.scores_by_subject[0], expected, atol=1e-5)
    assert np.isfinite(result.p_zero).all()
    assert np.isfinite(result.standard_errors).all()


def test_mistakes_are_named():
    parts, subjects = make_parts()
    with pytest.raises(ValueError, match="model 'w', Weighted, has 1 component RDMs"):
        Weighted(parts[:1], 'w')
    with pytest.raises(ValueError, match='flexible models are for pearson'):
        infer([Weighted(parts, 'w')], subjects, index='kendall_tau_a')
    with pytest.raises(ValueError, match='do not fit 24 stimuli and 4 subjects'):
        infer([Weighted(parts, 'w')], subjects, n_stimulus_folds=9)
    with pytest.raises(ValueError, match='models need names that differ'):
        infer([Weighted(parts, 'w'), Selected(parts, 'w')], subjects)


@pytest.mark.parametrize('index', ['spearman', 'cosine'])
def test_one_group_of_subjects_has_intervals_but_no_ceiling(index):
    parts, subjects = make_parts()
    options = dict(over='both', n_subject_folds=1, n_permutations=0, index=index)
    result = infer([Weighted(parts, 'w'), Fixed(parts[:1], 'f')], subjects, **options)
    assert np.all((result.low < result.values) & (result.values < result.high))
    assert np.isnan(result.p_ceiling).all()
    assert result.interval == "variance over stimuli and subjects in closed form for these fits, t of Fisher's z"


@pytest.mark.slow
def test_standard_errors_of_crossvalidated_scores_are_near_the_spread_of_repeated_studies():
    np_rng = np.random.default_rng(0)
    values, errors, holds = [], [], []
    for seed in range(150):
        shared = np_rng.normal(size=(40, 4))
        parts, subjects = (
            np.stack([pdist(shared + noise * np_rng.normal(size=(40, 4))) for noise in noises])
            for noises in ((0.5, 1.0, 1.5), (1.0, 1.0))
        )
        result = infer([Weighted(parts, 'w'), Fixed(parts[1:2], 'f')], subjects, n_permutations=0, seed=seed)
        assert result.interval == "variance over stimuli in closed form for these fits, t of Fisher's z"
        values.append(result.values)
        errors.append(result.standard_errors)
        holds.append([result.low, result.high])
    # The spread of 150 values has a relative error of 0.06.
    np.testing.assert_allclose(np.mean(errors, axis=0) / np.std(values, axis=0), np.ones(2), atol=0.2)
    low, high = np.swapaxes(holds, 0, 1)
    truth = np.mean(values, axis=0)
    assert np.all(np.mean((low <= truth) & (truth <= high), axis=0) > 0.88)
