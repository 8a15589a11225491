"""Times the Interpretability Index of 512 units over 10,000 images, beside a loop over units in PyTorch.

    python benchmarks/interpretability.py --lpips=DIR --data=DIR    # weights (third_party/lpips), CIFAR-10
    python benchmarks/interpretability.py --lpips=DIR --quick         # made-up images, a tenth of the work

Both ways start from the activations of 512 units (rectified sums of random pixels) and from uint8 images, and end with
II-LPIPS of each unit by AlexNet. The loop does what the seed does for every unit: it builds LPIPS anew, and reads both
images of all 25 ordered pairs of its five images. It runs over a few units, and its time is extrapolated. A second loop
keeps one LPIPS. `torch_lpips` is also the reference of tests/models/test_lpips.py: `--check` prints its values.
"""

import argparse
import json
import pathlib
import time

import numpy as np
import rsa as bench
import torch
import torch.nn.functional as F

from humalign_jax import data
from humalign_jax.interpret import index, mei
from humalign_jax.models import lpips

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
N_UNITS, N_MEIS = 512, 5


def torch_lpips(net, arrays):
    """`(a, b) [n, 3, h, w] in [-1, 1] -> [n]`, written as the LPIPS repository does."""
    weights = {name: torch.from_numpy(np.asarray(array, np.float32)) for name, array in arrays.items()}
    shift, scale = (torch.tensor(value).reshape(1, 3, 1, 1) for value in (SHIFT, SCALE))

    def conv(x, name, stride=1, padding=1):
        return F.relu(F.conv2d(x, weights[f'{name}.weight'], weights[f'{name}.bias'], stride, padding))

    def fire(x, name):
        x = conv(x, f'{name}.squeeze', padding=0)
        return torch.cat([conv(x, f'{name}.expand1x1', padding=0), conv(x, f'{name}.expand3x3')], dim=1)

    def alex(x):
        x = conv(x, 'features.0', 4, 2)
        yield x
        x = conv(F.max_pool2d(x, 3, 2), 'features.3', 1, 2)
        yield x
        x = conv(F.max_pool2d(x, 3, 2), 'features.6')
        yield x
        for name in ('features.8', 'features.10'):
            x = conv(x, name)
            yield x

    def vgg(x):
        for number, names in enumerate(((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))):
            x = F.max_pool2d(x, 2, 2) if number else x
            for name in names:
                x = conv(x, f'features.{name}')
            yield x

    def squeeze(x):
        x = conv(x, 'features.0', 2, 0)
        yield x
        for names in ((3, 4), (6, 7), (9,)):
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            for name in names:
                x = fire(x, f'features.{name}')
            yield x
        for name in (10, 11, 12):
            x = fire(x, f'features.{name}')
            yield x

    trunk = {'alex': alex, 'vgg': vgg, 'squeeze': squeeze}[net]

    def unit(x):
        return x / (torch.sqrt(torch.sum(x**2, dim=1, keepdim=True)) + 1e-10)

    def distance(a, b):
        total = torch.zeros(len(a))
        taps = zip(trunk((a - shift) / scale), trunk((b - shift) / scale))
        for number, (of_a, of_b) in enumerate(taps):
            squared = (unit(of_a) - unit(of_b)) ** 2 * weights[f'lin{number}'].reshape(1, -1, 1, 1)
            total += squared.sum(dim=1).mean(dim=(1, 2))
        return total

    return distance


def random_arrays(net, seed):
    """Random weights by PyTorch's names, of a size at which activations keep their scale."""
    np_rng = np.random.RandomState(seed)
    arrays = {}
    for name, shape in lpips.shapes(net).items():
        values = np_rng.standard_normal(shape)
        fan_in = np.prod(shape[1:]) if len(shape) > 1 else 100
        arrays[name] = (np.abs(values) if name.startswith('lin') else values * np.sqrt(2 / fan_in)).astype(np.float32)
    return arrays


def random_pairs(n, size, seed):
    """Images [n, size, size, 3] in [-1, 1], twice."""
    np_rng = np.random.RandomState(seed)
    return [np_rng.uniform(-1, 1, (n, size, size, 3)).astype(np.float32) for _ in range(2)]


def check():
    """Values of PyTorch and ours with random weights."""
    for net in lpips.NETS:
        arrays, (a, b) = random_arrays(net, 0), random_pairs(2, 64, 1)
        with torch.no_grad():
            theirs = torch_lpips(net, arrays)(*(torch.from_numpy(x).permute(0, 3, 1, 2) for x in (a, b))).numpy()
        ours = np.asarray(lpips.distance(lpips.make_lpips(net, arrays), a, b))
        print(f'{net}: PyTorch {theirs.tolist()}, here {ours.tolist()}, {np.abs(ours / theirs - 1).max():.1e} apart')


def torch_arrays(folder):
    """AlexNet's weights by PyTorch's names."""
    with np.load(pathlib.Path(folder) / 'alexnet_features.npz') as file:
        arrays = {name: file[name] for name in file.files}
    with np.load(pathlib.Path(folder) / lpips.HEADS) as file:
        return {**arrays, **{f'lin{tap}': file[f'alex.lin{tap}'] for tap in range(5)}}


def by_us(activations, images, folder):
    """II of all units, with the seconds of its parts."""
    start = time.perf_counter()
    meis = mei.most_exciting(activations, N_MEIS)
    sorted_at = time.perf_counter()
    embed = lpips.make_embed(lpips.load_lpips('alex', folder), size_px=64)
    distance = index.embedded_distance('lpips', embed, images, meis.rows, batch_size=250, max_bytes=4e9)
    embedded_at = time.perf_counter()
    mean = index.mean_distance(distance, meis.rows)
    parts = {'most exciting images': sorted_at - start, 'LPIPS of distinct images': embedded_at - sorted_at}
    return mean, meis, {**parts, 'pairs': time.perf_counter() - embedded_at, 'n_distinct': len(distance.vectors)}


def by_loop(meis, images, folder, *, rebuild):
    """Mean LPIPS over all ordered pairs of each unit's images, unit by unit."""
    metric, found = None, []
    for rows in meis.rows:
        if metric is None or rebuild:
            metric = torch_lpips('alex', torch_arrays(folder))
        x = torch.from_numpy(images[rows]).permute(0, 3, 1, 2).float()
        x = F.interpolate(x, (64, 64), mode='bilinear', align_corners=False) / 127.5 - 1.0
        first, second = np.divmod(np.arange(N_MEIS**2), N_MEIS)
        with torch.no_grad():
            found.append(float(metric(x[first], x[second]).mean()))
    return np.array(found)


def timed(function):
    """Result, seconds, and seconds of CPU of all threads, which other programs on the machine hardly change."""
    start, of_cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, time.perf_counter() - start, time.process_time() - of_cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--lpips', default='', help='folder with the weights of LPIPS')
    parser.add_argument('--data', default='', help='folder with CIFAR-10; made-up images without it')
    parser.add_argument('--quick', action='store_true', help='a tenth of the units and images')
    parser.add_argument('--check', action='store_true', help='only compare LPIPS with random weights')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--loop', type=int, default=32, help='units of the loops')
    parser.add_argument('--torch_threads', type=int, default=2, help='1 on a busy machine, where idle threads spin')
    parser.add_argument('--out', default=str(bench.RESULTS / 'interpretability.json'))
    options = parser.parse_args()
    if options.check:
        check()
        return
    torch.set_num_threads(options.torch_threads)
    tenth = 10 if options.quick else 1
    if options.data:
        images = data.load('cifar10', 'test', root=options.data).images[: 10_000 // tenth]
    else:
        images = np.random.default_rng(0).integers(0, 256, (10_000 // tenth, 32, 32, 3), dtype=np.uint8)
    pixels = images.reshape(len(images), -1).astype(np.float32) / 255.0
    weights = np.random.default_rng(1).normal(size=(pixels.shape[1], N_UNITS // tenth)).astype(np.float32)
    activations = np.maximum((pixels - pixels.mean(axis=0)) @ weights, 0.0)
    some = mei.most_exciting(activations, N_MEIS)
    some = mei.Meis(*(values[: options.loop] for values in (some.rows, some.values, some.is_dead, some.is_tied)))
    rows, n_units = {}, activations.shape[1]
    for number in range(options.rounds + 1):  # the first one compiles
        (mean, _, parts), seconds, of_cpu = timed(lambda: by_us(activations, images, options.lpips))
        found = {'humalign_jax': {'seconds': seconds, 'cpu_seconds': of_cpu, 'units_run': n_units, **parts}}
        if number == 0:
            rows['humalign_jax, first call with compilation'] = found['humalign_jax']
            continue
        for name, rebuild in (('loop, LPIPS rebuilt for each unit', True), ('loop, one LPIPS', False)):
            call = {'rebuild': rebuild}
            theirs, seconds, of_cpu = timed(lambda call=call: by_loop(some, images, options.lpips, **call))
            factor = n_units / len(theirs)
            difference = float(np.abs(theirs - index.seed_compat(mean[: len(theirs)], N_MEIS)).max())
            found[name] = {'seconds': seconds * factor, 'cpu_seconds': of_cpu * factor, 'units_run': len(theirs)}
            found[name]['largest_difference'] = difference
        for name, row in found.items():
            print(f'{name:34s} {row["seconds"]:8.2f} s, {row["cpu_seconds"]:.2f} s of CPU', flush=True)
            if name not in rows or row['cpu_seconds'] < rows[name]['cpu_seconds']:
                rows[name] = row
    about = {
        'torch_threads': options.torch_threads,
        'n_units': n_units,
        'n_images': len(images),
        'data': 'CIFAR-10, test' if options.data else 'made up',
    }
    print(json.dumps(rows, indent=1))
    pathlib.Path(options.out).write_text(json.dumps({**about, **bench.describe(), 'rows': rows}, indent=1) + '\n')


if __name__ == '__main__':
    main()
