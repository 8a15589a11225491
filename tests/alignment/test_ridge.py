"""Ridge and banded ridge against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from humalign_jax.alignment import ridge

PENALTIES = np.logspace(-4, 5, 20)


def _data(n, d, v=7, seed=0):
    np_rng = np.random.default_rng(seed)
    x = np_rng.normal(size=(n, d)) * np.exp(np_rng.normal(size=d))
    noise = 5 * np_rng.normal(size=(n, v)) * np.arange(1, v + 1)
    return x, x @ np_rng.normal(size=(d, v)) + noise + 3, np_rng.normal(size=(11, d))


@pytest.mark.parametrize(('n', 'd'), [(40, 90), (90, 40), (50, 50)])
@pytest.mark.parametrize(('dtype', 'tolerance'), [('float64', 1e-10), ('float32', 1e-5)])
def test_predictions_and_penalties_equal_ridgecv(n, d, dtype, tolerance):
    x, y, x_test = _data(n, d)
    theirs = RidgeCV(alphas=PENALTIES, alpha_per_target=True).fit(x, y)
    ours = ridge.fit_ridge([x], y, [x_test], penalties=PENALTIES, dtype=dtype, batch=3)  # 7 leave a short last batch
    np.testing.assert_array_equal(ours.penalty, theirs.alpha_)
    np.testing.assert_allclose(ours.predictions, theirs.predict(x_test), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(ours.error, -theirs.best_score_, rtol=tolerance)


def test_tiny_penalties_lose_no_digits_in_single_precision():
    """Residuals and one minus the leverage both go to 0 where there are more features than rows."""
    x, y, x_test = _data(30, 80)
    theirs = RidgeCV(alphas=[1e-6], alpha_per_target=True).fit(x, y)
    ours = ridge.fit_ridge([x], y, [x_test], penalties=[1e-6], dtype='float32')
    np.testing.assert_allclose(ours.error, -theirs.best_score_, rtol=1e-4)


def test_penalties_by_inner_groups_equal_leave_one_group_out_of_scikit_learn():
    x, y, x_test = _data(40, 25, v=4, seed=1)
    groups, penalties = np.repeat(np.arange(5), 8), np.logspace(-1, 4, 6)
    ours = ridge.fit_ridge([x], y, [x_test], penalties=penalties, groups=groups, dtype='float64')
    errors = []
    for penalty in penalties.tolist():
        made = cross_val_predict(Ridge(alpha=penalty), x, y, groups=groups, cv=LeaveOneGroupOut())
        errors.append(((made - y) ** 2).mean(axis=0))
    np.testing.assert_array_equal(ours.penalty, penalties[np.argmin(errors, axis=0)])
    np.testing.assert_allclose(ours.error, np.min(errors, axis=0), rtol=1e-9)


def test_band_weights_are_penalties_of_bands():
    """Penalty / weight for each band is ridge regression on features times the root of the weight."""
    (x, y, x_test), (other, _, other_test) = _data(30, 10, v=3), _data(30, 40, v=3, seed=5)
    sets = np.array([[0.2, 0.8]])
    ours = ridge.fit_ridge([x, other], y, [x_test, other_test], penalties=[3.0], weights=sets, dtype='float64')
    features = np.column_stack([x, other])
    centred, targets = features - features.mean(axis=0), y - y.mean(axis=0)
    strength = np.diag(np.repeat([3.0 / 0.2, 3.0 / 0.8], [10, 40]))
    coefficients = np.linalg.solve(centred.T @ centred + strength, centred.T @ targets)
    expected = (np.column_stack([x_test, other_test]) - features.mean(axis=0)) @ coefficients + y.mean(axis=0)
    np.testing.assert_allclose(ours.predictions, expected, rtol=1e-8, atol=1e-8)


def test_random_search_finds_the_band_of_each_response():
    np_rng = np.random.default_rng(2)
    bands = [np_rng.normal(size=(80, 30)), np_rng.normal(size=(80, 30))]
    y = np.column_stack([band @ np_rng.normal(size=(30, 5)) for band in bands]) + np_rng.normal(size=(80, 10))
    sets = ridge.band_weights(2, 12, seed=0)
    fit = ridge.fit_ridge(bands, y, bands, penalties=np.logspace(-1, 3, 5), weights=sets)
    share = sets[fit.weights, 0]
    assert share[:5].min() > 0.9 and share[5:].max() < 0.1


def test_band_weights_begin_with_equal_weights_and_single_bands():
    sets = ridge.band_weights(3, 10, seed=1)
    np.testing.assert_allclose(sets[:4], [[1 / 3] * 3, [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(sets.sum(axis=1), 1.0)
    assert sets.shape == (10, 3) and ridge.band_weights(1, 10, seed=1).shape == (1, 1)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'penalties': [0.0, 1.0]}, r'penalties must be above 0'),
        ({'groups': np.zeros(20)}, 'needs two groups or more'),
        ({'weights': np.array([[0.0]])}, 'not all 0 in a set'),
        ({'test': [np.zeros((3, 4))]}, r'features \[20, 5\] and \[3, 4\] do not fit'),
    ],
)
def test_what_cannot_be_is_named(changes, message):
    arguments = {'train': [np.zeros((20, 5))], 'responses': np.zeros((20, 2)), 'test': [np.zeros((3, 5))]}
    with pytest.raises(ValueError, match=message):
        ridge.fit_ridge(**{**arguments, 'penalties': [1.0], **changes})
