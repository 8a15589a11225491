"""Convolutions in the forms that are fast on each platform, equal to PyTorch's.

The form is chosen when a program is lowered: an accelerator gets its own convolutions, a CPU gets matrix products where
these are faster there. Figures on speed: docs/decisions.md.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax.models import winograd


def conv(x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: int = 0) -> jax.Array:
    """Convolution without bias; equal to torch.nn.functional.conv2d.

    A matrix product of patches where the map is smaller than the kernel or the kernel is one pixel, because XLA's
    convolution is slow there on a CPU; XLA's convolution elsewhere. Under differentiation a CPU gets Winograd's
    algorithm for 3x3 kernels in float32, whose value differs from XLA's by up to 2e-5 of the largest. Only reverse-mode
    gradients are supported (`jax.grad`, `jax.vjp`).

    Args:
        x: Images, [b, h, w, c].
        kernel: [k, k, c, d].
        stride: Of rows and columns.
        padding: Zeros on all four sides.

    Returns:
        [b, (h + 2 padding - k) // stride + 1, the same of w, d].
    """
    k = kernel.shape[0]
    smallest = (min(x.shape[1:3]) + 2 * padding - k) // stride + 1
    if k > 1 and min(*x.shape[1:3], smallest) >= k:
        return _conv(x, kernel, stride, padding)
    return _patch_conv(x, kernel, stride, padding)


@jax.custom_vjp
def conv_transpose_4x4(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed convolution, kernel 4, stride 2, padding 1: equal to torch.nn.functional.conv_transpose2d.

    An output pixel depends on 2x2 of the 4x4 taps, chosen by the parity of its row and column: its phase. The four
    phases are computed as the channels of one 2x2 convolution, which is faster on a CPU than lax.conv_transpose. The
    gradients are those of a convolution with stride 2, of which this is the transpose.

    Args:
        x: Images, [b, h, w, c].
        kernel: [4, 4, c, d]; PyTorch's weight with its axes moved by (2, 3, 0, 1).

    Returns:
        [b, 2 h, 2 w, d].
    """
    c, d = kernel.shape[2:]
    # Output row o = 2 i - 1 + k: tap k = 2 s + phase serves rows of one parity, and s = 1 looks one pixel back.
    taps = kernel.reshape(2, 2, 2, 2, c, d)[::-1, :, ::-1]  # s, phase of the row; s, phase of the column
    taps = taps.transpose(1, 3, 0, 2, 4, 5)  # [2, 2, 2, 2, c, d]: phases, s
    on_cpu = _phase_by_phase if x.shape[1] * x.shape[2] < 9 else _all_phases
    return jax.lax.platform_dependent(x, taps, cpu=on_cpu, default=_all_phases)


def _conv_transpose_4x4_forward(x, kernel):
    return conv_transpose_4x4(x, kernel), (x, kernel)


def _conv_transpose_4x4_backward(saved, cotangent):
    x, kernel = saved
    kernel = kernel.swapaxes(2, 3)
    of_kernel = _gradient_of_kernel(cotangent, kernel, x, stride=2, padding=1)
    return _conv_forward(cotangent, kernel, 2, 1)[0], of_kernel.swapaxes(2, 3)


conv_transpose_4x4.defvjp(_conv_transpose_4x4_forward, _conv_transpose_4x4_backward)


def _all_phases(x: jax.Array, taps: jax.Array) -> jax.Array:
    """`conv_transpose_4x4` as one convolution to 4 d channels, which computes a row and a column too many."""
    b, h, w, c = x.shape
    d = taps.shape[-1]
    taps = taps.transpose(2, 3, 4, 0, 1, 5).reshape(2, 2, c, 4 * d)
    phases = _direct(x, taps, 1, 1).reshape(b, h + 1, w + 1, 2, 2, d).transpose(0, 1, 3, 2, 4, 5)
    return phases.reshape(b, 2 * h + 2, 2 * w + 2, d)[:, 1:-1, 1:-1]


def _phase_by_phase(x: jax.Array, taps: jax.Array) -> jax.Array:
    """`conv_transpose_4x4` as a product of patches for each phase: no row too many, which counts on small maps."""
    b, h, w, _ = x.shape
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def phase(row: int, column: int) -> jax.Array:
        seen = x[:, 1 - row : h + 2 - row, 1 - column : w + 2 - column]
        return _patch_conv(seen, taps[row, column], 1, 0)

    rows = [jnp.stack([phase(row, 1), phase(row, 0)], 3) for row in (1, 0)]  # output row 0 is of phase 1
    return jnp.stack(rows, 2).reshape(b, 2 * h, 2 * w, -1)


def row_conv(x: jax.Array, kernel: jax.Array, *, padding: int = 0) -> jax.Array:
    """`conv` with stride 1 as one matrix product of rows: fast on a CPU where maps are small and channels few.

    An output row is the product of k whole input rows, [k w c], with a banded matrix [k w c, w' d] made of the kernel.
    Most of the band matrix is zero, so that it has more products than a convolution, by a factor of about w' / k.

    Args:
        x: Images, [b, h, w, c].
        kernel: [k, k, c, d].
        padding: Zeros on all four sides.

    Returns:
        [b, h + 2 padding - k + 1, the same of w, d].
    """
    k, _, c, d = kernel.shape
    b, h, w, _ = x.shape
    out_h, out_w = h + 2 * padding - k + 1, w + 2 * padding - k + 1
    column, tap, out_column = np.arange(w)[:, None], np.arange(k)[:, None, None], np.arange(out_w)
    is_under = (column + padding == out_column + tap).astype(np.float32)  # [k, w, w']: tap j of output y reads column x
    band = jnp.einsum('ijcd,jxy->ixcyd', kernel, is_under.astype(kernel.dtype)).reshape(k * w * c, out_w * d)
    rows = jnp.pad(x.reshape(b, h, w * c), ((0, 0), (padding, padding), (0, 0)))
    rows = jnp.concatenate([rows[:, i : i + out_h] for i in range(k)], axis=-1)
    return (rows.reshape(b * out_h, k * w * c) @ band).reshape(b, out_h, out_w, d)


def conv_transpose(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed convolution with stride 1, no padding and no bias: equal to torch.nn.functional.conv_transpose2d.

    It is the full correlation with the kernel turned by 180 degrees, computed as `row_conv`.

    Args:
        x: Images, [b, h, w, c].
        kernel: [k, k, c, d]; PyTorch's weight with its axes moved by (2, 3, 0, 1).

    Returns:
        [b, h + k - 1, w + k - 1, d].
    """
    return row_conv(x, kernel[::-1, ::-1], padding=kernel.shape[0] - 1)


def _direct(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    pads = ((padding, padding), (padding, padding))
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


# XLA's convolution; in training on a CPU its value and gradients come from the forms `..._on_cpu`.
_conv = jax.custom_vjp(_direct, nondiff_argnums=(2, 3))


def _conv_forward(x, kernel, stride, padding):
    return _by_platform(_value_on_cpu, _direct, x, kernel, stride=stride, padding=padding), (x, kernel)


def _conv_backward(stride, padding, saved, cotangent):
    return _by_platform(_gradients_on_cpu, _gradients, *saved, cotangent, stride=stride, padding=padding)


_conv.defvjp(_conv_forward, _conv_backward)


def _by_platform(on_cpu: Callable, elsewhere: Callable, *arrays: jax.Array, stride: int, padding: int) -> Any:
    """The value of one of two functions, chosen when the program is lowered."""
    forms = (functools.partial(form, stride=stride, padding=padding) for form in (on_cpu, elsewhere))
    return jax.lax.platform_dependent(*arrays, **dict(zip(('cpu', 'default'), forms)))


def _value_on_cpu(x: jax.Array, kernel: jax.Array, *, stride: int, padding: int) -> jax.Array:
    if _fits_winograd(x, kernel, stride, padding):
        return winograd.forward(x, kernel)
    if x.shape[-1] == 3:  # XLA takes up to three times as long for 3 channels as for 4
        x, kernel = jnp.pad(x, ((0, 0),) * 3 + ((0, 1),)), jnp.pad(kernel, ((0, 0),) * 2 + ((0, 1), (0, 0)))
    return _direct(x, kernel, stride, padding)


def _gradients(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, *, stride: int, padding: int
) -> tuple[jax.Array, jax.Array]:
    of_x = jax.linear_transpose(lambda x: _direct(x, kernel, stride, padding), x)
    return of_x(dy)[0], _xla_gradient_of_kernel(x, kernel, dy, stride=stride, padding=padding)


def _gradients_on_cpu(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, *, stride: int, padding: int
) -> tuple[jax.Array, jax.Array]:
    if _fits_winograd(x, kernel, stride, padding):
        return winograd.gradients(x, kernel, dy)
    if (kernel.shape[0], stride, padding) == (4, 2, 1) and x.shape[1] % 2 == x.shape[2] % 2 == 0:
        of_x = conv_transpose_4x4(dy, kernel.swapaxes(2, 3))  # of which this convolution is the transpose
    else:
        of_x = jax.linear_transpose(lambda x: _direct(x, kernel, stride, padding), x)(dy)[0]
    return of_x, _patch_gradient_of_kernel(x, kernel, dy, stride=stride, padding=padding)


def _gradient_of_kernel(x: jax.Array, kernel: jax.Array, dy: jax.Array, *, stride: int, padding: int) -> jax.Array:
    """The gradient of a convolution's kernel."""
    forms = _patch_gradient_of_kernel, _xla_gradient_of_kernel
    return _by_platform(*forms, x, kernel, dy, stride=stride, padding=padding)


def _xla_gradient_of_kernel(x: jax.Array, kernel: jax.Array, dy: jax.Array, *, stride: int, padding: int) -> jax.Array:
    return jax.linear_transpose(lambda kernel: _direct(x, kernel, stride, padding), kernel)(dy)[0]


def _patch_gradient_of_kernel(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, *, stride: int, padding: int
) -> jax.Array:
    """As one product of patches, because XLA on a CPU takes it for a convolution with a kernel as large as the map."""
    patches = jax.lax.optimization_barrier(_patches(x, kernel.shape[0], stride, padding))
    # d by k k c, because two cores share a product with few rows and many columns better.
    return (dy.reshape(-1, dy.shape[-1]).T @ patches).T.reshape(kernel.shape)


def _fits_winograd(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> bool:
    """Whether `winograd` can do this convolution, accurately enough and faster."""
    _, h, w, c = x.shape
    is_its_kind = kernel.shape[0] == 3 and stride == padding == 1 and h % winograd.TILE == w % winograd.TILE == 0
    return is_its_kind and c >= 16 and x.dtype == jnp.float32


def _patches(x: jax.Array, k: int, stride: int, padding: int) -> jax.Array:
    """Every output pixel's patch of k k c numbers, [b h' w', k k c]."""
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0))) if padding else x
    b, h, w, c = x.shape
    h, w = (h - k) // stride + 1, (w - k) // stride + 1  # of the output
    rows, columns = (h - 1) * stride + 1, (w - 1) * stride + 1
    shifted = [x[:, i : i + rows : stride, j : j + columns : stride] for i in range(k) for j in range(k)]
    return jnp.concatenate(shifted, axis=-1).reshape(b * h * w, k * k * c)


def _patch_conv(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    """`conv` as one matrix product of all patches, [b h' w', k k c] by [k k c, d]."""
    k, _, c, d = kernel.shape
    h, w = ((size + 2 * padding - k) // stride + 1 for size in x.shape[1:3])
    return (_patches(x, k, stride, padding) @ kernel.reshape(k * k * c, d)).reshape(x.shape[0], h, w, d)
