"""The one train step, for every objective.

Randomness belongs to the example: every position of the global batch has its own key, made from (run's key, step,
position). A run on four devices therefore draws the same random numbers as a run on one.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from humalign_jax.train.batches import MakeBatch, with_mask
from humalign_jax.train.state import TrainState


def run_key(seed: int) -> np.ndarray:
    """The key of a run, as the step takes it: uint32 [2]."""
    return np.asarray(jax.random.key_data(jax.random.key(seed)))


def make_train_step(
    objective: Callable,
    tx: optax.GradientTransformation,
    make_batch: MakeBatch,
    *,
    axis_name: str | None = None,
) -> Callable:
    """Some steps for one device: `(state, arrays, rows, key) -> (state, tick)`.

    Args:
        objective: `(params, model_state, batch, keys, step) -> (loss, (model_state, metrics))`.
        tx: Optimiser.
        make_batch: `(arrays, rows [b], keys [b]) -> batch`, see `batches.Examples`.
        axis_name: Name of the device axis to average over, None on a single device without mapping.

    Returns:
        The function. `arrays` are those of the examples; `rows` [s, b] are this device's examples of s successive
        batches; `key` is from `run_key`. A step whose loss, gradient or update is not finite changes nothing and sets
        `failed`, which also stops all later steps. `tick` is a number that is there once the steps are done, for a host
        that must not run far ahead.
    """

    def one_step(state: TrainState, arrays: Mapping[str, jax.Array], rows: jax.Array, key: jax.Array) -> TrainState:
        first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * rows.shape[0]
        step_key = jax.random.fold_in(jax.random.wrap_key_data(key), state.step)
        example_keys = jax.vmap(jax.random.fold_in, (None, 0))(step_key, first + jnp.arange(rows.shape[0]))
        keys = jax.vmap(jax.random.split)(example_keys)  # [b, 2]: one for the batch, one for the model
        batch = with_mask(make_batch(arrays, rows, keys[:, 0]), jnp.ones(rows.shape[0], jnp.float32))

        value_and_grad = jax.value_and_grad(objective, has_aux=True)
        (loss, (model_state, metrics)), grads = value_and_grad(
            state.params, state.model_state, batch, keys[:, 1], state.step
        )
        if axis_name is not None:
            loss, model_state, metrics, grads = jax.lax.pmean((loss, model_state, metrics, grads), axis_name)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        metrics = {'loss': loss, 'grad_norm': optax.tree.norm(grads), **metrics}

        finite = jnp.isfinite(loss) & jnp.isfinite(metrics['grad_norm']) & jnp.isfinite(optax.tree.norm(updates))
        after = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            model_state=model_state,
            opt_state=opt_state,
            metric_sums={name: total + metrics[name] for name, total in state.metric_sums.items()},
            metric_steps=state.metric_steps + 1,
        )
        failed = state.failed | ~finite
        kept = jax.tree.map(lambda old, new: jnp.where(failed, old, new), state, after)
        return kept.replace(failed=failed)

    def train_step(
        state: TrainState, arrays: Mapping[str, jax.Array], rows: jax.Array, key: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        if rows.shape[0] == 1:  # a scan of convolution gradients is 150 times slower on the CPU
            state = one_step(state, arrays, rows[0], key)
        else:
            state, _ = jax.lax.scan(lambda carry, now: (one_step(carry, arrays, now, key), None), state, rows)
        return state, 2 * state.step  # not the step itself, whose memory the next call takes over

    return train_step
