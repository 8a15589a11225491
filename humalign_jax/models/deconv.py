"""Deconv: a small classifier of LeNet's kind with a deconvolution decoder that inverts its two pooled layers."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from humalign_jax.models import layers, switches

UNPOOLS = ('switches', 'nearest')
_KERNEL = 5  # px
N_CHANNELS = (6, 16)  # of z1 and z2


class Deconv(nn.Module):
    """Two 5x5 convolutions (6 and 16 channels) with ReLU and 2x2 max-pooling, three dense layers, and a decoder.

    The decoder takes the second pooled map z2 through unpooling, ReLU, a transposed convolution, unpooling, ReLU and a
    last transposed convolution, which has no activation. With `unpool='switches'` an unpooled value stands where
    the encoder's maximum was: positions of maxima reach the decoder outside the code z2, which therefore is not all
    that a reconstruction is made from. With `unpool='nearest'` the decoder sees z2 only.

    Named layers: `conv1` and `conv2` (after ReLU, before pooling), `z1` and `z2` (pooled, channels multiplied by
    `keep`), `fc1` and `fc2` (after ReLU), `logits`, `probs`, and with a decoder `recon`. With 10 classes and 32x32x3
    images it has 64,865 parameters, of which the decoder has 2,859. Checkpoints of the published PyTorch network
    import by `from_torch`: modules conv1, conv2, fc1, fc2, fc3, deconv1, deconv2.

    Attributes:
        n_classes: Number of classes k.
        image_shape: Shape of one image, (h, w, c); h and w must be multiples of 4, at least 16.
        decoder: With a decoder; without one it is a plain classifier.
        unpool: 'switches' (value at the position of the first maximum, zeros elsewhere) or 'nearest' (value repeated).
        dtype: Compute dtype of the convolutions, 'float32' or 'bfloat16'.
        axis_name: Accepted as for every model, and not used: there is no BatchNorm.

    References:
        Zeiler & Fergus (2014), section 2.1, for switches. arXiv:1311.2901
        Arbiv, CNN-Latent-Representations-Analysis, class Recon_Net, for layers and sizes.
    """

    # Arguments of `torch_import.to_flax` for a checkpoint of the published network.
    from_torch: ClassVar[dict[str, Any]] = {
        'renames': (
            (r'^(de)?conv(\d)$', r'\1convolution\2'),
            ('^fc3$', 'classifier'),
            (r'^fc(\d)$', r'hidden\1'),
        ),
        'flatten': {'hidden1': N_CHANNELS[1]},
        'transposed': ('deconvolution1', 'deconvolution2'),
    }

    n_classes: int = 10
    image_shape: tuple[int, int, int] = (32, 32, 3)
    decoder: bool = True
    unpool: str = 'switches'
    dtype: str = 'float32'
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self,
        image: jax.Array,
        train: bool = False,
        keys: jax.Array | None = None,
        keep: tuple[jax.Array, jax.Array] | None = None,
    ) -> tuple[jax.Array, jax.Array | None]:
        """Logits and reconstructions of preprocessed images.

        Args:
            image: [b, h, w, c], float32.
            train: Accepted as for every model; nothing is random and nothing depends on the batch.
            keys: Accepted as for every model, and not used.
            keep: Factors of the channels of z1, [6], and of z2, [16]: 1 keeps a channel, 0 removes it before the rest
                of the network runs. None keeps all. Positions of the first maxima are those of the unmasked map; the
                second map, and with it its positions, follows from the masked z1.

        Returns:
            Logits, [b, n_classes], and the reconstruction, [b, h, w, c], on the scale of `image`; None without a
            decoder. Both float32.

        Raises:
            ValueError: Images of another shape than `image_shape`, a size that cannot be pooled twice, factors of
                another length, an unknown dtype or an unknown `unpool`.
        """
        del train, keys
        self._check(image, keep)
        keep1, keep2 = (None, None) if keep is None else keep

        x = image.astype(layers.compute_dtype(self.dtype))
        x = nn.relu(self._convolution(N_CHANNELS[0], 'convolution1')(x))
        x, where1 = switches.max_pool(layers.named(self, 'conv1', x))
        x = layers.named(self, 'z1', _scaled(x, keep1))
        x = nn.relu(self._convolution(N_CHANNELS[1], 'convolution2')(x))
        x, where2 = switches.max_pool(layers.named(self, 'conv2', x))
        z2 = layers.named(self, 'z2', _scaled(x, keep2))

        x = z2.astype(jnp.float32).reshape(z2.shape[0], -1)
        for i, width in enumerate((120, 84), start=1):
            x = nn.relu(nn.Dense(width, kernel_init=nn.initializers.he_normal(), name=f'hidden{i}')(x))
            x = layers.named(self, f'fc{i}', x)
        logits = layers.named(self, 'logits', nn.Dense(self.n_classes, name='classifier')(x))
        layers.named(self, 'probs', nn.softmax(logits))
        if not self.decoder:
            return logits, None

        x = nn.relu(self._unpooled(z2, where2))
        x = layers.ConvTranspose(N_CHANNELS[0], _KERNEL, dtype=self.dtype, name='deconvolution2')(x)
        x = nn.relu(self._unpooled(x, where1))
        x = layers.ConvTranspose(image.shape[-1], _KERNEL, dtype=self.dtype, name='deconvolution1')(x)
        return logits, layers.named(self, 'recon', x.astype(jnp.float32))

    def _convolution(self, features: int, name: str) -> layers.Conv:
        return layers.Conv(features, _KERNEL, use_bias=True, dtype=self.dtype, by_rows=True, name=name)

    def _unpooled(self, x: jax.Array, where: jax.Array) -> jax.Array:
        return switches.unpool(x, where if self.unpool == 'switches' else None)

    def _check(self, image: jax.Array, keep: tuple[jax.Array, jax.Array] | None) -> None:
        h, w, _ = self.image_shape
        if h % 4 or w % 4 or min(h, w) < 16:
            raise ValueError(f'Deconv pools maps twice: height and width must be multiples of 4 from 16, not {h}x{w}.')
        if image.shape[1:] != tuple(self.image_shape):
            raise ValueError(f'Deconv was made for images of shape {tuple(self.image_shape)}, not {image.shape[1:]}.')
        if self.unpool not in UNPOOLS:
            raise ValueError(f'unpool must be one of {", ".join(UNPOOLS)}, not {self.unpool!r}.')
        if keep is not None and tuple(factors.shape for factors in keep) != tuple((n,) for n in N_CHANNELS):
            raise ValueError(
                f'keep must be vectors of {N_CHANNELS[0]} and {N_CHANNELS[1]} factors, one per channel of z1 and z2, '
                f'not of shapes {", ".join(str(factors.shape) for factors in keep)}.'
            )


def _scaled(z: jax.Array, factors: jax.Array | None) -> jax.Array:
    """Channels times their factors: [b, h, w, c], [c] -> [b, h, w, c]."""
    return z if factors is None else z * factors.astype(z.dtype).reshape(1, 1, 1, -1)
