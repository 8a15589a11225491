"""LPIPS v0.1, a perceptual distance between images, with the AlexNet, VGG-16 and SqueezeNet 1.1 trunks.

The distance is the squared Euclidean distance between two vectors, `embed` of each image, so that many pairs of few
images need one pass of the trunk over the images. Weights come from files (third_party/lpips/README.md).
"""

import hashlib
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax import devices, settings, storage
from humalign_jax.models import convolution, layers
from humalign_jax.models.torch_import import read_state_dict

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10  # of the norm of a pixel's channels; inside the root, so that the gradient of a silent pixel is 0
_GUIDE = 'third_party/lpips/README.md lists the files and where to get them'


class _Conv(NamedTuple):
    """A convolution with bias, and the ReLU after it."""

    name: str
    d_in: int
    d_out: int
    size: int = 3
    stride: int = 1
    padding: int = 1


class _Fire(NamedTuple):
    """SqueezeNet's module: a 1x1 convolution, then a 1x1 and a 3x3 convolution side by side."""

    name: str
    d_in: int
    d_squeezed: int
    d_out: int

    @property
    def convs(self) -> tuple[_Conv, _Conv, _Conv]:
        """Squeeze, and the two expansions."""
        half = self.d_out // 2
        return (
            _Conv(f'{self.name}.squeeze', self.d_in, self.d_squeezed, size=1, padding=0),
            _Conv(f'{self.name}.expand1x1', self.d_squeezed, half, size=1, padding=0),
            _Conv(f'{self.name}.expand3x3', self.d_squeezed, half),
        )


class _Pool(NamedTuple):
    """Max-pooling of stride 2; `ceil`: the last square may reach over the edge."""

    size: int
    ceil: bool = False


_Part = _Conv | _Fire | _Pool


class _Net(NamedTuple):
    """A trunk.

    Attributes:
        stages: Parts between two taps.
        files: Names of files with its weights, the preferred first.
        heads: Name of the file with its linear weights in the LPIPS repository.
    """

    stages: tuple[tuple[_Part, ...], ...]
    files: tuple[str, ...]
    heads: str


def _vgg() -> tuple[tuple[_Part, ...], ...]:
    stages, d_in = [], 3
    for numbers, d_out in (((0, 2), 64), ((5, 7), 128), ((10, 12, 14), 256), ((17, 19, 21), 512), ((24, 26, 28), 512)):
        stage: list[_Part] = [_Pool(2)] if stages else []
        for number in numbers:
            stage.append(_Conv(f'features.{number}', d_in, d_out))
            d_in = d_out
        stages.append(tuple(stage))
    return tuple(stages)


NETS: Mapping[str, _Net] = {
    'alex': _Net(
        (
            (_Conv('features.0', 3, 64, size=11, stride=4, padding=2),),
            (_Pool(3), _Conv('features.3', 64, 192, size=5, padding=2)),
            (_Pool(3), _Conv('features.6', 192, 384)),
            (_Conv('features.8', 384, 256),),
            (_Conv('features.10', 256, 256),),
        ),
        ('alexnet-owt-7be5be79.pth', 'alexnet_features.npz'),
        'alex.pth',
    ),
    'vgg': _Net(_vgg(), ('vgg16-397923af.pth', 'vgg16_features.npz'), 'vgg.pth'),
    'squeeze': _Net(
        (
            (_Conv('features.0', 3, 64, stride=2, padding=0),),
            (_Pool(3, ceil=True), _Fire('features.3', 64, 16, 128), _Fire('features.4', 128, 16, 128)),
            (_Pool(3, ceil=True), _Fire('features.6', 128, 32, 256), _Fire('features.7', 256, 32, 256)),
            (_Pool(3, ceil=True), _Fire('features.9', 256, 48, 384)),
            (_Fire('features.10', 384, 48, 384),),
            (_Fire('features.11', 384, 64, 512),),
            (_Fire('features.12', 512, 64, 512),),
        ),
        ('squeezenet1_1-b8a52dc0.pth', 'squeezenet1_1_fp16.npz'),
        'squeeze.pth',
    ),
}
HEADS = 'lpips_lin_v0.1.npz'  # linear weights of all trunks in one file, `alex.lin0` and so on


@flax.struct.dataclass
class Lpips:
    """A trunk with its weights; a pytree of these, so that compiled functions can take it as an argument.

    Attributes:
        net: Name of the trunk, a key of `NETS`.
        weights: float32 arrays by PyTorch's name: kernels [k, k, c, d] and biases [d] of the convolutions
            (`features.0.weight`, `features.0.bias`, ...), and linear weights [c] of each tap (`lin<tap>`), 0 or more.
        sha256: Of all weights.
    """

    net: str = flax.struct.field(pytree_node=False)
    weights: dict[str, Any]
    sha256: str = flax.struct.field(pytree_node=False)


def load_lpips(net: str, folder: storage.PathLike) -> Lpips:
    """LPIPS with the weights in a folder; nothing is downloaded.

    Args:
        net: 'alex', 'vgg' or 'squeeze'.
        folder: Holds a file of `NETS[net].files` (as torchvision distributes it, or an .npz with its names), and
            `lpips_lin_v0.1.npz` or the file `NETS[net].heads` of the LPIPS repository.

    Raises:
        ValueError: There is no such trunk; or a file is missing, damaged, or holds other arrays.
    """
    if net not in NETS:
        raise ValueError(f'there is no LPIPS trunk {net!r}.{settings.nearest(net, NETS)}')
    folder = pathlib.Path(folder)
    trunk = _arrays(folder, NETS[net].files, f'the weights of the trunk {net!r}')
    heads = _arrays(folder, (HEADS, NETS[net].heads), f'the linear weights of {net!r}')
    return make_lpips(net, {**trunk, **_heads(heads, net)}, where=str(folder))


def make_lpips(net: str, arrays: Mapping[str, np.ndarray], *, where: str = 'the weights') -> Lpips:
    """LPIPS of weights by PyTorch's names and axes; arrays that it does not need are left out.

    Args:
        net: 'alex', 'vgg' or 'squeeze'.
        arrays: `features.<k>[...].weight` [d, c, k, k] and `.bias` [d], and `lin<tap>` [c].
        where: Place of the weights, for messages.

    Raises:
        ValueError: An array is missing or has another shape, is not finite, or a linear weight is negative.
    """
    weights: dict[str, np.ndarray] = {}
    for name, shape in shapes(net).items():
        array = _checked(arrays, name, shape, where)
        if name.endswith('.weight'):
            array = np.ascontiguousarray(array.transpose(2, 3, 1, 0))
        elif name.startswith('lin') and array.min() < 0:
            raise ValueError(f'{where}: {name} has negative weights, with which LPIPS is no distance.')
        weights[name] = array
    digest = hashlib.sha256(''.join(storage.array_digest(array) for array in weights.values()).encode())
    return Lpips(net, weights, digest.hexdigest())


def shapes(net: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays that `make_lpips` needs, by name."""
    found: dict[str, tuple[int, ...]] = {}
    for conv in _convs(net):
        found[f'{conv.name}.weight'] = (conv.d_out, conv.d_in, conv.size, conv.size)
        found[f'{conv.name}.bias'] = (conv.d_out,)
    for tap, stage in enumerate(NETS[net].stages):
        found[f'lin{tap}'] = (stage[-1].d_out,)  # type: ignore[union-attr]
    return found


def embed(lpips: Lpips, images: jax.Array) -> jax.Array:
    """Vectors whose squared Euclidean distance is LPIPS.

    Args:
        lpips: From `load_lpips`.
        images: Values in [-1, 1], [b, h, w, 3].

    Returns:
        [b, d]; d grows with the size of the images, for 64x64 it is 31,872 with AlexNet.

    References:
        Zhang, Isola, Efros, Shechtman & Wang (2018). The unreasonable effectiveness of deep features as a perceptual
        metric. arXiv:1801.03924
    """
    parts = []
    for tap, x in enumerate(_taps(lpips, images)):
        unit = x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + _EPSILON**2)
        weight = jnp.sqrt(jnp.asarray(lpips.weights[f'lin{tap}']) / (x.shape[1] * x.shape[2]))
        parts.append((unit * weight.reshape(1, 1, 1, -1)).reshape(len(x), -1))
    return jnp.concatenate(parts, axis=1)


def distance(lpips: Lpips, a: jax.Array, b: jax.Array) -> jax.Array:
    """LPIPS of pairs of images, 0 or more, 0 for equal images: [b, h, w, 3], [b, h, w, 3] in [-1, 1] -> [b]."""
    return jnp.sum((embed(lpips, a) - embed(lpips, b)) ** 2, axis=-1)


def make_embed(lpips: Lpips, *, size_px: int) -> Callable[[jax.Array], jax.Array]:
    """`uint8 images [b, h, w, c] -> vectors [b, d]`, compiled; grey images become RGB.

    Args:
        lpips: From `load_lpips`.
        size_px: Height and width to which images are brought, bilinear.

    Raises:
        ValueError: Images of this size are too small for the trunk.
    """
    one = jax.ShapeDtypeStruct((1, size_px, size_px, 3), jnp.float32)
    try:
        shape = jax.eval_shape(lambda image: embed(lpips, image), one)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise ValueError(f'LPIPS with {lpips.net!r} cannot read images of {size_px} pixels.') from error
    assert shape.ndim == 2

    @devices.compiled
    def run(lpips: Lpips, images: jax.Array) -> jax.Array:
        x = images.astype(jnp.float32) / 127.5 - 1.0
        x = jnp.broadcast_to(x, (*x.shape[:3], 3))
        if x.shape[1:3] != (size_px, size_px):
            x = jax.image.resize(x, (len(x), size_px, size_px, 3), 'linear')
        return embed(lpips, x)

    on_device = jax.tree.map(jnp.asarray, lpips)
    return lambda images: run(on_device, images)


def _taps(lpips: Lpips, images: jax.Array) -> Iterator[jax.Array]:
    """Maps after the last ReLU of each stage, [b, h', w', c]."""
    shift, scale = (jnp.asarray(value, jnp.float32).reshape(1, 1, 1, 3) for value in (_SHIFT, _SCALE))
    x = (images - shift) / scale
    for stage in NETS[lpips.net].stages:
        for part in stage:
            if isinstance(part, _Pool):
                x = _pool(x, part)
            elif isinstance(part, _Fire):
                squeeze, *expand = part.convs
                x = _conv(lpips.weights, x, squeeze)
                x = jnp.concatenate([_conv(lpips.weights, x, conv) for conv in expand], axis=-1)
            else:
                x = _conv(lpips.weights, x, part)
        yield x


def _conv(weights: Mapping[str, Any], x: jax.Array, conv: _Conv) -> jax.Array:
    kernel, bias = (jnp.asarray(weights[f'{conv.name}.{leaf}']) for leaf in ('weight', 'bias'))
    return jax.nn.relu(
        convolution.conv(x, kernel, stride=conv.stride, padding=conv.padding) + bias.reshape(1, 1, 1, -1)
    )


def _pool(x: jax.Array, pool: _Pool) -> jax.Array:
    if pool.ceil:
        over = [(0, (size - pool.size) % 2) for size in x.shape[1:3]]
        x = jnp.pad(x, ((0, 0), *over, (0, 0)), constant_values=-jnp.inf)
    return layers.max_pool(x, pool.size)


def _convs(net: str) -> Iterator[_Conv]:
    for stage in NETS[net].stages:
        for part in stage:
            if isinstance(part, _Fire):
                yield from part.convs
            elif isinstance(part, _Conv):
                yield part


def _arrays(folder: pathlib.Path, names: tuple[str, ...], what: str) -> dict[str, np.ndarray]:
    """The arrays of the first file that is there, by name."""
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise ValueError(f'{folder} holds none of {", ".join(names)}, {what} of LPIPS: put one there; {_GUIDE}.')
    if path.suffix != '.npz':
        return read_state_dict(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds at damaged bytes
        raise ValueError(f'{path} cannot be read ({error}): copy it again; {_GUIDE}.') from error


def _heads(arrays: Mapping[str, np.ndarray], net: str) -> dict[str, np.ndarray]:
    """Linear weights [c] as `lin<tap>`, from either kind of file."""
    found = {}
    for tap in range(len(NETS[net].stages)):
        for name in (f'{net}.lin{tap}', f'lin{tap}.model.1.weight', f'lin{tap}'):
            if name in arrays:
                found[f'lin{tap}'] = np.asarray(arrays[name]).reshape(-1)
                break
    return found


def _checked(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    if name not in arrays:
        raise ValueError(f'{where}: there is no array {name!r} of shape {shape}; {_GUIDE}.')
    array = np.asarray(arrays[name]).astype(np.float32)
    if array.shape != shape:
        raise ValueError(f'{where}: {name} has shape {array.shape} instead of {shape}: it belongs to another network.')
    if not np.isfinite(array).all():
        raise ValueError(f'{where}: {name} has values that are not finite: the file is damaged.')
    return array
