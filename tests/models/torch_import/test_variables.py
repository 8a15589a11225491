"""Names, axes and the order of flattened maps on the way from PyTorch to Flax."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from humalign_jax.models import convolution, layers, to_flax

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


class Net(nn.Module):
    """A convolution, BatchNorm, a flattened map, a dense layer."""

    @nn.compact
    def __call__(self, x):
        x = layers.Conv(4, 3, use_bias=True, name='conv')(x)
        x = layers.batch_norm('float32', None, name='norm')(x, use_running_average=True)
        return nn.Dense(5, name='fc')(x.reshape(x.shape[0], -1))


IMAGE = normal(2, 5, 6, 3)
TEMPLATE = jax.eval_shape(lambda: Net().init(jax.random.key(0), IMAGE))
STATE = {
    'conv.weight': normal(4, 3, 3, 3),
    'conv.bias': normal(4),
    'norm.weight': normal(4),
    'norm.bias': normal(4),
    'norm.running_mean': normal(4),
    'norm.running_var': np.abs(normal(4)) + 0.5,
    'norm.num_batches_tracked': np.int64(7),
    'fc.weight': normal(5, 4 * 3 * 4),
    'fc.bias': normal(5),
}


def reference(state, image):
    """The same network in PyTorch's layout, float64: [b, h, w, c] -> [b, 5]."""
    windows = np.lib.stride_tricks.sliding_window_view(image.transpose(0, 3, 1, 2).astype(np.float64), (3, 3), (2, 3))
    x = np.einsum('bchwij,dcij->bdhw', windows, state['conv.weight'])
    mean, var, scale, bias, conv_bias = (
        state[name][:, None, None]
        for name in ('norm.running_mean', 'norm.running_var', 'norm.weight', 'norm.bias', 'conv.bias')
    )
    x = (x + conv_bias - mean) / np.sqrt(var + 1e-5) * scale + bias
    return x.reshape(len(x), -1) @ state['fc.weight'].T + state['fc.bias']


def test_outputs_equal_those_of_the_network_in_pytorchs_layout():
    variables = to_flax(STATE, TEMPLATE, flatten={'fc': 4})
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), variables) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), TEMPLATE
    )
    np.testing.assert_allclose(Net().apply(variables, IMAGE), reference(STATE, IMAGE), rtol=1e-4, atol=1e-4)


def test_a_dense_layer_after_a_convolution_must_say_what_it_reads():
    with pytest.raises(ValueError, match=r"fc.weight takes 48 inputs after a convolution of 4 channels.*\{'fc': 4\}"):
        to_flax(STATE, TEMPLATE)
    plain = to_flax(STATE, TEMPLATE, flatten={'fc': 1})
    np.testing.assert_array_equal(plain['params']['fc']['kernel'], STATE['fc.weight'].T)
    with pytest.raises(ValueError, match='48 inputs, which are no map of 5 channels'):
        to_flax(STATE, TEMPLATE, flatten={'fc': 5})
    with pytest.raises(ValueError, match=r'only in the model: typo/kernel \(named in flatten\)'):
        to_flax(STATE, TEMPLATE, flatten={'fc': 4, 'typo': 4})


def test_a_dense_layer_after_pooled_channels_needs_no_word():
    template = {'params': {'conv': {'kernel': jnp.zeros((3, 3, 2, 4))}, 'fc': {'kernel': jnp.zeros((4, 5))}}}
    state = {'conv.weight': normal(4, 2, 3, 3), 'fc.weight': normal(5, 4)}
    np.testing.assert_array_equal(to_flax(state, template)['params']['fc']['kernel'], state['fc.weight'].T)


def test_modules_are_renamed_by_patterns():
    state = {name.replace('conv', 'features.0').replace('norm', 'features.1'): x for name, x in STATE.items()}
    renames = ((r'^features\.0$', 'conv'), (r'^features\.1$', 'norm'))
    renamed = to_flax(state, TEMPLATE, renames=renames, flatten={'fc': 4})
    jax.tree.map(np.testing.assert_array_equal, renamed, to_flax(STATE, TEMPLATE, flatten={'fc': 4}))


@pytest.mark.parametrize('n_out', [2, 3])
def test_transposed_convolutions_are_named(n_out):
    weight = normal(3, n_out, 4, 4)
    template = {'params': {'up': {'kernel': jnp.zeros((4, 4, 3, n_out))}}}
    found = to_flax({'up.weight': weight}, template, transposed=['up'])['params']['up']['kernel']
    x = normal(1, 2, 2, 3)
    expected = np.zeros((1, 4 + 2, 4 + 2, n_out))  # every pixel adds its kernel, two pixels apart; one pixel is cut off
    for i in range(2):
        for j in range(2):
            expected[0, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum('c,cdij->ijd', x[0, i, j], weight)
    np.testing.assert_allclose(convolution.conv_transpose_4x4(x, found), expected[:, 1:-1, 1:-1], rtol=1e-4, atol=1e-5)
    if n_out != 3:
        with pytest.raises(ValueError, match='fit as a transposed convolution: name the layer in transposed'):
            to_flax({'up.weight': weight}, template)


def test_embeddings_and_parameters_of_modules_keep_their_axes():
    template = {'params': {'words': {'embedding': jnp.zeros((7, 2))}, 'scale': jnp.zeros(3), 'a': {'b': jnp.zeros(2)}}}
    state = {'words.weight': normal(7, 2), 'scale': normal(3), 'a.b': normal(2)}
    found = to_flax(state, template)['params']
    np.testing.assert_array_equal(found['words']['embedding'], state['words.weight'])
    np.testing.assert_array_equal(found['scale'], state['scale'])
    np.testing.assert_array_equal(found['a']['b'], state['a.b'])


def test_values_are_copies_of_the_templates_dtype():
    import ml_dtypes

    state = {name: x.astype(ml_dtypes.bfloat16) if x.ndim else x for name, x in STATE.items()}
    found = to_flax(state, TEMPLATE, flatten={'fc': 4})
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(found['params']['conv']['bias'], state['conv.bias'].astype(np.float32))
    assert not np.shares_memory(to_flax(STATE, TEMPLATE, flatten={'fc': 4})['params']['fc']['bias'], STATE['fc.bias'])


def test_the_message_lists_what_remains_on_both_sides():
    state = {name: x for name, x in STATE.items() if name != 'norm.bias'}
    state.update({'head.weight': normal(3, 3), 'conv.weight': normal(4, 3, 5, 5), 'fc.bias': np.zeros(5, np.int64)})
    with pytest.raises(ValueError) as caught:
        to_flax(state, TEMPLATE, flatten={'fc': 4})
    for part in (
        'only in the checkpoint: head.weight (3, 3);',
        'only in the model: params/norm/bias (4,);',
        'conv.weight becomes (5, 5, 3, 4), params/conv/kernel is (3, 3, 3, 4)',
        'fc.bias is int64, params/fc/bias is float32',
    ):
        assert part in str(caught.value)


def test_two_entries_for_one_place_are_named():
    with pytest.raises(ValueError, match=r'conv2\.bias and conv\.bias both become params/conv/bias'):
        to_flax({**STATE, 'conv2.bias': normal(4)}, TEMPLATE, renames=[('conv2', 'conv')], flatten={'fc': 4})


def test_long_lists_are_cut():
    state = {**STATE, **{f'x{i}.weight': normal(1) for i in range(30)}}
    with pytest.raises(ValueError, match=r'x11\.weight \(1,\) and 18 more\. Map names'):
        to_flax(state, TEMPLATE, flatten={'fc': 4})
