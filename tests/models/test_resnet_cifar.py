"""CIFAR ResNets with option-A shortcuts."""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from humalign_jax import models
from humalign_jax.models import resnet_cifar


@pytest.mark.parametrize(('name', 'expected'), [('resnet20', 269_722), ('resnet56', 853_018)])
def test_number_of_parameters_is_the_published_one(name, expected):
    model, image = models.make_model(name), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params = jax.eval_shape(lambda image: model.init(jax.random.key(0), image)['params'], image)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


def test_a_shortcut_takes_every_second_pixel_and_adds_channels_of_zeros():
    block = resnet_cifar.CifarBlock(width=8, stride=2, dtype='float32', axis_name=None)
    x = np.abs(np.random.default_rng(0).normal(size=(2, 6, 6, 4))).astype(np.float32)
    variables = block.init(jax.random.key(0), x, False)
    params = flax.traverse_util.flatten_dict(variables['params'])
    silent = {path: jnp.zeros_like(leaf) for path, leaf in params.items()}  # the branch adds nothing
    out = block.apply({**variables, 'params': flax.traverse_util.unflatten_dict(silent)}, x, False)
    np.testing.assert_array_equal(out[..., 2:6], x[:, ::2, ::2])
    assert not np.asarray(out)[..., [0, 1, 6, 7]].any()


@pytest.mark.data
def test_the_published_resnet20_classifies_original_images_as_in_pytorch(real_data):
    state = models.read_state_dict(real_data / 'cifar10_resnets' / 'resnet20-12fca82f.th')
    model = models.make_model('resnet20')
    template = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))
    variables = models.to_flax(state, template, **models.MODELS['resnet20'].from_torch)
    with np.load(real_data / 'cifar10' / 'lossless_sample.npz', allow_pickle=False) as file:
        index, pixels = file['test_index'], file['test_pixels']
    with np.load(real_data / 'cifar10' / 'test_jpeg.npz', allow_pickle=False) as file:
        labels = file['labels'][index]
    image = (pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    logits = jax.jit(lambda image: model.apply(variables, image))(image.astype(np.float32))
    assert round(100 * float(np.mean(np.argmax(logits, 1) == labels)), 2) == 91.96
