"""LPIPS: published values with real weights, PyTorch's values with random ones, its gradient, and its files."""

import jax
import numpy as np
import pytest

from humalign_jax import models
from humalign_jax.models import lpips

DISTANCE = jax.jit(lpips.distance)


def _random_arrays(net):
    """As `random_arrays` of benchmarks/interpretability.py makes them."""
    np_rng, arrays = np.random.RandomState(0), {}
    for name, shape in lpips.shapes(net).items():
        values = np_rng.standard_normal(shape)
        fan_in = np.prod(shape[1:]) if len(shape) > 1 else 100
        arrays[name] = (np.abs(values) if name.startswith('lin') else values * np.sqrt(2 / fan_in)).astype(np.float32)
    return arrays


def _torch_rand(np_rng, shape):
    """The numbers of torch.rand on a CPU after torch.manual_seed(s), with np_rng = RandomState(s); channels last."""
    bits = np_rng.randint(0, 2**32, size=shape, dtype=np.uint32) & 0xFFFFFF
    return (bits.astype(np.float32) / np.float32(2**24)).transpose(0, 2, 3, 1)


@pytest.fixture(scope='module')
def alex():
    return _random_arrays('alex')


def _write(folder, arrays, *, net='alex', trunk='alexnet_features.npz', heads=lpips.HEADS):
    """Weights as files; the linear weights by the names of the combined file."""
    folder.mkdir(exist_ok=True)
    np.savez(folder / trunk, **{name: array for name, array in arrays.items() if name.startswith('features')})
    np.savez(folder / heads, **{f'{net}.{name}': array for name, array in arrays.items() if name.startswith('lin')})
    return folder


# Two pairs of RandomState(1).uniform(-1, 1, (2, 64, 64, 3)), by `python benchmarks/interpretability.py --check` with
# torch 2.13.0.
@pytest.mark.parametrize(
    ('net', 'of_torch'),
    [
        ('alex', [1.5682824850082397, 1.552155613899231]),
        ('vgg', [1.0417027473449707, 1.0315155982971191]),
        ('squeeze', [1.5725207328796387, 1.5032966136932373]),
    ],
)
def test_random_weights_give_the_distances_of_pytorch(net, of_torch):
    np_rng = np.random.RandomState(1)
    a, b = (np_rng.uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32) for _ in range(2))
    weights = lpips.make_lpips(net, _random_arrays(net))
    np.testing.assert_allclose(DISTANCE(weights, a, b), of_torch, rtol=1e-5)


@pytest.mark.data
@pytest.mark.parametrize(
    ('net', 'seed', 'published', 'tolerance'),
    [('squeeze', 42, 0.1005, 1e-4), ('alex', 123, 0.14856, 1e-5), ('alex', 42, 0.14692, 1e-5)],
)
def test_real_weights_give_the_published_means_of_ten_pairs(real_data, net, seed, published, tolerance):
    np_rng, weights = np.random.RandomState(seed), lpips.load_lpips(net, real_data / 'lpips')
    a, b = (_torch_rand(np_rng, (10, 3, 100, 100)) * 2 - 1 for _ in range(2))
    found = DISTANCE(weights, a, b)
    assert float(found.mean()) == pytest.approx(published, abs=tolerance)


@pytest.mark.data
def test_squeeze_gives_the_two_published_distances(real_data):
    np_rng, weights = np.random.RandomState(42), lpips.load_lpips('squeeze', real_data / 'lpips')
    a, b = (_torch_rand(np_rng, (2, 3, 100, 100)) * 2 - 1 for _ in range(2))
    found = DISTANCE(weights, a, b)
    np.testing.assert_allclose(found, [0.1024, 0.0938], atol=5e-5)


def test_the_gradient_is_finite_and_zero_at_equal_images(alex):
    weights = lpips.make_lpips('alex', alex)
    silent = lpips.make_lpips('alex', {**alex, 'features.8.bias': np.full(256, -1e6, np.float32)})  # a tap of zeros
    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    images[1] = -1.0  # black
    gradient = jax.jit(jax.grad(lambda x, one, y: lpips.distance(one, x, y).sum()))
    for one in (weights, silent):
        np.testing.assert_allclose(gradient(images, one, images), 0.0, atol=1e-6)
        other = np.asarray(gradient(images, one, images[::-1]))
        assert np.isfinite(other).all() and np.abs(other).max() > 1e-3


def test_equal_images_have_distance_zero_and_others_a_positive_symmetric_one(alex):
    weights = lpips.make_lpips('alex', alex)
    embed = lpips.make_embed(weights, size_px=64)
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), dtype=np.uint8)
    vectors = np.asarray(embed(images))
    distance = np.square(vectors[:, None] - vectors[None]).sum(axis=-1)
    assert (distance.diagonal() == 0).all() and (distance[~np.eye(3, dtype=bool)] > 0).all()
    np.testing.assert_array_equal(distance, distance.T)


def test_grey_images_are_read_as_rgb_and_images_of_the_wanted_size_as_they_are(alex):
    weights = lpips.make_lpips('alex', alex)
    grey = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1), dtype=np.uint8)
    embed = lpips.make_embed(weights, size_px=64)
    np.testing.assert_array_equal(embed(grey), embed(np.repeat(grey, 3, axis=-1)))
    scaled = np.repeat(grey, 3, axis=-1) / np.float32(127.5) - 1
    np.testing.assert_allclose(embed(grey), jax.jit(lpips.embed)(weights, scaled), atol=1e-6)


def test_files_of_either_kind_hold_the_same_weights(alex, tmp_path):
    folder = _write(tmp_path / 'npz', alex)
    other = tmp_path / 'pth'
    other.mkdir()
    trunk = {name: array for name, array in alex.items() if name.startswith('features')}
    classifier = {'classifier.1.weight': np.zeros((2, 2), np.float32)}  # not needed
    models.write_safetensors(other / 'alexnet-owt-7be5be79.pth', {**trunk, **classifier})
    heads = {f'lin{tap}.model.1.weight': alex[f'lin{tap}'].reshape(1, -1, 1, 1) for tap in range(5)}
    models.write_safetensors(other / 'alex.pth', heads)
    assert lpips.load_lpips('alex', folder).sha256 == lpips.load_lpips('alex', other).sha256


def test_missing_and_wrong_weights_are_named(alex, tmp_path):
    with pytest.raises(ValueError, match="no LPIPS trunk 'alexnet'"):
        lpips.load_lpips('alexnet', tmp_path)
    with pytest.raises(
        ValueError, match=r'holds none of alexnet-owt-7be5be79\.pth, alexnet_features\.npz.*third_party'
    ):
        lpips.load_lpips('alex', tmp_path)
    _write(tmp_path, alex)
    (tmp_path / lpips.HEADS).write_bytes(b'damaged')
    with pytest.raises(ValueError, match=r'lpips_lin_v0\.1\.npz cannot be read'):
        lpips.load_lpips('alex', tmp_path)
    for change, message in (
        ({'lin2': alex['lin2'] - 1}, 'lin2 has negative weights'),
        ({'lin2': alex['lin3']}, r'lin2 has shape \(256,\) instead of \(384,\)'),
        ({'features.3.bias': np.full(192, np.nan, np.float32)}, r'features\.3\.bias has values that are not finite'),
    ):
        with pytest.raises(ValueError, match=message):
            lpips.make_lpips('alex', {**alex, **change})
    with pytest.raises(ValueError, match=r"no array 'features\.0\.weight'"):
        lpips.make_lpips('alex', {})
    with pytest.raises(ValueError, match="LPIPS with 'alex' cannot read images of 16 pixels"):
        lpips.make_embed(lpips.make_lpips('alex', alex), size_px=16)
