"""ResNets with a stem for small images."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from humalign_jax.models import layers

STAGE_WIDTHS = (64, 128, 256, 512)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, or 1x1 - 3x3 - 1x1 with four times the output channels, plus a shortcut.

    Attributes:
        width: Channels of the 3x3 convolutions.
        stride: Stride of the first 3x3 convolution.
        bottleneck: The three-convolution form.
        dtype: Compute dtype.
        axis_name: Mapped axis over which BatchNorm is synchronised, or None.
    """

    width: int
    stride: int
    bottleneck: bool
    dtype: str
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b, h, w, c] -> [b, h / stride, w / stride, width or 4 width]."""

        def conv_norm(x: jax.Array, width: int, size: int, stride: int, name: str) -> jax.Array:
            return _conv_norm(x, width, size, stride, name, train, self.dtype, self.axis_name)

        out = self.width * (4 if self.bottleneck else 1)
        if self.bottleneck:
            y = nn.relu(conv_norm(x, self.width, 1, 1, '1'))
            y = nn.relu(conv_norm(y, self.width, 3, self.stride, '2'))
            y = conv_norm(y, out, 1, 1, '3')
        else:
            y = nn.relu(conv_norm(x, self.width, 3, self.stride, '1'))
            y = conv_norm(y, out, 3, 1, '2')
        if x.shape != y.shape:
            x = conv_norm(x, out, 1, self.stride, '_shortcut')
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A ResNet whose stem is a 3x3 convolution of stride 1.

    Named layers: `stem` (after the max-pool, if any), `layer1` to `layer4`, `penultimate` (global average pool),
    `logits`, `probs`.

    Attributes:
        n_classes: Number of classes k.
        keep_maxpool: Keep the stem's 3x3 max-pool of stride 2. With 32x32 images `layer4` is then 2x2, without 4x4.
        stage_sizes: Blocks per stage.
        widths: Channels of each stage's 3x3 convolutions; the stem has those of the first.
        bottleneck: Blocks of three convolutions, with the stride on the 3x3.
        dtype: Compute dtype, 'float32' or 'bfloat16'.
        axis_name: Mapped axis over which BatchNorm is synchronised, or None.

    References:
        He, Zhang, Ren & Sun (2016). arXiv:1512.03385
    """

    n_classes: int = 10
    keep_maxpool: bool = True
    stage_sizes: tuple[int, ...] = (2, 2, 2, 2)
    widths: tuple[int, ...] = STAGE_WIDTHS
    bottleneck: bool = False
    dtype: str = 'float32'
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, train: bool = False, keys: jax.Array | None = None) -> jax.Array:
        """Logits of preprocessed images.

        Args:
            image: [b, h, w, c], float32.
            train: Use the statistics of the batch.
            keys: Not used; every model accepts them.

        Returns:
            Logits, [b, n_classes], float32.
        """
        del keys
        x = image.astype(layers.compute_dtype(self.dtype))
        x = nn.relu(_conv_norm(x, self.widths[0], 3, 1, '1', train, self.dtype, self.axis_name))
        if self.keep_maxpool:
            x = layers.max_pool(x, 3, padding=1)
        x = layers.named(self, 'stem', x)
        for i, (width, n_blocks) in enumerate(zip(self.widths, self.stage_sizes, strict=True), start=1):
            for j in range(n_blocks):
                stride = 2 if i > 1 and j == 0 else 1
                name = f'layer{i}_block{j}'
                block = ResidualBlock(width, stride, self.bottleneck, self.dtype, self.axis_name, name=name)
                x = block(x, train)
            x = layers.named(self, f'layer{i}', x)
        x = layers.named(self, 'penultimate', x.astype(jnp.float32).mean(axis=(1, 2)))
        logits = layers.named(self, 'logits', nn.Dense(self.n_classes, name='classifier')(x))
        layers.named(self, 'probs', nn.softmax(logits))
        return logits


class ResNet18(ResNet):
    """Two basic blocks per stage: 11,173,962 parameters with 10 classes."""


class ResNet34(ResNet):
    """3-4-6-3 basic blocks: 21,282,122 parameters with 10 classes."""

    stage_sizes: tuple[int, ...] = (3, 4, 6, 3)


class ResNet50(ResNet):
    """3-4-6-3 bottleneck blocks: 23,520,842 parameters with 10 classes."""

    stage_sizes: tuple[int, ...] = (3, 4, 6, 3)
    bottleneck: bool = True


def _conv_norm(
    x: jax.Array, width: int, size: int, stride: int, name: str, train: bool, dtype: str, axis_name: str | None
) -> jax.Array:
    """Convolution `conv<name>` without bias, padded to keep the grid, and BatchNorm `norm<name>`."""
    conv = layers.Conv(width, size, stride, padding=size // 2, dtype=dtype, name=f'conv{name}')
    norm = layers.batch_norm(dtype, axis_name, name=f'norm{name}')
    return norm(conv(x), use_running_average=not train)
