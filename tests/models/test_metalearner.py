"""The meta-learner: sizes as published, rotary positions, causality, randomness per episode, what is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from humalign_jax.models import metalearner
from humalign_jax.models.metalearner import MetaLearner, StaticLinear


def _shapes(model, *shapes):
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.eval_shape(lambda *x: model.init(jax.random.key(0), *x), *inputs)['params']


def _size(model, *shapes):
    return sum(leaf.size for leaf in jax.tree.leaves(_shapes(model, *shapes)))


def _small(**options):
    """A model of 8 features with parameters, and an episode of 6 items."""
    model = MetaLearner(**{'n_heads': 2, 'dropout_rate': 0.0, **options})
    np_rng = np.random.default_rng(0)
    x, previous = np_rng.normal(size=(3, 6, 8)).astype(np.float32), np_rng.normal(size=(3, 6)).astype(np.float32)
    return model, jax.jit(model.init)(jax.random.key(0), x, previous), x, previous


@pytest.mark.parametrize(
    ('options', 'at_768', 'at_1024'),
    [
        ({}, 2_958_340, 5_255_172),
        ({'n_layers': 2}, 5_322_244, 9_455_620),
        ({'mlp_width': 3072}, 7_682_308, 11_552_772),
        ({'n_heads': 8}, 2_958_340, 5_255_172),
        ({'n_heads': 32, 'dtype': 'bfloat16'}, 2_958_340, 5_255_172),
    ],
)
def test_parameters_are_as_many_as_published(options, at_768, at_1024):
    for d, expected in ((768, at_768), (1024, at_1024)):
        assert _size(MetaLearner(**options), (1, 120, d), (1, 120)) == expected


def test_parameters_of_the_variants_without_attention_follow_from_their_sizes():
    d, rest = 768, 2 * 768 + 2 * (768 + 1) + 2  # final LayerNorm, heads, log variances
    embed = (d + 1) * d + d
    assert _size(MetaLearner(core='lstm'), (1, 120, d), (1, 120)) == embed + 8 * d**2 + 4 * d + rest
    block = 2_363_904
    assert _size(MetaLearner(embed=False), (1, 120, d), (1, 120)) == 2 * d + block + rest
    n_functions = 50
    heads = 2 * n_functions * (d + 1)
    assert _size(StaticLinear(n_functions), (1, d)) == d * d + d + 2 * d + heads + 2


def _rotary_in_numpy(x, base=10_000.0):
    """One pair and position after another, as complex numbers."""
    out = np.empty_like(x)
    for t in range(x.shape[-2]):
        for i in range(x.shape[-1] // 2):
            pair = x[..., t, 2 * i] + 1j * x[..., t, 2 * i + 1]
            turned = pair * np.exp(1j * t * base ** (-2 * i / x.shape[-1]))
            out[..., t, 2 * i], out[..., t, 2 * i + 1] = turned.real, turned.imag
    return out


def test_rotary_positions_equal_complex_rotations_of_interleaved_pairs():
    x = np.random.default_rng(0).normal(size=(2, 3, 7, 6))
    np.testing.assert_allclose(jax.jit(metalearner.rotary)(np.float32(x)), _rotary_in_numpy(x), atol=2e-6)


def test_products_of_rotated_vectors_depend_on_the_distance_of_positions_only():
    q, k = np.random.default_rng(1).normal(size=(2, 1, 6)).astype(np.float32)
    q, k = np.asarray(jax.jit(metalearner.rotary)(np.stack([np.tile(one, (12, 1)) for one in (q, k)])))
    products = q @ k.T
    np.testing.assert_allclose(products[1:, 1:], products[:-1, :-1], atol=1e-5)


@pytest.mark.parametrize(
    'options', [{'n_layers': 2, 'mlp_width': 16}, {'core': 'lstm'}, {'embed': False}], ids=['blocks', 'lstm', 'noemb']
)
def test_items_and_magnitudes_that_come_later_do_not_change_a_prediction(options):
    model, variables, x, previous = _small(**options)
    apply = jax.jit(lambda x, previous: model.apply(variables, x, previous))
    before, is_later = apply(x, previous), np.arange(6) >= 4
    after = apply(x + np.float32(is_later[:, None]), previous + np.float32(is_later))
    for old, new in zip(before, after):
        np.testing.assert_array_equal(old[:, :4], new[:, :4])
        assert np.all(np.abs(np.asarray(old) - new)[:, 4:] > 0)


def _block_in_numpy(params, x, n_heads):
    """The published block, one head and step after another, in float64."""

    def norm(x, p):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p['scale'] + p['bias']

    t, d = x.shape
    e = d // n_heads
    q, k, v = np.split(norm(x, params['attention_norm']) @ params['qkv']['kernel'] + params['qkv']['bias'], 3, axis=1)
    y = np.zeros_like(x)
    for h in range(n_heads):
        part = slice(h * e, (h + 1) * e)
        scores = _rotary_in_numpy(q[:, part]) @ _rotary_in_numpy(k[:, part]).T / np.sqrt(e)
        for step in range(t):
            weights = np.exp(scores[step, : step + 1])
            y[step, part] = weights @ v[: step + 1, part] / weights.sum()
    return x + y @ params['attention_out']['kernel'] + params['attention_out']['bias']


def test_predictions_equal_the_published_model_written_out_in_numpy():
    model, variables, x, previous = _small()
    np_rng = np.random.default_rng(1)  # biases and scales are not as initialised
    variables = jax.tree.map(lambda leaf: leaf + 0.1 * np_rng.normal(size=leaf.shape).astype(np.float32), variables)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables['params'])
    found = jax.jit(model.apply)(variables, x, previous)
    for episode in range(len(x)):
        inputs = np.concatenate([previous[episode, :, None], x[episode]], axis=1)
        h = _block_in_numpy(params['block0'], inputs @ params['embed']['kernel'] + params['embed']['bias'], 2)
        centred = h - h.mean(-1, keepdims=True)
        h = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        h = h * params['final_norm']['scale'] + params['final_norm']['bias']
        for got, head in zip(found, ('binary_head', 'magnitude_head')):
            expected = (h @ params[head]['kernel'] + params[head]['bias'])[:, 0]
            np.testing.assert_allclose(got[episode], expected, atol=3e-5)


def test_dropout_depends_on_the_key_of_the_episode_alone():
    model, variables, x, previous = _small(dropout_rate=0.5, n_layers=2)

    @jax.jit
    def apply(x, previous, seeds):
        return model.apply(variables, x, previous, train=True, keys=jax.vmap(jax.random.key)(seeds))[0]

    seeds = np.arange(3)
    out = np.asarray(apply(x, previous, seeds))
    np.testing.assert_allclose(np.asarray(apply(x[::-1], previous[::-1], seeds[::-1]))[::-1], out, atol=1e-6)
    assert np.abs(apply(x, previous, seeds[::-1]) - out)[0].max() > 1e-3
    with pytest.raises(ValueError, match='needs keys, one per example'):
        model.apply(variables, x, previous, train=True)


def test_what_is_kept_is_the_embedding_without_context_and_affine_in_the_features():
    model, variables, x, _ = _small()
    embed = jax.tree.map(np.asarray, variables['params']['embed'])
    found = model.apply(variables, x[0], method='representation')
    assert list(found) == ['embed']
    np.testing.assert_allclose(found['embed'], x[0] @ embed['kernel'][1:] + embed['bias'], atol=1e-5)
    model, variables, x, _ = _small(embed=False)
    assert model.apply(variables, x[0], method='representation') == {}


def test_the_static_control_keeps_its_linear_map_with_and_without_layer_norm():
    model, x = StaticLinear(5), np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    variables = jax.tree.map(np.asarray, jax.jit(model.init)(jax.random.key(0), x))
    found = model.apply(variables, x, method='representation')
    embed = x @ variables['params']['embed']['kernel'] + variables['params']['embed']['bias']
    np.testing.assert_allclose(found['embed'], embed, atol=1e-5)
    centred = embed - embed.mean(1, keepdims=True)
    np.testing.assert_allclose(found['normalised'], centred / np.sqrt(embed.var(1, keepdims=True) + 1e-5), atol=1e-4)


def test_bfloat16_stays_near_float32_and_returns_float32():
    _, variables, x, previous = _small()
    models = [MetaLearner(n_heads=2, dtype=dtype) for dtype in ('float32', 'bfloat16')]
    for wide, narrow in zip(*(jax.jit(model.apply)(variables, x, previous) for model in models)):
        assert narrow.dtype == jnp.float32
        np.testing.assert_allclose(narrow, wide, atol=0.05)
        assert np.abs(narrow - wide).max() > 0


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'core': 'gru'}, "model.core='gru' must be one of transformer, lstm"),
        ({'n_heads': 3}, '8 features do not divide into 3 heads of even size'),
        ({'n_heads': 8}, '8 features do not divide into 8 heads of even size'),
        ({'n_heads': 2, 'dtype': 'float16'}, "dtype must be 'float32' or 'bfloat16'"),
    ],
)
def test_a_model_that_cannot_be_says_why(options, message):
    with pytest.raises(ValueError, match=message):
        _shapes(MetaLearner(**options), (1, 6, 8), (1, 6))  # shapes only: nothing is computed
