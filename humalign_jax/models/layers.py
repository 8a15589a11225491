"""Parts of the networks: named layers, randomness per example, norms, pooling and convolution modules.

All named layers of a model can be read out by name in one forward pass.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp

from humalign_jax import settings
from humalign_jax.models import convolution

LAYERS = 'layers'  # the variable collection of named layers

# Variance 2 / fan-out: He et al. (2015), as torchvision initialises its ResNets.
he_fan_out = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')


def named(module: nn.Module, name: str, x: jax.Array) -> jax.Array:
    """Returns `x` unchanged and gives it a name, so that `capture` can find it.

    Costs nothing unless the caller makes the collection `layers` mutable. A name must differ from the names of the
    submodules beside it, because Flax keeps both in one scope.
    """
    if not module.is_initializing():  # otherwise `init` would return activations among the variables
        module.sow(LAYERS, name, x, init_fn=lambda: x, reduce_fn=lambda _, new: new)
    return x


def layer_names(model: nn.Module, image_shape: Sequence[int]) -> list[str]:
    """Names of all layers that can be captured, in the order of the forward pass; nothing is computed.

    Args:
        model: A model of this package.
        image_shape: Shape of one image, (h, w, c).
    """
    names: list[str] = []

    def forward(image: jax.Array) -> None:
        variables = model.init(jax.random.key(0), image)
        names.extend(_forward(model, variables, image))

    jax.eval_shape(forward, jax.ShapeDtypeStruct((1, *image_shape), jnp.float32))
    return names


def capture(model: nn.Module, variables: Any, image: jax.Array, layers: Sequence[str]) -> dict[str, jax.Array]:
    """Responses of named layers in one forward pass in evaluation mode.

    Inside `jax.jit` the compiler removes computations that the requested layers do not need.

    Args:
        model: A model of this package.
        variables: Its parameters and statistics, `{'params': ..., 'batch_stats': ...}`.
        image: Preprocessed images, [b, h, w, c].
        layers: Names out of `layer_names`.

    Returns:
        For every name in `layers` an array [b, ...] in float32, with the layer's own axes (h, w, c for a map).

    Raises:
        ValueError: The model has no layer of that name.
    """
    found = _forward(model, variables, image)
    for name in layers:
        if name not in found:
            raise ValueError(unknown('layer', name, found))
    return {name: found[name].astype(jnp.float32) for name in layers}


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """A message with the unknown name, the nearest known name, and all known names."""
    return f'There is no {what} {name!r}.{settings.nearest(name, known)}'


def example_dropout(x: jax.Array, keys: jax.Array, rate: float, *, use: int = 0) -> jax.Array:
    """Dropout whose mask depends on the example's key only, not on its position in the batch or its device.

    Args:
        x: Activations, [b, ...].
        keys: Typed PRNG keys, one per example, [b].
        rate: Probability of a zero, in [0, 1); other activations are divided by 1 - rate.
        use: Number of this use of the keys within the model, so that two dropouts differ.
    """

    def one(example: jax.Array, key: jax.Array) -> jax.Array:
        keep = jax.random.bernoulli(jax.random.fold_in(key, use), 1.0 - rate, example.shape)
        return jnp.where(keep, example / (1.0 - rate), jnp.zeros_like(example))

    return jax.vmap(one)(x, keys) if rate else x


def example_normal(keys: jax.Array, shape: Sequence[int], *, use: int = 0) -> jax.Array:
    """Standard normal numbers that depend on the example's key only: keys [b] -> [b, *shape], float32."""
    return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, use), tuple(shape)))(keys)


def check_keys(model: str, keys: jax.Array | None, batch_size: int) -> jax.Array:
    """Returns the keys; raises ValueError unless there is one per example."""
    if keys is None or keys.shape != (batch_size,):
        raise ValueError(
            f'{model} in training needs keys, one per example: {batch_size} images but keys of shape '
            f'{None if keys is None else keys.shape}. Pass keys=jax.vmap(partial(jax.random.fold_in, rng))(index), or '
            'train=False.'
        )
    return keys


def compute_dtype(dtype: str) -> jnp.dtype:
    """The dtype that a model computes in; parameters and BatchNorm statistics are float32 in any case."""
    if dtype not in ('float32', 'bfloat16'):
        raise ValueError(f"dtype must be 'float32' or 'bfloat16', not {dtype!r}.")
    return jnp.dtype(dtype)


def batch_norm(dtype: str, axis_name: str | None, name: str | None = None) -> nn.BatchNorm:
    """BatchNorm with PyTorch's constants: PyTorch's momentum of 0.1 is 0.9 here.

    The running variance averages biased variances of batches; PyTorch's are n / (n - 1) times larger, n = batch times
    pixels.
    """
    return nn.BatchNorm(momentum=0.9, epsilon=1e-5, dtype=compute_dtype(dtype), axis_name=axis_name, name=name)


def max_pool(x: jax.Array, size: int, padding: int = 0) -> jax.Array:
    """Max-pooling of size x size squares with stride 2; equal to torch.nn.functional.max_pool2d.

    Computed as the maximum of slices, because the gradient of `nn.max_pool` is slow on a CPU. Tied values share the
    gradient, which PyTorch gives to the first. After a ReLU nearly all ties are zeros, for which the gradient is zero.

    Args:
        x: Maps, [b, h, w, c].
        size: Height and width of a square.
        padding: Rows and columns of -inf around the map.

    Returns:
        [b, (h + 2 padding - size) // 2 + 1, the same of w, c].
    """
    for axis in (1, 2):
        pad = [(padding, padding) if i == axis else (0, 0) for i in range(4)]
        x = jnp.pad(x, pad, constant_values=-jnp.inf) if padding else x
        last = x.shape[axis] - size
        shifted = [jax.lax.slice_in_dim(x, k, k + last // 2 * 2 + 1, stride=2, axis=axis) for k in range(size)]
        x = functools.reduce(jnp.maximum, shifted)
    return x


class Conv(nn.Module):
    """Convolution, by default without bias, the form that BatchNorm follows; see `convolution.conv`.

    Attributes:
        features: Output channels d.
        size: Height and width k of the kernel.
        stride: Of rows and columns.
        padding: Zeros on all four sides.
        use_bias: Adds one number per channel.
        dtype: Compute dtype.
        by_rows: Computes it as `convolution.row_conv`, for small maps of few channels; stride 1 only.
    """

    features: int
    size: int
    stride: int = 1
    padding: int = 0
    use_bias: bool = False
    dtype: str = 'float32'
    by_rows: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b, h, w, c] -> [b, h', w', features]."""
        dtype = compute_dtype(self.dtype)
        kernel = self.param('kernel', he_fan_out, (self.size, self.size, x.shape[-1], self.features), jnp.float32)
        if self.by_rows:
            assert self.stride == 1
            y = convolution.row_conv(x.astype(dtype), kernel.astype(dtype), padding=self.padding)
        else:
            y = convolution.conv(x.astype(dtype), kernel.astype(dtype), stride=self.stride, padding=self.padding)
        if self.use_bias:
            bias = self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + bias.astype(dtype).reshape(1, 1, 1, -1)
        return y


class ConvTranspose(nn.Module):
    """Transposed convolution with stride 1, no padding, and a bias; see `convolution.conv_transpose`.

    Attributes:
        features: Output channels d.
        size: Height and width k of the kernel.
        dtype: Compute dtype.
    """

    features: int
    size: int
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b, h, w, c] -> [b, h + k - 1, w + k - 1, features]."""
        dtype = compute_dtype(self.dtype)
        init = nn.initializers.he_normal()
        kernel = self.param('kernel', init, (self.size, self.size, x.shape[-1], self.features), jnp.float32)
        bias = self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
        return convolution.conv_transpose(x.astype(dtype), kernel.astype(dtype)) + bias.astype(dtype).reshape(
            1, 1, 1, -1
        )


class ConvTranspose4x4(nn.Module):
    """Doubles height and width with a learned 4x4 kernel; see `convolution.conv_transpose_4x4`.

    Attributes:
        features: Output channels d.
        use_bias: Adds one number per channel.
        dtype: Compute dtype.
    """

    features: int
    use_bias: bool = False
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b, h, w, c] -> [b, 2 h, 2 w, features]."""
        dtype = compute_dtype(self.dtype)
        # Only 4 of the 16 taps reach one output pixel, so variance 4 / (16 c) keeps the scale.
        init = nn.initializers.variance_scaling(4.0, 'fan_in', 'normal')
        kernel = self.param('kernel', init, (4, 4, x.shape[-1], self.features), jnp.float32)
        y = convolution.conv_transpose_4x4(x.astype(dtype), kernel.astype(dtype))
        if self.use_bias:
            bias = self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + bias.astype(dtype).reshape(1, 1, 1, -1)
        return y


def _forward(model: nn.Module, variables: Any, image: jax.Array) -> dict[str, jax.Array]:
    """All named layers of one evaluation pass, in the order of the pass."""
    _, state = model.apply(variables, image, train=False, mutable=[LAYERS])
    flat: dict[str, Any] = flax.traverse_util.flatten_dict(state.get(LAYERS, {}), sep='/')
    return flat
