"""Training tasks of the benchmark's networks, and their steps dispatched some at a time."""

from collections.abc import Sequence

import jax
import ml_collections
import numpy as np
import train_throughput

from gpu_parts.setting import Setting
from humalign_jax import devices
from humalign_jax.train import batches, loop
from humalign_jax.train.step import run_key

_TINY = {  # fields of the models
    'philnet': {'widths': ((4, 4), (4, 8))},
    'resnet18': {'widths': (4, 8), 'stage_sizes': (1, 1)},
    'resnet50': {'widths': (4, 8), 'stage_sizes': (1, 1)},
    'vae': {'widths': (4, 4), 'latent_dim': 4},
}


def config_of(setting: Setting, name: str, *, dtype: str, batch_size: int):
    """The config of `train_throughput.py` on rendered images, for one device."""
    config = train_throughput.get_config(name, batch_size, '')
    config.data.n_train, config.data.n_test, config.data.n_validation = (
        (64, 32, 32) if setting.tiny else (2048, 128, 128)
    )
    config.model.dtype = dtype
    config.train.n_devices = 1
    if setting.tiny:
        make_tiny(config, name)
    return config


def make_tiny(config: ml_collections.ConfigDict, name: str) -> None:
    """Gives it a model that compiles in seconds."""
    for field, value in _TINY[name].items():
        config.model[field] = value


def task_of(setting: Setting, name: str, *, dtype: str = 'float32', batch_size: int) -> loop.Task:
    """The training task of that config."""
    return train_throughput.jax_task(name, config_of(setting, name, dtype=dtype, batch_size=batch_size))


class Dispatched:
    """Steps of a task on some devices: each call dispatches `steps` of them and returns what to wait for."""

    def __init__(self, task: loop.Task, used: Sequence[jax.Device], *, steps: int = 1) -> None:
        self.steps, self._used = steps, used
        self._step = devices.map_over_devices(task.train_step(), used, donate=(0,))
        arrays = (task.first_state(), dict(task.examples.arrays), run_key(0))
        self._state, self._arrays, self._key = devices.replicate(arrays, used)
        order = batches.epoch_order(task.examples.n, task.recipe.batch_size, seed=0, epoch=0)
        self._order, self._done = order, 0

    def __call__(self) -> jax.Array:
        """Dispatches the next steps."""
        now = (self._done + np.arange(self.steps)) % len(self._order)
        rows = self._order[now].reshape(self.steps, len(self._used), -1).swapaxes(0, 1)
        self._done += self.steps
        self._state, tick = self._step(self._state, self._arrays, np.ascontiguousarray(rows), self._key)
        return tick

    def metric_sums(self) -> dict[str, float]:
        """Sums of every metric over all steps so far."""
        return {name: float(total) for name, total in devices.unreplicate(self._state.metric_sums).items()}
