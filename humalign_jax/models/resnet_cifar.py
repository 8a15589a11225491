"""The small ResNets that were made for CIFAR-10: three stages of 16, 32 and 64 channels."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from humalign_jax.models import layers


class CifarBlock(nn.Module):
    """Two 3x3 convolutions plus a shortcut without parameters (option A): every second pixel, new channels zero.

    Attributes:
        width: Channels of the convolutions.
        stride: Stride of the first one.
        dtype: Compute dtype.
        axis_name: Mapped axis over which BatchNorm is synchronised, or None.
    """

    width: int
    stride: int
    dtype: str
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b, h, w, c] -> [b, h / stride, w / stride, width]."""

        def conv_norm(x: jax.Array, stride: int, name: str) -> jax.Array:
            x = layers.Conv(self.width, 3, stride, padding=1, dtype=self.dtype, name=f'conv{name}')(x)
            norm = layers.batch_norm(self.dtype, self.axis_name, name=f'norm{name}')
            return norm(x, use_running_average=not train)

        y = conv_norm(nn.relu(conv_norm(x, self.stride, '1')), 1, '2')
        new = self.width - x.shape[-1]
        if new:
            x = jnp.pad(x[:, :: self.stride, :: self.stride], ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))
        return nn.relu(x + y)


class ResNet20(nn.Module):
    """CIFAR ResNet of 6 n + 2 layers with option-A shortcuts; n = 3: 269,722 parameters with 10 classes.

    Named layers: `stem`, `layer1` to `layer3` (32x32, 16x16 and 8x8 for 32x32 images), `penultimate` (global average
    pool), `logits`, `probs`.

    Attributes:
        n_classes: Number of classes k.
        n_blocks: Blocks n of each stage.
        dtype: Compute dtype, 'float32' or 'bfloat16'.
        axis_name: Mapped axis over which BatchNorm is synchronised, or None.

    References:
        He, Zhang, Ren & Sun (2016), section 4.2. arXiv:1512.03385
    """

    # Names of akamaster/pytorch_resnet_cifar10.
    from_torch: ClassVar[dict[str, Any]] = {
        'renames': ((r'^layer(\d)\.(\d+)', r'layer\1_block\2'), (r'bn(\d)$', r'norm\1'), ('^linear$', 'classifier')),
    }

    n_classes: int = 10
    n_blocks: int = 3
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
        x = layers.Conv(16, 3, padding=1, dtype=self.dtype, name='conv1')(x)
        norm = layers.batch_norm(self.dtype, self.axis_name, name='norm1')
        x = layers.named(self, 'stem', nn.relu(norm(x, use_running_average=not train)))
        for stage, width in enumerate((16, 32, 64), start=1):
            for i in range(self.n_blocks):
                stride = 2 if stage > 1 and i == 0 else 1
                block = CifarBlock(width, stride, self.dtype, self.axis_name, name=f'layer{stage}_block{i}')
                x = block(x, train)
            x = layers.named(self, f'layer{stage}', x)
        x = layers.named(self, 'penultimate', x.astype(jnp.float32).mean(axis=(1, 2)))
        logits = layers.named(self, 'logits', nn.Dense(self.n_classes, name='classifier')(x))
        layers.named(self, 'probs', nn.softmax(logits))
        return logits


class ResNet56(ResNet20):
    """Nine blocks per stage: 853,018 parameters with 10 classes."""

    n_blocks: int = 9
