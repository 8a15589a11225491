"""Sizes, shapes, precision and randomness of the networks."""

import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from humalign_jax import devices, models

IMAGE = np.random.default_rng(0).uniform(size=(4, 32, 32, 3)).astype(np.float32)
SMALL = {
    'philnet': models.PhilNet(widths=((8,), (16, 16))),
    'vae': models.VAE(widths=(8, 16), latent_dim=6),
    'resnet18': models.ResNet18(stage_sizes=(1, 1, 1, 1)),
}


@functools.cache
def small(name):
    """A small model of a kind and its variables, made once."""
    return SMALL[name], jax.jit(SMALL[name].init)(jax.random.key(0), IMAGE)


def n_parameters(model, image_shape=(32, 32, 3), part=''):
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    params = jax.eval_shape(lambda image: model.init(jax.random.key(0), image)['params'], image)
    flat = flax.traverse_util.flatten_dict(params, sep='/')
    return sum(leaf.size for name, leaf in flat.items() if name.startswith(part))


@pytest.mark.parametrize(
    ('name', 'options', 'expected'),
    [
        ('philnet', {}, 2_165_034),
        ('philnet', dict(head='gap_hidden'), 2_293_802),
        ('philnet', dict(head='flatten'), 6_359_850),
        ('philnet', dict(widths=[[32, 32], [128, 128], [512, 512]]), 3_151_338),
        ('philnet', dict(widths=[[32, 64], [128, 256], [512, 512]]), 3_935_018),
        ('vae', {}, 2_168_707),
        ('resnet18', {}, 11_173_962),
        ('resnet34', {}, 21_282_122),
        ('resnet50', {}, 23_520_842),
        ('resnet18', dict(n_classes=100), 11_173_962 + 90 * 513),
    ],
)
def test_number_of_parameters_is_the_published_one(name, options, expected):
    assert n_parameters(models.make_model(name, **options)) == expected


@pytest.mark.parametrize(
    ('name', 'part', 'expected'),
    [
        ('philnet', 'block1', 19_488),
        ('philnet', 'block2', 369_408),
        ('philnet', 'block3', 1_771_008),
        ('vae', 'encoder', 690_624),
        ('vae', 'projection', 263_168),
        ('resnet18', 'layer1', 147_968),
        ('resnet18', 'layer2', 525_568),
        ('resnet18', 'layer3', 2_099_712),
        ('resnet18', 'layer4', 8_393_728),
    ],
)
def test_parts_have_the_published_number_of_parameters(name, part, expected):
    assert n_parameters(models.make_model(name), part=part) == expected


@pytest.mark.parametrize(
    ('name', 'options', 'expected'),
    [
        ('philnet', {}, dict(block1=(16, 16, 64), block2=(8, 8, 256), block3=(4, 4, 512), penultimate=(512,))),
        ('philnet', dict(head='gap_hidden'), dict(block3=(4, 4, 512), penultimate=(256,), logits=(10,))),
        ('vae', {}, dict(encoder1=(16, 16, 32), encoder4=(2, 2, 256), mu=(256,), logvar=(256,), recon=(32, 32, 3))),
        ('vae', {}, dict(decoder1=(4, 4, 128), decoder2=(8, 8, 64), decoder3=(16, 16, 32))),
        ('resnet18', {}, dict(stem=(16, 16, 64), layer1=(16, 16, 64), layer2=(8, 8, 128), layer4=(2, 2, 512))),
        ('resnet18', dict(keep_maxpool=False), dict(stem=(32, 32, 64), layer3=(8, 8, 256), layer4=(4, 4, 512))),
        ('resnet50', {}, dict(layer1=(16, 16, 256), layer3=(4, 4, 1024), layer4=(2, 2, 2048), penultimate=(2048,))),
    ],
)
def test_layers_have_the_published_shapes(name, options, expected):
    model = models.make_model(name, **options)

    def shapes(image):
        return models.capture(model, model.init(jax.random.key(0), image), image, list(expected))

    found = jax.eval_shape(shapes, jax.ShapeDtypeStruct((3, 32, 32, 3), jnp.float32))
    assert {layer: value.shape for layer, value in found.items()} == {k: (3, *v) for k, v in expected.items()}


def test_philnet_and_vae_take_mnist():
    image = jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32)

    def output_shapes(model):
        outputs = jax.eval_shape(lambda image: model.init_with_output(jax.random.key(0), image)[0], image)
        return [output.shape for output in jax.tree.leaves(outputs)]

    assert output_shapes(models.PhilNet()) == [(2, 10)]
    assert output_shapes(models.VAE(image_shape=(28, 28, 1), widths=(8, 16))) == [(2, 28, 28, 1), (2, 256), (2, 256)]


@pytest.mark.parametrize('name', SMALL)
def test_bfloat16_keeps_float32_variables_and_stays_near_float32(name):
    model, variables = small(name)
    half = model.clone(dtype='bfloat16')
    keys = jax.random.split(jax.random.key(1), len(IMAGE))
    half_variables = jax.eval_shape(lambda: half.init(jax.random.key(0), IMAGE))
    assert {leaf.dtype for leaf in jax.tree.leaves(half_variables)} == {jnp.dtype('float32')}
    forward = jax.jit(lambda model, v: model.apply(v, IMAGE, True, keys, mutable=['batch_stats']), static_argnums=0)
    for a, b in zip(jax.tree.leaves(forward(half, variables)), jax.tree.leaves(forward(model, variables)), strict=True):
        assert a.dtype == jnp.float32
        # bfloat16 has 8 significant bits: some percent after a dozen layers, and never exactly equal.
        error = np.abs(np.asarray(a) - b).max() / np.abs(b).max()
        assert 0 < error < 0.1


@pytest.mark.parametrize('name', SMALL)
def test_four_devices_equal_one(name):
    image = np.random.default_rng(1).uniform(size=(8, 32, 32, 3)).astype(np.float32)
    keys = jax.random.split(jax.random.key(2), len(image))
    model, variables = small(name)
    synchronised = model.clone(axis_name=devices.AXIS)

    def forward(model, variables, image, key_data):
        keys = jax.random.wrap_key_data(key_data)
        return model.apply(variables, image, train=True, keys=keys, mutable=['batch_stats'])

    one = jax.jit(forward, static_argnums=0)(model, variables, image, jax.random.key_data(keys))
    four = jax.local_devices()[:4]
    assert len(four) == 4
    mapped = devices.map_over_devices(functools.partial(forward, synchronised), four)
    shards = devices.shard((image, jax.random.key_data(keys)), four)
    outputs, state = mapped(devices.replicate(variables, four), *shards)
    together = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]), outputs)
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(one[0]), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(one[1]), strict=True):
        for device in range(4):
            np.testing.assert_allclose(a[device], b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ['philnet', 'vae'])
def test_training_is_random_by_key_and_evaluation_is_not(name):
    model, variables = small(name)
    train = jax.jit(lambda keys: model.apply(variables, IMAGE, train=True, keys=keys, mutable=['batch_stats'])[0])
    keys = jax.random.split(jax.random.key(3), len(IMAGE))
    first, again, other = (jax.tree.leaves(train(k))[0] for k in (keys, keys, keys[::-1]))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    evaluate = jax.jit(lambda keys: model.apply(variables, IMAGE, keys=keys))
    for a, b in zip(jax.tree.leaves(evaluate(None)), jax.tree.leaves(evaluate(keys)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_vae_decodes_the_mean_in_evaluation():
    model, variables = small('vae')
    recon, mean, logvar = jax.jit(model.apply)(variables, IMAGE)
    decode = jax.jit(functools.partial(model.apply, method='decode'))
    np.testing.assert_allclose(recon, decode(variables, mean), rtol=1e-5, atol=1e-6)
    encoded = jax.jit(functools.partial(model.apply, method='encode'))(variables, IMAGE)
    np.testing.assert_allclose(encoded, (mean, logvar), rtol=1e-5, atol=1e-6)


def test_vae_decodes_a_sample_of_its_gaussian_in_training():
    class Identity(models.VAE):
        def decode(self, z, train=False):
            return z

    model = Identity(widths=(8, 16), latent_dim=300)
    variables = jax.jit(model.init)(jax.random.key(0), IMAGE)
    keys = jax.random.split(jax.random.key(4), len(IMAGE))
    forward = jax.jit(lambda v: model.apply(v, IMAGE, train=True, keys=keys, mutable=['batch_stats']))
    (z, mean, logvar), _ = forward(variables)
    eps = np.asarray((z - mean) / jnp.exp(0.5 * logvar))
    assert abs(eps.mean()) < 4 / np.sqrt(eps.size)
    assert abs(eps.var() - 1) < 4 * np.sqrt(2 / eps.size)


def test_vae_needs_images_that_halve():
    with pytest.raises(ValueError, match='multiples of 16, not 28x28: choose fewer or more widths'):
        models.VAE(image_shape=(28, 28, 1)).init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    with pytest.raises(ValueError, match=r'made for images of shape \(32, 32, 3\), not \(28, 28, 1\)'):
        models.VAE().init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))


@pytest.mark.parametrize('name', ['philnet', 'vae'])
def test_training_without_keys_is_an_error(name):
    model, variables = small(name)
    with pytest.raises(ValueError, match='4 images but keys of shape None'):
        model.apply(variables, IMAGE, train=True, mutable=['batch_stats'])
    with pytest.raises(ValueError, match=r'4 images but keys of shape \(3,\)'):
        keys = jax.random.split(jax.random.key(0), 3)
        model.apply(variables, IMAGE, train=True, keys=keys, mutable=['batch_stats'])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(head='gab'), "no head 'gab'. Did you mean 'gap'"),
        (dict(dropout_rate=1.0), r'dropout_rate must be in \[0, 1\), not 1.0'),
        (dict(dtype='float16'), "'float32' or 'bfloat16', not 'float16'"),
    ],
)
def test_wrong_fields_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        models.PhilNet(**options).init(jax.random.key(0), IMAGE)


def test_make_model_names_what_there_is():
    names = 'philnet, digitnet, deconv, vae, resnet18'
    with pytest.raises(ValueError, match=rf"no model 'resnet19'. Did you mean 'resnet18'.*{names}"):
        models.make_model('resnet19')
    with pytest.raises(ValueError, match=r"no option of model 'vae' 'latent_dims'. Did you mean 'latent_dim'"):
        models.make_model('vae', latent_dims=3)
    assert models.model_options('vae') == dict(
        image_shape=(32, 32, 3), widths=(32, 64, 128, 256), latent_dim=256, dtype='float32', axis_name=None
    )


def test_lists_from_a_config_count_as_tuples():
    assert hash(models.make_model('philnet', widths=[[8], [8]])) == hash(models.PhilNet(widths=((8,), (8,))))
