"""Cross-entropy with hard, smoothed or human soft labels."""

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, soft_label: jax.Array) -> jax.Array:
    """Cross-entropy of a predicted class distribution relative to a target one, in nats.

    Its minimum over predictions is the entropy of the target, reached where softmax(logits) equals it.

    Args:
        logits: Unnormalised log-probabilities, [b, k].
        soft_label: Target probabilities, each row summing to 1, [b, k].

    Returns:
        -sum_k soft_label log softmax(logits), [b].
    """
    return -jnp.sum(soft_label * jax.nn.log_softmax(logits), axis=-1)


def smooth_labels(soft_label: jax.Array, smoothing: float) -> jax.Array:
    """Targets mixed with the uniform distribution: (1 - smoothing) * target + smoothing / k, [b, k] -> [b, k].

    References:
        Szegedy et al. (2016), section 7. doi:10.1109/CVPR.2016.308
    """
    return (1.0 - smoothing) * soft_label + smoothing / soft_label.shape[-1]
