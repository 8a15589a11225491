"""Train steps of the meta-learner beside the same model in PyTorch, in episodes per second.

    python benchmarks/metalearner_throughput.py --batch_size 16 --rounds 7

A step of ours draws its episodes, computes the loss and updates the parameters with AdamW. PyTorch gets its episodes
ready-made. Both have dropout of attention weights and two threads. Forms alternate A B A B in one process, so that a
busy machine slows all of them: trust the ratios, not the rates. Before timing, both models get the same weights and
must give the same loss. Writes benchmarks/results/metalearner_throughput.json.
"""

import argparse
import datetime
import importlib.util
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from humalign_jax import devices, storage
from humalign_jax.experiments import train_metalearner
from humalign_jax.train import loop
from humalign_jax.train.step import run_key

HERE = pathlib.Path(__file__).parent
FORMS = ('jax', 'torch', 'torch_without_dropout')


class TorchMetaLearner(nn.Module):
    """The published model in plain PyTorch, with the names of the Flax parameters."""

    def __init__(self, d: int, n_heads: int, dropout_rate: float) -> None:
        super().__init__()
        self.n_heads, self.dropout_rate = n_heads, dropout_rate
        self.embed, self.qkv, self.attention_out = nn.Linear(d + 1, d), nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.attention_norm, self.final_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.binary_head, self.magnitude_head = nn.Linear(d, 1), nn.Linear(d, 1)
        self.log_variance = nn.Parameter(torch.zeros(2))

    def forward(self, x: torch.Tensor, previous: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = self.embed(torch.cat([previous[..., None], x], dim=-1))
        b, t, d = h.shape
        qkv = self.qkv(self.attention_norm(h)).view(b, t, 3, self.n_heads, d // self.n_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        dropout = self.dropout_rate if self.training else 0.0
        y = F.scaled_dot_product_attention(_rotary(q), _rotary(k), v, is_causal=True, dropout_p=dropout)
        h = self.final_norm(h + self.attention_out(y.transpose(1, 2).reshape(b, t, d)))
        return self.binary_head(h)[..., 0], self.magnitude_head(h)[..., 0]

    def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        logit, magnitude = self(batch['x'], batch['previous'])
        bce = F.binary_cross_entropy_with_logits(logit, batch['binary'])
        squares = batch['binary'] * (magnitude - batch['magnitude']) ** 2
        mse, s = squares.sum() / batch['binary'].sum().clamp(min=1), self.log_variance
        return torch.exp(-s[0]) * bce + 0.5 * torch.exp(-s[1]) * mse + 0.5 * s.sum()

    def load_flax(self, params: dict[str, Any]) -> None:
        layers = {**params['block0'], **{name: value for name, value in params.items() if isinstance(value, dict)}}
        with torch.no_grad():
            for name, layer in self.named_children():
                kernel = layers[name].get('kernel')
                weight = layers[name]['scale'] if kernel is None else np.asarray(kernel).T
                layer.weight.copy_(torch.tensor(np.asarray(weight)))  # type: ignore[operator]
                layer.bias.copy_(torch.tensor(np.asarray(layers[name]['bias'])))  # type: ignore[operator]


def _rotary(x: torch.Tensor, base: float = 10_000.0) -> torch.Tensor:
    t, e = x.shape[-2:]
    angles = torch.arange(t)[:, None] * base ** (-torch.arange(0, e, 2) / e)
    even, odd, cos, sin = x[..., 0::2], x[..., 1::2], angles.cos(), angles.sin()
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


def get_task(batch_size: int, d: int, folder: pathlib.Path) -> loop.Task:
    """The published model on random features with simulated functions, in float32 for a CPU."""
    spec = importlib.util.spec_from_file_location('metalearner', HERE.parent / 'configs' / 'metalearner.py')
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config('paper')
    ids = np.array([f'simulated-concepts/train/{i:05d}' for i in range(4000)])
    values = np.random.default_rng(0).normal(size=(len(ids), d)).astype(np.float32)
    np.savez(folder / 'features.npz', values=values, ids=ids)
    config.data.update(features=str(folder / 'features.npz'), n_simulated=len(ids), batch_size=batch_size)
    config.functions.update(main='simulated', min_positives=20)
    config.model.dtype = 'float32'
    config.optimizer.name = 'adamw'
    config.optimizer.no_decay = ()
    config.train.n_devices = 1
    return train_metalearner.make_task(config)


def jax_step(task: loop.Task) -> Callable[[], None]:
    """One step of a task, called again and again."""
    used = task.recipe.devices
    mapped = devices.map_over_devices(task.train_step(), used, donate=(0,))
    state, arrays, key = devices.replicate((task.first_state(), dict(task.examples.arrays), run_key(0)), used)
    held = {'state': state}
    rows = np.zeros((1, 1, task.recipe.batch_size), np.int32)

    def step() -> None:
        held['state'], tick = mapped(held['state'], arrays, rows, key)
        jax.block_until_ready(tick)

    return step


def torch_step(network: TorchMetaLearner, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    """The same step in PyTorch, on one batch."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=2.5e-4, weight_decay=0.0)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        network.loss(batch).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--batch_size', type=int, default=16)
    parser.add_argument('--d', type=int, default=768)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--steps', type=int, default=2, help='steps of a form in each round')
    parser.add_argument('--folder', type=pathlib.Path, default=HERE / 'results')
    arguments = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    scratch = arguments.folder / 'unfinished'
    scratch.mkdir(exist_ok=True)
    task = get_task(arguments.batch_size, arguments.d, scratch)
    rows = np.arange(arguments.batch_size)
    keys = jax.random.split(jax.random.key(0), len(rows))
    batch = jax.jit(task.examples.make_batch)(dict(task.examples.arrays), rows, keys)
    in_torch = {name: torch.tensor(np.asarray(value)) for name, value in batch.items()}
    (scratch / 'features.npz').unlink()
    scratch.rmdir()

    state = task.first_state()
    networks = {form: TorchMetaLearner(arguments.d, 16, rate) for form, rate in zip(FORMS[1:], (0.1, 0.0))}
    for network in networks.values():
        network.load_flax(state.params)
    objective = task.make_objective(task.model.clone(dropout_rate=0.0))
    ours = float(jax.jit(objective)(state.params, {}, batch, None, 0)[0])
    theirs = float(networks['torch_without_dropout'].loss(in_torch).detach())
    assert abs(ours - theirs) < 1e-4 * abs(ours), f'the models differ: loss {ours} and {theirs}'

    steps = {'jax': jax_step(task), **{form: torch_step(network, in_torch) for form, network in networks.items()}}
    for step in steps.values():
        step()
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    cpu_seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    for _ in range(arguments.rounds):
        for form, step in steps.items():
            started, used = time.perf_counter(), time.process_time()
            for _ in range(arguments.steps):
                step()
            seconds[form].append(time.perf_counter() - started)
            cpu_seconds[form].append(time.process_time() - used)
    n = arguments.steps * arguments.batch_size
    rates = {form: round(n / statistics.median(seconds[form]), 2) for form in FORMS}
    per_cpu = {form: round(n / statistics.median(cpu_seconds[form]), 2) for form in FORMS}
    row = {
        'date': datetime.date.today().isoformat(),
        'd': arguments.d,
        'length': 120,
        'batch_size': arguments.batch_size,
        'rounds': arguments.rounds,
        'n_cpus': len(os.sched_getaffinity(0)),
        'load': round(os.getloadavg()[0], 1),
        'machine': platform.machine(),
        'versions': {'jax': jax.__version__, 'torch': torch.__version__, 'python': platform.python_version()},
        'loss': {'jax': ours, 'torch': theirs},
        'episodes_per_second': rates,
        'episodes_per_cpu_second': per_cpu,
        'ratio_of_rounds': {
            form: [round(b / a, 2) for a, b in zip(seconds['jax'], seconds[form])] for form in FORMS[1:]
        },
    }
    storage.write_json(arguments.folder / 'metalearner_throughput.json', row)
    for form in FORMS:
        print(f'{form}: {rates[form]} episodes/s, {per_cpu[form]} per CPU second')


if __name__ == '__main__':
    main()
