"""What a training step carries forward, and nothing else: enough to go on bit for bit after a kill."""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import serialization, struct


class TrainState(struct.PyTreeNode):
    """State of a run between two steps.

    Attributes:
        step: Updates made so far, int32, [].
        params: Trained parameters.
        model_state: Flax collections that training changes without gradients, such as `batch_stats`.
        opt_state: State of the optimiser.
        metric_sums: Sum of every metric over the steps since the last written row, float32, [] each.
        metric_steps: Number of those steps, int32, [].
        failed: True once a loss, gradient or update was not finite; from then on nothing else changes, [].
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any
    metric_sums: dict[str, jax.Array]
    metric_steps: jax.Array
    failed: jax.Array

    def to_tree(self) -> dict[str, Any]:
        """Nested dicts of arrays, the form in which checkpoints keep it."""
        return dict(serialization.to_state_dict(self))

    def from_tree(self, tree: dict[str, Any]) -> 'TrainState':
        """A state with this one's structure and the values of `tree`."""
        return cast('TrainState', serialization.from_state_dict(self, tree))


def make_state(
    model: nn.Module,
    image_shape: tuple[int, ...],
    tx: optax.GradientTransformation,
    objective: Callable,
    *,
    seed: int,
    n_classes: int,
) -> TrainState:
    """The state before the first step, on the host; a function of the seed alone.

    Args:
        model: Flax module called as `model(image, train=..., keys=...)`.
        image_shape: [h, w, c] of one preprocessed image.
        tx: Optimiser.
        objective: Asked once, without computing, which metrics it has.
        seed: The run's seed.
        n_classes: Width of `soft_label`.
    """
    image = jnp.zeros((2, *image_shape), jnp.float32)
    variables = jax.jit(lambda key: model.init(key, image, train=False))(jax.random.key(seed))
    variables = {name: values for name, values in variables.items() if name != 'layers'}
    params = variables.pop('params')
    batch = {
        'image': image,
        'label': jnp.zeros(2, jnp.int32),
        'soft_label': jnp.ones((2, n_classes), jnp.float32),
        'index': jnp.zeros(2, jnp.int32),
        'mask': jnp.ones(2, jnp.float32),
    }
    keys = jax.random.split(jax.random.key(0), 2)
    _, (_, metrics) = jax.eval_shape(objective, params, variables, batch, keys, jnp.int32(0))
    state = TrainState(
        step=jnp.int32(0),
        params=params,
        model_state=variables,
        opt_state=tx.init(params),
        metric_sums={name: jnp.float32(0) for name in ('loss', 'grad_norm', *metrics)},
        metric_steps=jnp.int32(0),
        failed=jnp.bool_(False),
    )
    return jax.tree.map(np.asarray, state)
