"""Whole train steps beside the same steps in PyTorch, and what a run costs beyond its steps.

    python benchmarks/train_throughput.py --batch_size 64 --rounds 7
    python benchmarks/train_throughput.py --models digitnet deconv --batch_size 128 --rounds 60 --name train_small
    python benchmarks/train_throughput.py --part overhead --root DIR    # DIR holds CIFAR-10

A step takes rows of uint8 images that stay on the device, crops, flips and normalises them, and updates the parameters
with AdamW (VAE: flip only; DigitNet: crop only). All forms alternate A B A B in one process, so that a busy machine
slows all of them: trust the ratios, not the rates. Freed memory is kept for the next step, as in a run, for PyTorch
too. Rates of arithmetic count the operations of a step with direct convolutions; a plain product of two matrices
alternates with the steps for comparison. Writes benchmarks/results/<name>.json, or train_overhead.json.
"""

import argparse
import dataclasses
import datetime
import importlib.util
import os
import pathlib
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Callable

from humalign_jax import allocator

KEPT_MEMORY = allocator.keep_freed_memory()  # before jax is imported, as `humalign_jax.main` does

import jax  # noqa: E402
import numpy as np  # noqa: E402

from humalign_jax import devices, storage  # noqa: E402
from humalign_jax.experiments import train_classifier, train_deconv, train_vae  # noqa: E402
from humalign_jax.train import batches, loop  # noqa: E402
from humalign_jax.train.step import run_key  # noqa: E402

HERE = pathlib.Path(__file__).parent
CONFIGS = {  # file and variant in configs/
    'philnet': ('philnet', 'full'),
    'vae': ('vae', 'full'),
    'resnet18': ('resnet', '18'),
    'resnet50': ('resnet', '50'),
    'digitnet': ('digitnet', 'full'),
    'deconv': ('deconv', 'full'),
}
EXPERIMENTS = {'vae': train_vae, 'deconv': train_deconv}  # of the others: train_classifier


def get_config(name: str, batch_size: int, root: str):
    """The study's own config, on real images where there are some, with AdamW for every network."""
    file, variant = CONFIGS[name]
    spec = importlib.util.spec_from_file_location(file, HERE.parent / 'configs' / f'{file}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(variant)
    if root:
        config.data.root = root
    else:
        config.data.name = 'synthetic'
        config.data.n_train, config.data.n_test, config.data.n_validation = 4096, 512, 512
        config.data.image = 'grey' if name == 'digitnet' else 'rgb'
    config.data.batch_size = batch_size
    config.optimizer.name = 'adamw'
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_epochs = 0.0
    return config


def jax_task(name: str, config) -> loop.Task:
    """Our task, from the same wiring that an experiment uses."""
    return EXPERIMENTS.get(name, train_classifier).make_task(config)


def jax_step(task: loop.Task) -> Callable[[], None]:
    """One step of a task, called again and again."""
    used, n = task.recipe.devices, task.examples.n
    mapped = devices.map_over_devices(task.train_step(), used, donate=(0,))
    order = batches.epoch_order(n, task.recipe.batch_size, seed=0, epoch=0)
    state, resident, key = devices.replicate((task.first_state(), dict(task.examples.arrays), run_key(0)), used)
    held = {'state': state, 'i': 0}

    def step() -> None:
        rows = order[held['i'] % len(order)].reshape(1, len(used), -1).swapaxes(0, 1)
        held['state'], tick = mapped(held['state'], resident, np.ascontiguousarray(rows), key)
        held['i'] += 1
        jax.block_until_ready(tick)

    return step


def n_operations(task: loop.Task) -> float:
    """Floating-point operations of a step with direct convolutions, as a GPU's program has them."""
    step = jax.vmap(task.train_step(), axis_name=devices.AXIS, in_axes=(None, None, 0, None))
    rows = jax.ShapeDtypeStruct((1, 1, task.recipe.batch_size), np.int32)
    traced = jax.jit(step).trace(task.first_state(), dict(task.examples.arrays), rows, run_key(0))
    return traced.lower(lowering_platforms=('cuda',)).cost_analysis()['flops']


def product_step(n: int = 2048) -> Callable[[], None]:
    """One product of two n x n matrices in float32."""
    a = jax.random.normal(jax.random.key(0), (n, n))
    product = jax.jit(jax.numpy.matmul)
    return lambda: jax.block_until_ready(product(a, a))


def torch_step(name: str, task: loop.Task, config, form: str) -> Callable[[], None]:
    """The same step written for PyTorch: form 'eager', 'channels_last' or 'compiled' (channels_last too)."""
    import torch
    import torch_networks

    torch.set_flush_denormal(True)  # as XLA does; else smooth synthetic images make PyTorch up to ten times slower
    twins = {
        'philnet': torch_networks.TorchPhilNet,
        'vae': torch_networks.TorchVAE,
        'resnet18': torch_networks.TorchResNet,
        'resnet50': lambda: torch_networks.TorchResNet((3, 4, 6, 3), bottleneck=True),
        'digitnet': torch_networks.TorchDigitNet,
        'deconv': torch_networks.TorchDeconv,
    }
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    layout = torch.contiguous_format if form == 'eager' else torch.channels_last
    module = twins[name]().to(device, memory_format=layout).train()
    forward = torch.compile(module) if form == 'compiled' else module
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, weight_decay=config.optimizer.weight_decay)
    images = torch.from_numpy(task.examples.arrays['image'].transpose(0, 3, 1, 2).copy()).to(device)
    labels = torch.from_numpy(task.examples.arrays['label']).long().to(device)
    shape = (1, -1, 1, 1)
    mean = torch.tensor(config.preprocess.mean, device=device).reshape(shape)
    std = torch.tensor(config.preprocess.std, device=device).reshape(shape)
    pad = config.preprocess.crop_padding_px
    order = batches.epoch_order(task.examples.n, task.recipe.batch_size, seed=0, epoch=0).astype(np.int64)
    held = {'i': 0}

    def augment(x):
        b, _, h, w = x.shape
        if pad:
            x = torch.nn.functional.pad(x, (pad, pad, pad, pad))
            top, left = torch.randint(0, 2 * pad + 1, (2, b, 1, 1), device=device)
            ys = (top + torch.arange(h, device=device).reshape(1, h, 1)).expand(b, h, w)
            xs = (left + torch.arange(w, device=device).reshape(1, 1, w)).expand(b, h, w)
            x = x[torch.arange(b, device=device).reshape(b, 1, 1), :, ys, xs].permute(0, 3, 1, 2)
        if config.preprocess.flip:
            flipped = torch.rand(b, 1, 1, 1, device=device) < 0.5
            x = torch.where(flipped, x.flip(3), x)
        return ((x.float() / 255 - mean) / std).contiguous(memory_format=layout)

    def step() -> None:
        rows = torch.from_numpy(order[held['i'] % len(order)]).to(device)
        held['i'] += 1
        x = augment(images[rows])
        optimizer.zero_grad(set_to_none=True)
        out = forward(x)
        if name == 'vae':
            recon, mean_code, logvar = out
            kl = 0.5 * (logvar.exp() + mean_code**2 - 1.0 - logvar).sum()
            loss = ((recon - x).abs().sum() + kl) / len(x)
        elif name == 'deconv':
            logits, recon = out
            mse = torch.nn.functional.mse_loss(recon, x)
            loss = torch.nn.functional.cross_entropy(logits, labels[rows])
            loss = loss + config.objective.reconstruction_weight * mse
        else:
            loss = torch.nn.functional.cross_entropy(out, labels[rows])
        loss.backward()
        optimizer.step()
        if device == 'cuda':
            torch.cuda.synchronize()

    return step


def alternate(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(wall, CPU) seconds of every form in every round, after two unmeasured rounds."""
    times: dict[str, list[tuple[float, float]]] = {form: [] for form in steps}
    for r in range(rounds + 2):
        for form, step in steps.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            if r >= 2:
                times[form].append((time.perf_counter() - wall, time.process_time() - cpu))
    return times


def summary(times: dict[str, list[tuple[float, float]]], n_images: int) -> dict[str, dict[str, float]]:
    """Rates, and the median over rounds of the ratio between our rate and each form's."""
    return {
        form: {
            'images_per_second_median': n_images / statistics.median(wall for wall, _ in rows),
            'images_per_second_best': n_images / min(wall for wall, _ in rows),
            'images_per_cpu_second': n_images / statistics.median(cpu for _, cpu in rows),
            'our_rate_over_this': statistics.median(o / j for (o, _), (j, _) in zip(rows, times['jax'])),
            'our_rate_over_this_per_cpu_second': statistics.median(o / j for (_, o), (_, j) in zip(rows, times['jax'])),
        }
        for form, rows in times.items()
    }


def gflop_per_second(n: float, rows: list[tuple[float, float]]) -> float:
    """Median rate of n operations, by wall time."""
    return n / 1e9 / statistics.median(wall for wall, _ in rows)


def compare(args: argparse.Namespace) -> None:
    """Train steps of each network, ours and PyTorch's in turn."""
    results = {}
    for name in args.models:
        config = get_config(name, args.batch_size, args.root)
        task = jax_task(name, config)
        steps = {'jax': jax_step(task)}
        steps |= {f'torch_{form}': torch_step(name, task, config, form) for form in args.forms}
        times = alternate({**steps, 'product': product_step()}, args.rounds)
        products = times.pop('product')
        results[name] = summary(times, args.batch_size)
        for form, rows in times.items():
            results[name][form]['gflop_per_second'] = gflop_per_second(n_operations(task), rows)
        results[name]['product'] = {'gflop_per_second': gflop_per_second(2 * 2048**3, products)}
        for form, row in results[name].items():
            print(name, form, {key: round(value, 2) for key, value in row.items()}, flush=True)
    write(args.name, args, {'what': 'whole train steps, float32, AdamW', 'results': results})


def overhead(args: argparse.Namespace) -> None:
    """A run's time over the time of its bare steps: loading, rows, logging, TensorBoard and checkpoints."""
    results = {}
    for name in args.models:
        config = get_config(name, args.batch_size, args.root)
        task = jax_task(name, config)
        n_steps = args.steps
        durations = dict(last_step=n_steps, total_steps=n_steps, eval_every=n_steps, checkpoint_every=n_steps // 2)
        recipe = dataclasses.replace(task.recipe, plan=dataclasses.replace(task.recipe.plan, **durations))
        nothing = {recipe.best_metric: 0.0}
        task = dataclasses.replace(task, recipe=recipe, pictures=None, evaluate=lambda _, nothing=nothing: nothing)
        step = jax_step(task)
        step()
        bare, whole = [], []
        for r in range(args.rounds + 1):
            start = time.perf_counter()
            for _ in range(n_steps):
                step()
            middle = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                loop.fit(task, pathlib.Path(folder))
                seconds = storage.read_jsonl(pathlib.Path(folder) / 'timing.jsonl')[0]['seconds']
            if r:  # the first round compiles
                bare.append(middle - start)
                whole.append(seconds)
        shares = [w / b - 1 for w, b in zip(whole, bare)]
        results[name] = {'bare_seconds': bare, 'run_seconds': whole, 'overhead_median': statistics.median(shares)}
        print(name, f'{n_steps} steps, overhead', [f'{share:+.1%}' for share in shares], flush=True)
    what = f'{args.steps} steps with 2 checkpoints and a row every 50 steps, over the same steps alone'
    write('train_overhead', args, {'what': what, 'results': results})


def write(name: str, args: argparse.Namespace, record: dict) -> None:
    """Writes one result with the machine it was measured on."""
    common = {'date': datetime.date.today().isoformat(), 'batch_size': args.batch_size, 'rounds': args.rounds}
    common['kept_memory'] = KEPT_MEMORY
    data = 'CIFAR-10' if args.root else 'rendered images'
    storage.write_json(args.output / f'{name}.json', {**common, 'data': data, 'machine': machine(), **record})


def machine() -> dict[str, object]:
    """Hardware and versions."""
    cpuinfo = pathlib.Path('/proc/cpuinfo')
    names = re.findall(r'model name\s*:\s*(.+)', cpuinfo.read_text()) if cpuinfo.exists() else []
    found = {
        'cpu': names[0] if names else platform.processor(),
        'cpu_count': os.cpu_count(),
        'load_average': os.getloadavg(),
        'jax_device': jax.devices()[0].device_kind,
        'python': platform.python_version(),
        'jax': jax.__version__,
    }
    if importlib.util.find_spec('torch'):
        import torch

        found['torch'] = torch.__version__
        found['torch_device'] = torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu'
        found['torch_threads'] = torch.get_num_threads()
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--part', choices=('steps', 'overhead'), default='steps')
    parser.add_argument('--models', nargs='+', default=['philnet', 'vae', 'resnet18'], choices=CONFIGS)
    parser.add_argument('--forms', nargs='+', default=['eager', 'channels_last'], help='of PyTorch; also: compiled')
    parser.add_argument('--batch_size', type=int, default=64)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--name', default='train_throughput', help='of the result, for --part steps')
    parser.add_argument('--steps', type=int, default=100, help='of one run, for --part overhead')
    parser.add_argument('--root', default='', help='folder with CIFAR-10; without it, rendered images')
    parser.add_argument('--output', type=pathlib.Path, default=HERE / 'results')
    args = parser.parse_args()
    (compare if args.part == 'steps' else overhead)(args)


if __name__ == '__main__':
    main()
