"""Encoding models: folds, scores of held-out trials, and identification."""

import numpy as np
import pytest
import scipy.stats
from sklearn.linear_model import RidgeCV

from humalign_jax.alignment import encoding, encoding_scores, response_ceilings
from humalign_jax.human import fmri, simulated_voxels
from humalign_jax.human_responses import Responses
from humalign_jax.records import Features

PENALTIES = tuple(np.logspace(-1, 4, 6))


def _record(values, stimuli, sessions):
    values = np.asarray(values, np.float64)
    return Responses(values, stimuli, sessions, {'all': np.ones(values.shape[1])}, 'ann', 'some')


@pytest.fixture(scope='module')
def small():
    """Features of 60 trials with 60 stimuli in four sessions, and responses that follow from them."""
    np_rng = np.random.default_rng(0)
    x = 3 + np_rng.normal(size=(60, 8)) * np.arange(1, 9)
    y = x @ np_rng.normal(size=(8, 5)) + 10 * np_rng.normal(size=(60, 5)) + 7
    return x, _record(y, np.arange(60), np.arange(60) // 15)


def test_scores_of_left_out_sessions_equal_those_of_scikit_learn(small):
    x, responses = small
    folds = encoding.make_folds(responses, 'session', n=2, seed=0, new_stimuli=True)
    fit = encoding.cross_validate([x], responses, folds, penalties=PENALTIES, dtype='float64')
    for number, fold in enumerate(folds):
        y = responses.values
        mean, sd = y[fold.train].mean(axis=0), y[fold.train].std(axis=0)
        x_mean, x_sd = x[fold.train].mean(axis=0), x[fold.train].std(axis=0)
        model = RidgeCV(alphas=PENALTIES, alpha_per_target=True)
        model.fit((x[fold.train] - x_mean) / x_sd, (y[fold.train] - mean) / sd)
        made, given = model.predict((x[fold.blocks[0]] - x_mean) / x_sd), (y[fold.blocks[0]] - mean) / sd
        np.testing.assert_array_equal(fit.penalty[number], model.alpha_)
        r = [scipy.stats.pearsonr(a, b)[0] for a, b in zip(made.T, given.T)]
        np.testing.assert_allclose(fit.r[number], r, rtol=1e-6)
        np.testing.assert_allclose(fit.residual[number], ((made - given) ** 2).sum(axis=0), rtol=1e-6)
        np.testing.assert_allclose(fit.total[number], (given**2).sum(axis=0), rtol=1e-6)


def test_stimuli_of_a_held_out_session_can_be_left_out_of_train():
    responses = _record(np.zeros((8, 1)), list('abcdabef'), [1, 1, 2, 2, 1, 3, 3, 3])
    folds = encoding.make_folds(responses, 'session', n=2, seed=0, new_stimuli=True)
    assert folds[0].names == ('1',) and folds[0].train.tolist() == [2, 3, 6, 7]  # trial 5 shows b again
    folds = encoding.make_folds(responses, 'session', n=2, seed=0, new_stimuli=False)
    assert folds[0].train.tolist() == [2, 3, 5, 6, 7]


def test_parts_of_stimuli_keep_repeats_together_and_a_split_is_fitted_once():
    responses = _record(np.zeros((40, 1)), np.arange(40) % 20, np.zeros(40, int))
    folds = encoding.make_folds(responses, 'stimulus', n=4, seed=1, new_stimuli=True)
    assert sorted(np.concatenate([fold.blocks[0] for fold in folds])) == list(range(40))
    for fold in folds:
        assert not set(responses.stimuli[fold.train]) & set(responses.stimuli[fold.blocks[0]])
    test = np.arange(40) % 20 < 10
    (fold,) = encoding.make_folds(responses, 'split', n=3, seed=1, new_stimuli=True, test=test)
    assert len(fold.blocks) == 3 and sorted(np.concatenate(fold.blocks)) == np.flatnonzero(test).tolist()


@pytest.mark.parametrize(
    ('by', 'options', 'message'),
    [
        ('session', {}, "subject 'ann', has one session .or run. only, '0', so none can be held out"),
        ('stimulus', {'n': 9}, '10 stimuli do not make 9 parts of two'),
        ('split', {}, 'has no split into train and test'),
    ],
)
def test_folds_that_cannot_be_are_named(by, options, message):
    responses = _record(np.zeros((20, 1)), np.arange(20) % 10, np.zeros(20, int))
    with pytest.raises(ValueError, match=message):
        encoding.make_folds(responses, by, **{'n': 2, 'seed': 0, 'new_stimuli': True, **options})


def test_a_voxel_that_is_constant_in_a_fold_is_masked_and_a_constant_prediction_has_r_0(small):
    x, responses = small
    values = np.array(responses.values)
    values[:45, 1] = 2.0  # varies in the last session alone
    responses = _record(values, responses.stimuli, responses.sessions)
    folds = encoding.make_folds(responses, 'session', n=2, seed=0, new_stimuli=True)
    fit = encoding.cross_validate([np.ones_like(x)], responses, folds, penalties=PENALTIES)
    kept = encoding_scores.keep_voxels([fit], None, n_averaged=1, min_ceiling=0.05, counts={})
    assert kept.voxels.tolist() == [True, False, True, True, True] and kept.counts['n_constant_in_a_fold'] == 1
    assert (fit.r[:, kept.voxels] == 0).all()


def test_a_stimulus_is_identified_by_its_pattern_and_ties_share_the_credit():
    np_rng = np.random.default_rng(3)
    patterns = np_rng.normal(size=(5, 30))
    values = np.tile(patterns, (4, 1)) + 0.1 * np_rng.normal(size=(20, 30))
    responses = _record(values, np.arange(20) % 5, np.arange(20) // 5)
    folds = encoding.make_folds(responses, 'session', n=2, seed=0, new_stimuli=False)
    for x, expected in ((np.eye(5), 1.0), (np.ones((5, 1)), 0.2)):
        fit = encoding.cross_validate(
            [np.tile(x, (4, 1))], responses, folds, penalties=[0.1], identification=encoding.IDENTIFICATION
        )
        for measure in encoding.IDENTIFICATION:
            np.testing.assert_allclose(fit.identified[measure, 'all'], expected)
        np.testing.assert_allclose(fit.chance, 0.2)


def test_the_true_features_explain_nsd_voxels_up_to_their_known_ceiling():
    """With few features and many trials the best model loses almost nothing to estimation."""
    features = Features(np.random.default_rng(5).normal(size=(1500, 3)), [str(k) for k in range(1500)], 'teacher')
    made = simulated_voxels.simulate_responses(features, dict.fromkeys(simulated_voxels.NSD_NCSNR, 30), seed=6)
    folds = encoding.make_folds(made, 'stimulus', n=10, seed=0, new_stimuli=True)
    fit = encoding.cross_validate([np.asarray(features.values)], made, folds, penalties=PENALTIES)
    known = response_ceilings.published_ceilings(made)
    kept = encoding_scores.keep_voxels([fit], known, n_averaged=1.0, min_ceiling=0.05, counts={})
    scores = encoding_scores.roi_scores(fit, kept, made.rois, {'subject': 's', 'model': 'teacher'}, seed=0)
    for score in scores:
        truth = {'encoding/r': score.ceiling_upper, 'encoding/r2': score.ceiling_upper, 'encoding/normalised_r2': 1.0}
        assert score.low < truth[score.name] < score.high, score
        if score.name == 'encoding/r2':
            ncsnr = simulated_voxels.NSD_NCSNR[score.provenance['roi']]
            assert score.ceiling_upper == pytest.approx(ncsnr**2 / (1 + ncsnr**2))


@pytest.mark.data
def test_runs_of_haxby_are_identified_better_than_by_nearest_correlation(real_data):
    """The data's README has 47.9 % for the condition whose mean pattern correlates most; chance is 12.5 %."""
    responses = fmri.load_haxby(real_data / 'haxby2001' / 'sub001_one_slice.npz')
    folds = encoding.make_folds(responses, 'session', n=2, seed=0, new_stimuli=False)
    identity = (responses.stimuli[:, None] == responses.ids).astype(float)
    fit = encoding.cross_validate(
        [identity], responses, folds, penalties=np.logspace(-1, 4, 11), inner='sessions',
        identification=encoding.IDENTIFICATION,
    )  # fmt: skip
    assert fit.identified['correlation', 'slice'].mean() > 0.6
    assert fit.identified['whitened', 'slice'].mean() > 0.75
