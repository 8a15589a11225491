"""Train steps as they are lowered for an NVIDIA GPU, read on a machine without one.

`jax.jit(step).trace(...).lower(lowering_platforms=('cuda',))` gives the program that XLA's GPU compiler would get. It
shows which operations an accelerator is asked for and in which numbers; not how fast they are.
"""

import collections
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from humalign_jax import devices, models, objectives
from humalign_jax.data import pipeline
from humalign_jax.train import batches, state, step

SIDE, BATCH = 32, 16
NETWORKS = {
    'philnet': {},
    'resnet18': {'n_classes': 10, 'stage_sizes': (1, 1, 1, 1)},  # one block in each stage: the same kinds of layers
    'vae': {},
}
# Layers whose maps are at least as large as their kernels: of ResNet-18 all but the 1x1 ones and those on 2x2 maps, of
# the VAE the first three of the encoder.
LARGE = {'philnet': 6, 'resnet18': 7, 'vae': 3}


def _objective(model):
    if isinstance(model, models.VAE):
        return objectives.make_vae_objective(model, kl_weight=0.5, kl_warmup_steps=4)
    return objectives.make_classification_objective(model, label_smoothing=0.1)


def _zeros(model):
    """(parameters, statistics) of a model, all zero: nothing is compiled to make them."""
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    shapes = jax.eval_shape(lambda image: model.init(jax.random.key(0), image), image)
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return variables['params'], {name: values for name, values in variables.items() if name != 'params'}


@functools.cache
def _lowered(name, dtype='float32', platform='cuda'):
    """(state before the first step, text of the step's program)."""
    image = np.zeros((64, SIDE, SIDE, 3), np.uint8)
    numbers = np.zeros(64, np.int32)
    arrays = {'image': image, 'label': numbers, 'index': numbers, 'soft_label': np.zeros((64, 10), np.float32)}
    prepare = pipeline.make_prepare(mean=(0.5,) * 3, std=(0.25,) * 3, crop_padding_px=4, flip=True)
    make_batch = pipeline.make_image_batch(prepare)
    examples = batches.example_batch(batches.Examples(64, arrays, make_batch))
    model, tx = models.make_model(name, dtype=dtype, **NETWORKS[name]), optax.adam(1e-3)
    params, statistics = _zeros(model)
    kept = state.state_of(params, statistics, tx, _objective(model), examples)
    one = step.make_train_step(_objective(model), tx, make_batch)
    traced = jax.jit(one, donate_argnums=0).trace(kept, arrays, np.zeros((1, BATCH), np.int32), step.run_key(0))
    return kept, traced.lower(lowering_platforms=(platform,)).as_text()


def _products(text):
    """The products in a program: [(convolution or dot_general, types of both factors and of the result)]."""
    pattern = r'stablehlo\.(convolution|dot_general)\b.*: \(tensor<(\S+)>, tensor<(\S+)>\) -> tensor<(\S+)>'
    return [(kind, types) for kind, *types in re.findall(pattern, text)]


def _kinds(text):
    return collections.Counter(kind for kind, _ in _products(text))


def _n_kernels(kept):
    """(number of convolutions, number of dense layers)."""
    dimensions = [leaf.ndim for leaf in jax.tree.leaves(kept.params)]
    return dimensions.count(4), dimensions.count(2)


def test_philnet_is_convolutions_alone_on_cuda():
    """Three for each layer: value, gradient of the input (not of the images) and gradient of the kernel."""
    kept, text = _lowered('philnet')
    n_convolutions, n_dense = _n_kernels(kept)
    assert _kinds(text) == {'convolution': 3 * n_convolutions - 1, 'dot_general': 3 * n_dense}


@pytest.mark.parametrize('name', NETWORKS)
def test_each_layer_is_three_products_on_cuda(name):
    """A gradient by taps would be 9 or 16 products, a Winograd form a batched product of 36 matrices."""
    kept, text = _lowered(name)
    assert sum(_kinds(text).values()) == 3 * sum(_n_kernels(kept)) - 1
    shapes = [types for kind, types in _products(text) if kind == 'dot_general']
    assert all(type_.count('x') == 2 for types in shapes for type_ in types)  # matrices: [m, k], [k, n], [m, n]


@pytest.mark.parametrize('name', NETWORKS)
def test_layers_on_maps_as_large_as_their_kernels_are_convolutions_on_cuda(name):
    _, text = _lowered(name)
    assert _kinds(text)['convolution'] >= 3 * LARGE[name] - 1


def test_the_same_reading_finds_the_forms_of_the_cpu():
    """A control: lowered for CPUs, PhilNet has fewer convolutions."""
    texts = [_lowered('philnet', platform=platform)[1] for platform in ('cpu', 'cuda')]
    on_cpu, on_cuda = (_kinds(text)['convolution'] for text in texts)
    assert on_cpu < on_cuda


@pytest.mark.parametrize(('name', 'n_heads'), [('philnet', 1), ('resnet18', 1), ('vae', 2)])
def test_products_in_bfloat16_stay_in_bfloat16_on_cuda(name, n_heads):
    """All but those of the heads, which are float32 by design: both factors and the result."""
    _, text = _lowered(name, 'bfloat16')
    kinds = [(kind, {type_.rsplit('x')[-1] for type_ in types}) for kind, types in _products(text)]
    assert all(len(numbers) == 1 for _, numbers in kinds)
    assert kinds.count(('dot_general', {'f32'})) == 3 * n_heads
    assert all(numbers == {'bf16'} for kind, numbers in kinds if kind == 'convolution')
    assert sum(numbers == {'bf16'} for _, numbers in kinds) == len(kinds) - 3 * n_heads


@pytest.mark.parametrize('name', NETWORKS)
def test_nothing_calls_the_host_and_nothing_is_float64_on_cuda(name):
    _, text = _lowered(name)
    assert 'f64' not in text
    assert not re.findall(r'custom_call @(\S*callback\S*)', text)


@pytest.mark.parametrize('name', NETWORKS)
def test_a_step_writes_its_state_where_the_old_one_was(name):
    """Every leaf of the state, so that no second copy of parameters and optimiser is needed."""
    kept, text = _lowered(name)
    assert text.count('tf.aliasing_output') == len(jax.tree.leaves(kept))


def test_steps_mapped_over_devices_give_their_state_away_too():
    used = devices.local_devices(2)
    mapped = devices.map_over_devices(lambda state, rows: (state + rows, rows.sum()), used, donate=(0,))
    text = mapped.lower(np.zeros((2, 4), np.float32), np.ones((2, 4), np.float32)).as_text()
    assert text.count('tf.aliasing_output') + text.count('jax.buffer_donor') == 1


def _kept_bytes(name, dtype, batch_size):
    """Bytes of everything the forward pass keeps for the backward pass, parameters included."""
    model = models.make_model(name, dtype=dtype)
    label = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
    image, soft_label, mask = (
        jax.ShapeDtypeStruct((batch_size, *shape), jnp.float32) for shape in ((SIDE, SIDE, 3), (10,), ())
    )
    batch = {'image': image, 'label': label, 'soft_label': soft_label, 'index': label, 'mask': mask}
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), batch_size))

    def backward(params, statistics, batch, keys):
        return jax.vjp(lambda params: _objective(model)(params, statistics, batch, keys, 0), params, has_aux=True)[1]

    kept = jax.tree.leaves(jax.eval_shape(backward, *_zeros(model), batch, keys))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in kept)


@pytest.mark.parametrize(
    ('name', 'dtype', 'megabytes'),
    [
        ('philnet', 'float32', 4.66),
        ('philnet', 'bfloat16', 3.44),
        ('resnet18', 'float32', 4.17),
        ('resnet18', 'bfloat16', 2.99),
        ('vae', 'float32', 0.45),
        ('vae', 'bfloat16', 0.37),
    ],
)
def test_a_step_keeps_no_more_for_an_image_than_the_docs_say(name, dtype, megabytes):
    """docs/training.md, section on memory; the second batch's bytes less the first's leave out the parameters."""
    per_image = (_kept_bytes(name, dtype, 48) - _kept_bytes(name, dtype, 16)) / 32 / 1e6
    assert per_image <= megabytes
