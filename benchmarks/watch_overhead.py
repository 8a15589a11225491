r"""What watching alignment costs: the share of a run's time that goes into it, at real size with the default probe.

    python benchmarks/watch_overhead.py --root=/data --models=vae,resnet18 --epochs=0.2

Each run is an ordinary one on CIFAR-10 with CIFAR-10H, as long as asked for (a part of an epoch will do), with three
looks. Timers around a look, after the steps under way have ended, give its seconds; the first look compiles. An epoch's
seconds are those of the steps between the first two looks, without compilation, validation and checkpoints, so that
the shares err upwards. Writes benchmarks/results/watch_overhead.json: the share of a later epoch, and of a whole run of
the config's length, when alignment is looked at once an epoch; by the clock, and by processor time, which other
programs on the machine do not change.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import platform
import tempfile
import time

import jax
import numpy as np

from humalign_jax import devices, storage, workdir
from humalign_jax.experiments import train_classifier, train_vae
from humalign_jax.train import loop
from humalign_jax.wiring import training

ROOT = pathlib.Path(__file__).parents[1]
RESULT = ROOT / 'benchmarks' / 'results' / 'watch_overhead.json'
CONFIGS = {
    'vae': ('vae', 'full'),
    'philnet': ('philnet', 'full'),
    'resnet18': ('resnet', '18'),
    'resnet50': ('resnet', '50'),
}


def load_config(name: str):
    file, variant = CONFIGS[name]
    spec = importlib.util.spec_from_file_location(file, ROOT / 'configs' / f'{file}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


def measure(name: str, root: str, epochs: float) -> dict:
    """One watched run, in a folder that is thrown away."""
    config = load_config(name)
    whole_epochs = config.train.epochs
    config.data.root = root
    config.watch.every_epochs = epochs / 3
    steps_per_epoch = (50_000 - config.data.n_validation) // config.data.batch_size
    config.train.max_steps = round(epochs * steps_per_epoch)  # leaves the schedule as it is
    task = (train_vae if name == 'vae' else train_classifier).make_task(config)
    preparing = -now()
    watch = training.make_watch(task)
    preparing += now()
    assert watch is not None
    looks, began, ended, scores = [], [], [], []

    class Timed:
        split, bands, modes = watch.split, watch.bands, watch.modes

        def __call__(self, state):
            jax.block_until_ready(state.params)
            began.append(now())
            scores.append(watch(state))
            ended.append(now())
            looks.append(ended[-1] - began[-1])
            return scores[-1]

    timed = Timed()

    with tempfile.TemporaryDirectory() as folder:
        whole = -now()
        loop.fit(task, pathlib.Path(folder), timed)
        whole += now()
        (timing,) = storage.read_jsonl(pathlib.Path(folder) / 'timing.jsonl')
    n_looks, last = len(looks), scores[-1]
    # With everything compiled: what every later look costs.
    on_devices = jax.block_until_ready(devices.replicate(task.first_state(), task.recipe.devices))
    for _ in range(5):
        timed(on_devices)
    first, later = looks[0], np.median(looks[n_looks:], axis=0)
    n_steps_between = task.recipe.plan.watch_every
    rest = (began[1] - ended[0]) / n_steps_between * steps_per_epoch
    watching = preparing + first + later * (whole_epochs - 1)
    shares = {
        'share_of_a_later_epoch': later / (later + rest),
        'share_of_a_whole_run': watching / (watching + rest * whole_epochs),
    }
    seconds = {'run': whole, 'epoch': rest, 'preparing': preparing, 'first_look': first, 'later_look': later}
    return {
        'model': name,
        'epochs': epochs,
        'looks': n_looks,
        'config_epochs': whole_epochs,
        'probe': config.watch.to_dict(),
        'images_per_second': timing['examples_per_second'],
        'watch_seconds_by_the_run_itself': timing['watch_seconds'],
        'seconds': {key: dict(zip(('clock', 'processor'), value.round(3).tolist())) for key, value in seconds.items()},
        'shares': {key: dict(zip(('clock', 'processor'), value.round(5).tolist())) for key, value in shares.items()},
        'last_scores': {column: round(value, 4) for column, value in last.items()},
    }


def now() -> np.ndarray:
    """Seconds by the clock and of processor time, [2]."""
    return np.array([time.perf_counter(), time.process_time()])


def main() -> None:
    """Measures what is asked for, and adds it to what was measured before."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--root', default='')
    parser.add_argument('--models', default='vae,resnet18')
    parser.add_argument('--epochs', type=float, default=1.0)
    arguments = parser.parse_args()
    kept = json.loads(RESULT.read_text())['runs'] if RESULT.exists() else []
    for name in arguments.models.split(','):
        row = measure(name, arguments.root, arguments.epochs)
        print(json.dumps(row, indent=2))
        kept = [*(old for old in kept if old['model'] != name), row]
        about = workdir.provenance(0)
        hardware = {'processor': platform.processor() or platform.machine(), 'cores': os.cpu_count()}
        storage.write_json(
            RESULT,
            {'hardware': hardware, 'devices': about['devices'], 'versions': about['versions'], 'runs': kept},
        )


if __name__ == '__main__':
    main()
