"""Variational autoencoder of strided convolutions."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from humalign_jax.models import layers


class VAE(nn.Module):
    """An encoder from images to a Gaussian over latents, and a decoder back to images.

    The encoder halves the image once per width with [4x4 convolution of stride 2, BatchNorm, LeakyReLU 0.2]; two linear
    layers give mean and log-variance; the decoder mirrors the encoder, with transposed convolutions and a sigmoid.
    Named layers: `encoder1`, `encoder2`, ..., `mu`, `logvar`, `decoder1`, ..., `recon`. 2,168,707 parameters with
    the default fields.

    Attributes:
        image_shape: Shape of one image, (h, w, c); h and w must be multiples of 2 ** len(widths).
        widths: Channels of the encoder's convolutions; the decoder goes backwards.
        latent_dim: Number of latents z.
        dtype: Compute dtype, 'float32' or 'bfloat16'.
        axis_name: Mapped axis over which BatchNorm is synchronised, or None.

    References:
        Kingma & Welling (2014). arXiv:1312.6114
    """

    image_shape: tuple[int, int, int] = (32, 32, 3)
    widths: tuple[int, ...] = (32, 64, 128, 256)
    latent_dim: int = 256
    dtype: str = 'float32'
    axis_name: str | None = None

    def setup(self) -> None:
        """Makes the submodules; their names are those of the attributes."""
        h, w, c = self.image_shape
        factor = 2 ** len(self.widths)
        if h % factor or w % factor or not self.widths:
            raise ValueError(
                f'VAE halves images {len(self.widths)} times, so height and width must be multiples of {factor}, not '
                f'{h}x{w}: choose fewer or more widths, or pad the images.'
            )
        dtype = layers.compute_dtype(self.dtype)
        up = self.widths[-2::-1]
        self.map_shape = (h // factor, w // factor, self.widths[-1])

        self.encoder_conv = [layers.Conv(width, 4, stride=2, padding=1, dtype=self.dtype) for width in self.widths]
        self.encoder_norm = [layers.batch_norm(self.dtype, self.axis_name) for _ in self.widths]
        self.mean_head = nn.Dense(self.latent_dim)
        self.logvar_head = nn.Dense(self.latent_dim)
        self.projection = nn.Dense(math.prod(self.map_shape), dtype=dtype)
        self.decoder_conv = [layers.ConvTranspose4x4(width, dtype=self.dtype) for width in up]
        self.decoder_norm = [layers.batch_norm(self.dtype, self.axis_name) for _ in up]
        self.output_conv = layers.ConvTranspose4x4(c, use_bias=True, dtype=self.dtype)

    def __call__(
        self, image: jax.Array, train: bool = False, keys: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Reconstruction, and mean and log-variance of the latents.

        Args:
            image: [b, h, w, c], float32 in [0, 1].
            train: Use the statistics of the batch, and decode a sample; otherwise decode the mean.
            keys: Typed PRNG keys, one per example, [b]; needed in training.

        Returns:
            Reconstruction in [0, 1], [b, h, w, c]; mean, [b, z]; log-variance in nats, [b, z]; all float32.

        Raises:
            ValueError: Images of another shape than `image_shape`, or no keys in training.
        """
        mean, logvar = self.encode(image, train)
        z = mean
        if train and not self.is_initializing():
            keys = layers.check_keys('VAE', keys, image.shape[0])
            z = mean + jnp.exp(0.5 * logvar) * layers.example_normal(keys, (self.latent_dim,))
        return self.decode(z, train), mean, logvar

    def encode(self, image: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance of the latents: [b, h, w, c] in [0, 1] -> [b, z], [b, z]."""
        if image.shape[1:] != tuple(self.image_shape):
            raise ValueError(f'VAE was made for images of shape {tuple(self.image_shape)}, not {image.shape[1:]}.')
        x = image.astype(layers.compute_dtype(self.dtype))
        for i, (conv, norm) in enumerate(zip(self.encoder_conv, self.encoder_norm), start=1):
            x = nn.leaky_relu(norm(conv(x), use_running_average=not train), 0.2)
            x = layers.named(self, f'encoder{i}', x)
        x = x.astype(jnp.float32).reshape(x.shape[0], -1)
        mean = layers.named(self, 'mu', self.mean_head(x))
        logvar = layers.named(self, 'logvar', self.logvar_head(x))
        return mean, logvar

    def decode(self, z: jax.Array, train: bool = False) -> jax.Array:
        """Images decoded from latents: [b, z] -> [b, h, w, c] in [0, 1]."""
        x = self.projection(z).reshape(z.shape[0], *self.map_shape)
        for i, (conv, norm) in enumerate(zip(self.decoder_conv, self.decoder_norm), start=1):
            x = nn.leaky_relu(norm(conv(x), use_running_average=not train), 0.2)
            x = layers.named(self, f'decoder{i}', x)
        return layers.named(self, 'recon', nn.sigmoid(self.output_conv(x).astype(jnp.float32)))
