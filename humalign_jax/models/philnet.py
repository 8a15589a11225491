"""PhilNet: a small CNN for 32x32 images, three blocks of two convolutions from 32 to 512 channels."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from humalign_jax.models import layers

HEADS = ('gap', 'gap_hidden', 'flatten')


class PhilNet(nn.Module):
    """Blocks of [3x3 convolution, BatchNorm, ReLU] closed by 2x2 max-pooling, then dropout and a linear layer.

    Named layers: `block1`, `block2`, ... (after pooling), `penultimate` (input of the last linear layer, before
    dropout), `logits`, `probs`. 2,165,034 parameters with the default fields and 32x32x3 images.

    Attributes:
        n_classes: Number of classes k.
        widths: Channels of every convolution, one tuple per block.
        dropout_rate: Probability of a zero before the last linear layer, in [0, 1).
        head: How the last map becomes a vector: 'gap' (global average pool), 'gap_hidden' (global average pool and a
            hidden layer of 256 units), 'flatten' (all positions and a hidden layer of 512 units).
        identity_init: Start all convolutions but the first as copies of their input, see `layers.identity_init`.
        dtype: Compute dtype, 'float32' or 'bfloat16'.
        axis_name: Mapped axis over which BatchNorm is synchronised, or None.

    References:
        Philipp, Cifar_10_Deep_learning_project (2026): blocks, end widths, dropout. The inner widths are ours.
    """

    n_classes: int = 10
    widths: tuple[tuple[int, ...], ...] = ((32, 64), (128, 256), (256, 512))
    dropout_rate: float = 0.4
    head: str = 'gap'
    identity_init: bool = False
    dtype: str = 'float32'
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, train: bool = False, keys: jax.Array | None = None) -> jax.Array:
        """Logits of preprocessed images.

        Args:
            image: [b, h, w, c], float32.
            train: Use the statistics of the batch, and dropout.
            keys: Typed PRNG keys, one per example, [b]; needed in training unless dropout_rate is 0.

        Returns:
            Logits, [b, n_classes], float32.

        Raises:
            ValueError: An unknown head or dtype, a dropout rate outside [0, 1), or no keys in training.
        """
        if self.head not in HEADS:
            raise ValueError(layers.unknown('head', self.head, HEADS))
        if not 0.0 <= self.dropout_rate < 1.0:
            raise ValueError(f'dropout_rate must be in [0, 1), not {self.dropout_rate}.')
        dtype = layers.compute_dtype(self.dtype)

        x = image.astype(dtype)
        for i, block in enumerate(self.widths, start=1):
            for j, width in enumerate(block, start=1):
                is_first = i == j == 1
                init = layers.identity_init if self.identity_init and not is_first else layers.he_fan_out
                conv = layers.Conv(width, 3, padding=1, dtype=self.dtype, kernel_init=init, name=f'block{i}_conv{j}')
                x = conv(x)
                norm = layers.batch_norm(self.dtype, self.axis_name, name=f'block{i}_norm{j}')
                x = nn.relu(norm(x, use_running_average=not train))
            x = layers.named(self, f'block{i}', layers.max_pool(x, 2))

        # The head is a small part of the work: always float32.
        x = x.astype(jnp.float32)
        x = x.reshape(x.shape[0], -1) if self.head == 'flatten' else x.mean(axis=(1, 2))
        if self.head != 'gap':
            hidden = nn.Dense(
                512 if self.head == 'flatten' else 256, kernel_init=nn.initializers.he_normal(), name='hidden'
            )
            x = nn.relu(hidden(x))
        x = layers.named(self, 'penultimate', x)
        if train and self.dropout_rate > 0 and not self.is_initializing():
            x = layers.example_dropout(x, layers.check_keys('PhilNet', keys, x.shape[0]), self.dropout_rate)
        logits = layers.named(self, 'logits', nn.Dense(self.n_classes, name='classifier')(x))
        layers.named(self, 'probs', nn.softmax(logits))
        return logits
