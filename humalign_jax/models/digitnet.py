"""DigitNet: the small convnet of PyTorch's first MNIST example, for 28x28 images of digits."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from humalign_jax.models import layers


class DigitNet(nn.Module):
    """Two 5x5 convolutions (10 and 20 channels), each with ReLU and 2x2 max-pooling, and two dense layers (50, k).

    Named layers: `conv1` and `conv2` (after ReLU, before pooling), `conv1_pooled`, `conv2_pooled`, `fc1` (after ReLU),
    `logits`, `probs`. With 10 classes and 28x28x1 images it has 21,840 parameters.

    Attributes:
        n_classes: Number of classes k.
        dropout_rate: Probability of a zero in training, in [0, 1): of a whole channel of `conv2`, and of a unit of
            `fc1`. PyTorch's example has 0.5.
        dtype: Compute dtype of the convolutions, 'float32' or 'bfloat16'.
        axis_name: Accepted as for every model, and not used: there is no BatchNorm.

    References:
        Lake, Computational Cognitive Modeling, homework Neural networks part D (2024): layers and sizes.
    """

    # Arguments of `torch_import.to_flax` for a checkpoint of the course's network.
    from_torch: ClassVar[dict[str, Any]] = {
        'renames': ((r'^conv(\d)$', r'convolution\1'), ('^fc1$', 'hidden'), ('^fc2$', 'classifier')),
        'flatten': {'hidden': 20},
    }

    n_classes: int = 10
    dropout_rate: float = 0.0
    dtype: str = 'float32'
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, train: bool = False, keys: jax.Array | None = None) -> jax.Array:
        """Logits of preprocessed images.

        Args:
            image: [b, h, w, c], float32.
            train: Use dropout.
            keys: Typed PRNG keys, one per example, [b]; needed in training unless dropout_rate is 0.

        Returns:
            Logits, [b, n_classes], float32.

        Raises:
            ValueError: An unknown dtype, a dropout rate outside [0, 1), or no keys in training.
        """
        if not 0.0 <= self.dropout_rate < 1.0:
            raise ValueError(f'dropout_rate must be in [0, 1), not {self.dropout_rate}.')
        drops = train and self.dropout_rate > 0 and not self.is_initializing()
        keys = layers.check_keys('DigitNet', keys, image.shape[0]) if drops else None

        x = image.astype(layers.compute_dtype(self.dtype))
        x = nn.relu(layers.Conv(10, 5, use_bias=True, dtype=self.dtype, name='convolution1')(x))
        x = layers.named(self, 'conv1', x)
        x = layers.named(self, 'conv1_pooled', layers.max_pool(x, 2))
        x = nn.relu(layers.Conv(20, 5, use_bias=True, dtype=self.dtype, name='convolution2')(x))
        x = layers.named(self, 'conv2', x)
        if keys is not None:
            ones = jnp.ones((x.shape[0], 1, 1, x.shape[-1]), x.dtype)
            x = x * layers.example_dropout(ones, keys, self.dropout_rate)
        x = layers.named(self, 'conv2_pooled', layers.max_pool(x, 2))
        x = x.astype(jnp.float32).reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(50, kernel_init=nn.initializers.he_normal(), name='hidden')(x))
        x = layers.named(self, 'fc1', x)
        if keys is not None:
            x = layers.example_dropout(x, keys, self.dropout_rate, use=1)
        logits = layers.named(self, 'logits', nn.Dense(self.n_classes, name='classifier')(x))
        layers.named(self, 'probs', nn.softmax(logits))
        return logits
