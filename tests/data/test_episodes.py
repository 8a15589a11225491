"""Episodes: how many positive items, which items, which functions, and what the values are."""

import jax
import numpy as np
import pytest
from scipy import stats

from humalign_jax.data import episodes, simulated_concepts
from humalign_jax.data.functions import Functions

LENGTH, N = 40, 2000


@pytest.fixture(scope='module')
def concepts():
    return simulated_concepts.simulate_concepts(300, n_functions=12)


@pytest.fixture(scope='module', params=['sparse', 'dense'])
def drawn(request, concepts):
    """Many training episodes, and the matrix [f, n] that they are of."""
    functions, medians = concepts.functions, None
    if request.param == 'dense':
        values, ids = concepts.features.values, concepts.features.ids
        functions = Functions.from_dense(values.T, ids, [str(i) for i in range(values.shape[1])], 'neurons')
        medians = np.median(values, axis=0)
    arrays = episodes.episode_arrays(concepts.features.values, functions, medians)
    scale = episodes.magnitude_scale(functions, medians)
    make_batch = jax.jit(episodes.make_episode_batch(episodes.EpisodeRule(LENGTH, scale, 3, 0)))
    batch = make_batch(arrays, np.zeros(N, np.int32), jax.random.split(jax.random.key(0), N))
    magnitudes = functions.dense() - (0 if medians is None else medians[:, None])
    evaluated = make_batch(arrays, np.arange(30), None)
    return {'magnitudes': magnitudes, 'scale': scale, 'features': concepts.features.values, 'evaluated': evaluated,
            **jax.tree.map(np.asarray, batch)}  # fmt: skip


def test_values_are_those_of_the_function(drawn):
    expected = drawn['magnitudes'][drawn['function'][:, None], drawn['item']]
    np.testing.assert_allclose(drawn['magnitude'], expected, rtol=1e-6)
    np.testing.assert_array_equal(drawn['binary'], expected > 0)
    np.testing.assert_array_equal(drawn['x'], drawn['features'][drawn['item']])
    np.testing.assert_allclose(drawn['previous'][:, 1:], drawn['magnitude'][:, :-1] / drawn['scale'], rtol=1e-5)
    assert not drawn['previous'][:, 0].any()


def test_no_item_is_drawn_twice_in_an_episode(drawn):
    assert all(len(set(items)) == LENGTH for items in drawn['item'].tolist())


def test_counts_of_positive_items_have_the_published_mean_and_sd(drawn):
    """Standard errors of N rounded normal draws; 30 positive items of 300 never limit 20 +- 2 of 40."""
    counts, sd = drawn['binary'].sum(axis=1), np.sqrt((LENGTH / 20) ** 2 + 1 / 12)
    assert abs(counts.mean() - LENGTH / 2) < 4 * sd / np.sqrt(N)
    assert abs(counts.std() - sd) < 4 * sd / np.sqrt(2 * N)


def test_every_function_item_and_place_is_drawn_equally_often(drawn):
    n_functions = len(drawn['magnitudes'])
    of_functions = np.bincount(drawn['function'], minlength=n_functions)
    assert stats.chisquare(of_functions).pvalue > 1e-3
    for wanted in (0, 1):  # items of one kind, of one function
        kind = np.flatnonzero((drawn['magnitudes'][0] > 0) == wanted)
        chosen = (drawn['binary'] == wanted) & (drawn['function'] == 0)[:, None]
        counts = np.bincount(drawn['item'][chosen], minlength=drawn['magnitudes'].shape[1])
        assert counts.sum() == counts[kind].sum() > 500
        # Without replacement counts vary less than by chance alone, so the statistic is not too large.
        assert stats.chisquare(counts[kind]).pvalue > 1e-3
    places = drawn['binary'].mean(axis=0)
    assert np.abs(places - 0.5).max() < 4.5 * 0.5 / np.sqrt(N)


def test_evaluation_episodes_are_fixed_and_take_functions_in_turn(drawn):
    np.testing.assert_array_equal(drawn['evaluated']['function'], np.arange(30) // 3)
    items = np.asarray(drawn['evaluated']['item'])
    assert len({tuple(row) for row in items.tolist()}) == 30


def test_a_function_with_few_items_of_a_kind_gives_what_it_has_and_the_rest_fills_the_episode():
    few = (3, 297, 0, 300, 1)  # positive items of 300
    values = np.zeros((len(few), 300), np.float32)
    for row, n_positive in zip(values, few):
        row[np.random.default_rng(0).permutation(300)[:n_positive]] = 2.0
    functions = Functions.from_dense(values, [str(i) for i in range(300)], [f'f{n}' for n in few], 'few')
    arrays = episodes.episode_arrays(np.zeros((300, 2)), functions)
    make_batch = jax.jit(episodes.make_episode_batch(episodes.EpisodeRule(LENGTH, 1.0, 20, 0)))
    batch = jax.tree.map(np.asarray, make_batch(arrays, np.arange(20 * len(few)), None))
    counts = batch['binary'].sum(axis=1).reshape(len(few), 20)
    np.testing.assert_array_equal(counts, np.array([[3], [37], [0], [40], [1]]) * np.ones(20))
    assert all(len(set(items)) == LENGTH for items in batch['item'].tolist())
    np.testing.assert_array_equal(batch['magnitude'], values[batch['function'][:, None], batch['item']])


def test_different_numbers_are_every_set_equally_often():
    """All 10 sets of 3 of 5 numbers."""
    bits = np.random.default_rng(1).integers(0, 2**32, (5000, 4), dtype=np.uint32)
    drawn = np.sort(jax.jit(jax.vmap(lambda bits: episodes.draw_distinct(bits, 3, 5)))(bits)[:, :3], axis=1)
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 10 and stats.chisquare(counts).pvalue > 1e-3


def test_magnitudes_that_are_all_equal_have_scale_1():
    functions = Functions.from_dense(np.eye(4, dtype=np.float32)[:2] * 3, list('abcd'), ['f', 'g'], 'equal')
    assert episodes.magnitude_scale(functions) == 1.0


def test_features_and_functions_of_different_items_are_refused(concepts):
    with pytest.raises(ValueError, match='299 features, but 300 items'):
        episodes.episode_arrays(concepts.features.values[1:], concepts.functions)


def test_simulated_functions_depend_on_the_dimensions_that_people_use_and_on_no_others(concepts):
    """A linear map of the human dimensions gives every positive value exactly, or it does not."""
    for functions, explained in ((concepts.functions, True), (concepts.mid_functions, False)):
        dense = functions.dense()
        assert np.all((dense > 0).mean(axis=1) == 0.1)
        errors = []
        for values in dense:
            rows = values > 0
            inputs = np.hstack([concepts.human[rows], np.ones((rows.sum(), 1))])
            errors.append(np.abs(inputs @ np.linalg.lstsq(inputs, values[rows], rcond=None)[0] - values[rows]).max())
        assert bool(max(errors) < 1e-5) is explained
