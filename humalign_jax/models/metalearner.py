"""MetaLearner: learns a function of stimuli in context, one item after another; and StaticLinear, its control.

Both contain an affine map of features. Learning many functions shapes the map, and the map is what is kept: its values
of single items are the meta-learned features.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from humalign_jax.models import layers

CORES = ('transformer', 'lstm')

# PyTorch's initialisation of linear layers: uniform within 1 / sqrt(fan-in).
_as_torch = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')


class MetaLearner(nn.Module):
    """Predicts label and magnitude of each item of an episode from the items and magnitudes before it.

    Step t takes the features of item t and the magnitude of item t - 1, which carries label and strength. A linear
    layer from d + 1 to d embeds them; causal blocks and a LayerNorm follow, then two linear heads. With d = 768 and the
    defaults it has 2,958,340 parameters.

    Features and magnitude of one item enter at different steps, so a single block cannot combine them: it finds the
    positive items by their being more frequent than among all items. The LSTM can use the magnitudes.

    Attributes:
        core: 'transformer' or 'lstm', one LSTM of d units.
        n_layers: Number of transformer blocks.
        n_heads: Heads of a block; must divide d into even parts.
        mlp_width: Hidden units of a GELU MLP in each block, 0 for blocks of attention only.
        embed: Learn the linear layer. Without it, features stay as they are and a projection of the last magnitude is
            added to them.
        dropout_rate: Of attention weights in training.
        dtype: Compute dtype, 'float32' or 'bfloat16'; softmax and outputs are float32.

    References:
        Demircan et al. (2026). Meta-learning as a principle for human-like visual representations. arXiv 2606.28399
    """

    core: str = 'transformer'
    n_layers: int = 1
    n_heads: int = 16
    mlp_width: int = 0
    embed: bool = True
    dropout_rate: float = 0.1
    dtype: str = 'float32'

    @nn.compact
    def __call__(
        self, x: jax.Array, previous: jax.Array, train: bool = False, keys: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Predictions at every step.

        Args:
            x: Features of the items, [b, t, d].
            previous: Magnitude of the item before, 0 at the first step, [b, t].
            train: Use dropout.
            keys: Typed PRNG keys, one per episode, [b]; needed in training unless dropout_rate is 0.

        Returns:
            Logits of a positive item [b, t], magnitudes [b, t], float32.

        Raises:
            ValueError: An unknown core or dtype, a number of heads that does not fit, or no keys in training.
        """
        d = x.shape[-1]
        if self.core not in CORES:
            raise ValueError(f'model.core={self.core!r} must be one of {", ".join(CORES)}.')
        if self.core == 'transformer' and d % (2 * self.n_heads):
            raise ValueError(
                f'{d} features do not divide into {self.n_heads} heads of even size: choose another model.n_heads.'
            )
        drops = train and self.dropout_rate > 0 and self.core == 'transformer' and not self.is_initializing()
        keys = layers.check_keys('MetaLearner', keys, x.shape[0]) if drops else None
        dtype = layers.compute_dtype(self.dtype)

        # Log variances of the two losses: trained with the network, used by the objective.
        self.param('log_variance', nn.initializers.zeros, (2,), jnp.float32)
        if self.embed:
            h = self._embed(d)(jnp.concatenate([previous[..., None], x], axis=-1).astype(dtype))
        else:
            h = x.astype(dtype) + _dense(d, self.dtype, 'magnitude_map')(previous[..., None].astype(dtype))
        if self.core == 'lstm':
            h = nn.RNN(nn.OptimizedLSTMCell(d, dtype=dtype), name='lstm')(h)
        else:
            for i in range(self.n_layers):
                block = CausalBlock(self.n_heads, self.mlp_width, self.dropout_rate, self.dtype, name=f'block{i}')
                h = block(h, keys, i)
        h = _layer_norm(self.dtype, 'final_norm')(h)
        logit, magnitude = (_dense(1, self.dtype, name)(h) for name in ('binary_head', 'magnitude_head'))
        return logit[..., 0].astype(jnp.float32), magnitude[..., 0].astype(jnp.float32)

    @nn.compact
    def representation(self, x: jax.Array) -> dict[str, jax.Array]:
        """Meta-learned features of single items, [n, d] -> {'embed': [n, d]}, affine in x; {} without an embedding."""
        if not self.embed:
            return {}
        return {'embed': self._embed(x.shape[-1])(jnp.pad(x, ((0, 0), (1, 0)))).astype(jnp.float32)}

    def _embed(self, d: int) -> nn.Dense:
        return _dense(d, self.dtype, 'embed')


class CausalBlock(nn.Module):
    """Pre-norm block: causal attention with rotary positions, then an MLP if it has one; both are residual.

    Attributes:
        n_heads: Number of heads.
        mlp_width: Hidden units of the MLP, 0 for none.
        dropout_rate: Of attention weights, where keys are given.
        dtype: Compute dtype.
    """

    n_heads: int
    mlp_width: int
    dropout_rate: float
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, keys: jax.Array | None, use: int) -> jax.Array:
        """[b, t, d] -> [b, t, d]; `use` is the number of the block, by which its dropout differs from other blocks'."""
        b, t, d = x.shape
        qkv = _dense(3 * d, self.dtype, 'qkv')(_layer_norm(self.dtype, 'attention_norm')(x))
        q, k, v = jnp.moveaxis(qkv.reshape(b, t, 3, self.n_heads, d // self.n_heads), (2, 3), (0, 2))  # [b, h, t, e]
        scores = jnp.einsum('bhte,bhse->bhts', rotary(q), rotary(k), preferred_element_type=jnp.float32)
        scores = scores / jnp.sqrt(jnp.float32(d // self.n_heads))
        weights = nn.softmax(scores, where=jnp.tri(t, dtype=bool)[None, None], axis=-1)
        if keys is not None:
            weights = layers.example_dropout(weights, keys, self.dropout_rate, use=use)
        y = jnp.einsum('bhts,bhse->bthe', weights.astype(x.dtype), v).reshape(b, t, d)
        x = x + _dense(d, self.dtype, 'attention_out')(y)
        if self.mlp_width:
            y = _dense(self.mlp_width, self.dtype, 'mlp_in')(_layer_norm(self.dtype, 'mlp_norm')(x))
            x = x + _dense(d, self.dtype, 'mlp_out')(nn.gelu(y, approximate=False))
        return x


class StaticLinear(nn.Module):
    """Control without episodes: LayerNorm of a linear map, then a label and a magnitude of every function at once.

    Attributes:
        n_functions: Number of functions f.
        dtype: Compute dtype.

    References:
        Demircan et al. (2026). arXiv 2606.28399, `static_linear`.
    """

    n_functions: int
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, keys: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """Features [b, d] -> logits [b, f], magnitudes [b, f], float32."""
        del train, keys
        self.param('log_variance', nn.initializers.zeros, (2,), jnp.float32)
        z = self._norm()(self._embed(x.shape[-1])(x))
        logit, magnitude = (_dense(self.n_functions, self.dtype, name)(z) for name in ('binary_head', 'magnitude_head'))
        return logit.astype(jnp.float32), magnitude.astype(jnp.float32)

    @nn.compact
    def representation(self, x: jax.Array) -> dict[str, jax.Array]:
        """Features of single items, [n, d] -> {'embed': [n, d], 'normalised': [n, d]}.

        `embed` is affine in x, as MetaLearner's is; `normalised`, its LayerNorm, is what was published.
        """
        z = self._embed(x.shape[-1])(x)
        return {'embed': z.astype(jnp.float32), 'normalised': self._norm()(z).astype(jnp.float32)}

    def _embed(self, d: int) -> nn.Dense:
        return _dense(d, self.dtype, 'embed')

    def _norm(self) -> nn.LayerNorm:
        return _layer_norm(self.dtype, 'final_norm')


def rotary(x: jax.Array, *, base: float = 10_000.0) -> jax.Array:
    """Rotates pairs of neighbouring entries by angles that grow with the position: [..., t, e] -> [..., t, e].

    Pair i of position t turns by t * base^(-2 i / e), computed in float32. The product of a rotated query and a rotated
    key depends on the distance of their positions only.

    References:
        Su et al. (2021). RoFormer. arXiv 2104.09864, interleaved pairs.
    """
    t, e = x.shape[-2:]
    angles = jnp.arange(t, dtype=jnp.float32)[:, None] * base ** (-jnp.arange(0, e, 2, dtype=jnp.float32) / e)[None]
    cos, sin = (f(angles).reshape((1,) * (x.ndim - 2) + angles.shape) for f in (jnp.cos, jnp.sin))
    pairs = x.astype(jnp.float32).reshape(*x.shape[:-1], e // 2, 2)
    even, odd = pairs[..., 0], pairs[..., 1]
    turned = jnp.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
    return turned.reshape(x.shape).astype(x.dtype)


def _dense(features: int, dtype: str, name: str) -> nn.Dense:
    return nn.Dense(features, kernel_init=_as_torch, dtype=layers.compute_dtype(dtype), name=name)


def _layer_norm(dtype: str, name: str) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-5, dtype=layers.compute_dtype(dtype), name=name)
