"""What a training step carries forward, and nothing else: enough to go on bit for bit after a kill."""

import functools
import inspect
from collections.abc import Callable, Mapping
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
        failed: True once a loss or gradient was not finite; from then on nothing else changes, [].
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
    tx: optax.GradientTransformation,
    objective: Callable,
    example_batch: Mapping[str, Any],
    seed: int,
) -> TrainState:
    """The state before the first step, on the host; a function of the seed alone.

    Args:
        model: Flax module. Arguments of its `__call__` that are named as an entry of the batch are given that entry.
        tx: Optimiser.
        objective: Asked once, without computing, which metrics it has.
        example_batch: A batch of any size, or its shapes and dtypes as `batches.example_batch` gives them.
        seed: The run's seed.

    Raises:
        ValueError: The batch has no entry that the model takes.
    """
    arguments = inspect.signature(model.__call__).parameters
    inputs: dict[str, Any] = {
        name: jnp.zeros(value.shape, value.dtype) for name, value in example_batch.items() if name in arguments
    }
    if not inputs:
        raise ValueError(
            f'{type(model).__name__} takes {", ".join(arguments)}, but the batch has {", ".join(example_batch)}: give '
            'an argument the name of the entry that the model reads.'
        )
    try:
        variables = _init(model, jax.random.key(seed), inputs)
    except TypeError:  # a model with a field that has no hash, such as an array
        variables = jax.jit(lambda key: model.init(key, **inputs))(jax.random.key(seed))
    variables = {name: values for name, values in variables.items() if name != 'layers'}
    return state_of(variables.pop('params'), variables, tx, objective, example_batch)


@functools.partial(jax.jit, static_argnums=0)
def _init(model: nn.Module, key: jax.Array, inputs: Mapping[str, Any]) -> Any:
    """Compiled once for all seeds of a model."""
    return model.init(key, **inputs)


def state_of(
    params: Any,
    model_state: Any,
    tx: optax.GradientTransformation,
    objective: Callable,
    example_batch: Mapping[str, Any],
) -> TrainState:
    """The state before the first step with given parameters and collections, on the host; else as `make_state`."""
    shapes = {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in example_batch.items()}
    keys = jax.random.split(jax.random.key(0), next(iter(shapes.values())).shape[0])
    _, (_, metrics) = jax.eval_shape(objective, params, model_state, shapes, keys, jnp.int32(0))
    state = TrainState(
        step=jnp.int32(0),
        params=params,
        model_state=model_state,
        opt_state=tx.init(params),
        metric_sums={name: jnp.float32(0) for name in ('loss', 'grad_norm', *metrics)},
        metric_steps=jnp.int32(0),
        failed=jnp.bool_(False),
    )
    return jax.tree.map(np.asarray, state)
