"""Training speed of the networks (forward and backward pass) beside the same networks in PyTorch.

    python benchmarks/model_speed.py --models philnet vae resnet18 --batch_size 32 --rounds 7

All runs alternate A B A B in one process, so that a busy machine slows all of them; trust the ratios, not the rates.
Writes benchmarks/results/model_speed.json.
"""

import argparse
import datetime
import os
import pathlib
import platform
import re
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch_networks

from humalign_jax import models, storage

TWINS = {
    'philnet': torch_networks.TorchPhilNet,
    'vae': torch_networks.TorchVAE,
    'resnet18': torch_networks.TorchResNet,
    'resnet50': lambda: torch_networks.TorchResNet((3, 4, 6, 3), bottleneck=True),
}
TORCH_DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
RESULT = pathlib.Path(__file__).parent / 'results' / 'model_speed.json'


def jax_step(name: str, image: np.ndarray, label: np.ndarray) -> Callable[[], None]:
    model = models.make_model(name)
    variables = jax.jit(model.init)(jax.random.key(0), image[:2])
    image, label = jnp.asarray(image), jnp.asarray(label)

    def loss(params: dict, rng: jax.Array) -> tuple[jax.Array, dict]:
        keys = jax.random.split(rng, len(image))
        variables_now = {**variables, 'params': params}
        out, state = model.apply(variables_now, image, train=True, keys=keys, mutable=['batch_stats'])
        if name == 'vae':
            recon, mean, logvar = out
            kl = 0.5 * jnp.sum(jnp.exp(logvar) + mean**2 - 1.0 - logvar)
            return (jnp.abs(recon - image).sum() + kl) / len(image), state
        return -jnp.take_along_axis(jax.nn.log_softmax(out), label[:, None], axis=1).mean(), state

    value_and_grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
    rng = jax.random.key(1)
    return lambda: jax.block_until_ready(value_and_grad(variables['params'], rng))


def torch_step(name: str, image: np.ndarray, label: np.ndarray, form: str) -> Callable[[], None]:
    layout = torch.channels_last if form != 'eager' else torch.contiguous_format
    module = TWINS[name]().to(TORCH_DEVICE, memory_format=layout).train()
    x = torch.from_numpy(image.transpose(0, 3, 1, 2).copy()).to(TORCH_DEVICE, memory_format=layout)
    target = torch.from_numpy(label).long().to(TORCH_DEVICE)
    forward = torch.compile(module) if form == 'compiled' else module

    def step() -> None:
        module.zero_grad(set_to_none=True)
        out = forward(x)
        if name == 'vae':
            recon, mean, logvar = out
            kl = 0.5 * (logvar.exp() + mean**2 - 1.0 - logvar).sum()
            loss = ((recon - x).abs().sum() + kl) / len(x)
        else:
            loss = torch.nn.functional.cross_entropy(out, target)
        loss.backward()
        if TORCH_DEVICE == 'cuda':
            torch.cuda.synchronize()

    return step


def measure(steps: dict[str, Callable[[], None]], rounds: int, batch_size: int) -> dict[str, dict[str, float]]:
    """Median rates, and ratios of rates within a round, after two unmeasured rounds."""
    wall = {form: [] for form in steps}
    cpu = {form: [] for form in steps}
    for r in range(rounds + 2):
        for form, step in steps.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            step()
            if r >= 2:
                wall[form].append(time.perf_counter() - start)
                cpu[form].append(time.process_time() - cpu_start)
    return {
        form: {
            'images_per_second': batch_size / statistics.median(wall[form]),
            'images_per_second_best': batch_size / min(wall[form]),
            'images_per_cpu_second': batch_size / statistics.median(cpu[form]),
            'jax_rate_over_this': statistics.median(t / j for t, j in zip(wall[form], wall['jax'])),
        }
        for form in steps
    }


def machine() -> dict[str, object]:
    cpuinfo = pathlib.Path('/proc/cpuinfo')
    names = re.findall(r'model name\s*:\s*(.+)', cpuinfo.read_text()) if cpuinfo.exists() else []
    return {
        'cpu': names[0] if names else platform.processor(),
        'cpu_count': os.cpu_count(),
        'load_average': os.getloadavg(),
        'jax_device': jax.devices()[0].device_kind,
        'torch_device': torch.cuda.get_device_name()
        if TORCH_DEVICE == 'cuda'
        else f'cpu, {torch.get_num_threads()} threads',
        'python': platform.python_version(),
        'jax': jax.__version__,
        'torch': torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', nargs='+', default=['philnet', 'vae', 'resnet18'], choices=TWINS)
    parser.add_argument('--forms', nargs='+', default=['eager', 'channels_last'], help='of PyTorch; also: compiled')
    parser.add_argument('--batch_size', type=int, default=32)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--output', type=pathlib.Path, default=RESULT)
    args = parser.parse_args()

    np_rng = np.random.default_rng(0)
    image = np_rng.uniform(size=(args.batch_size, 32, 32, 3)).astype(np.float32)
    label = np_rng.integers(10, size=args.batch_size).astype(np.int32)
    results = {}
    for name in args.models:
        steps = {'jax': jax_step(name, image, label)}
        steps |= {f'torch_{form}': torch_step(name, image, label, form) for form in args.forms}
        results[name] = measure(steps, args.rounds, args.batch_size)
        for form, row in results[name].items():
            print(name, form, {key: round(value, 2) for key, value in row.items()}, flush=True)
    record = {
        'date': datetime.date.today().isoformat(),
        'what': 'forward and backward pass in training mode, float32, no optimizer',
        'batch_size': args.batch_size,
        'rounds': args.rounds,
        'machine': machine(),
        'results': results,
    }
    storage.write_json(args.output, record)


if __name__ == '__main__':
    main()
