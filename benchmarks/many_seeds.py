r"""What several seeds in one program save: a run with `config.train.n_seeds` beside a run for each seed.

    python benchmarks/many_seeds.py --n_seeds 8 --rounds 2

Part 1, whole runs: DigitNet on rendered images of MNIST's size, once as one command with n_seeds=S, and once as S
commands one after the other. Each form begins with an empty compile cache of its own, which its later commands find
filled, as those of a sweep do. Seconds by the clock and of processor time (which other programs on the machine change
less), from the start of the first process to the end of the last.

Part 2, steps alone, in one process and compiled: one step of all seeds (a) by the program of one seed called for each
in turn, waiting for each, as separate processes would; (b) the same without waiting, as n_seeds does on a CPU; (c) by
`vmap` over the states, as n_seeds does elsewhere. All forms alternate. Writes benchmarks/results/many_seeds.json.
"""

import argparse
import importlib.util
import os
import pathlib
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from humalign_jax import allocator

allocator.keep_freed_memory()  # before jax is imported, as `humalign_jax.main` does

import jax  # noqa: E402
import numpy as np  # noqa: E402

from humalign_jax import devices, storage, workdir  # noqa: E402
from humalign_jax.experiments import train_classifier, train_vae  # noqa: E402
from humalign_jax.train import many_seeds  # noqa: E402
from humalign_jax.train.step import run_key  # noqa: E402

ROOT = pathlib.Path(__file__).parents[1]
RESULT = ROOT / 'benchmarks' / 'results' / 'many_seeds.json'
NETWORKS = {  # experiment, batch size, kind of image
    'digitnet': (train_classifier, 128, 'grey'),
    'vae': (train_vae, 64, 'rgb'),  # the tiny variant's widths
}


def whole_runs(n_seeds: int, n_train: int, epochs: float) -> dict:
    """Part 1."""
    with tempfile.TemporaryDirectory() as place:
        settings = [
            f'--config={ROOT}/configs/digitnet.py:tiny', f'--config.data.n_train={n_train}',
            '--config.data.n_validation=512', '--config.data.n_test=512', '--config.data.batch_size=128',
            f'--config.train.epochs={epochs}', '--config.train.log_every_steps=16',
        ]  # fmt: skip
        together = [[f'--workdir={place}/many', f'--config.train.n_seeds={n_seeds}']]
        apart = [[f'--workdir={place}/{seed}', f'--config.seed={seed}'] for seed in range(n_seeds)]
        found = {
            'one_command': _timed(together, settings, f'{place}/cache-1'),
            'a_command_for_each_seed': _timed(apart, settings, f'{place}/cache-2'),
        }
        for seed in range(n_seeds):
            rows = [pathlib.Path(place, run, 'metrics.jsonl').read_bytes() for run in (f'many/seed_{seed}', str(seed))]
            assert rows[0] == rows[1], f'the rows of seed {seed} differ'
    return {'n_train': n_train, 'epochs': epochs, 'steps_of_a_seed': int(epochs * ((n_train - 512) // 128)), **found}


def _timed(commands: list[list[str]], settings: list[str], cache: str) -> dict:
    environment = {**os.environ, 'JAX_COMPILATION_CACHE_DIR': cache, 'PYTHONPATH': str(ROOT)}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    for command in commands:
        subprocess.run(
            [sys.executable, '-m', 'humalign_jax.main', *settings, *command],
            env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(cache, ignore_errors=True)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {'clock_seconds': round(time.perf_counter() - started, 1), 'processor_seconds': round(processor, 1)}


def steps_alone(name: str, n_seeds: int, n_steps: int) -> dict:
    """Part 2."""
    experiment, batch_size, image = NETWORKS[name]
    spec = importlib.util.spec_from_file_location(name, ROOT / 'configs' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tasks = []
    for seed in range(n_seeds):
        config = module.get_config('tiny')
        config.seed, config.train.n_devices = seed, 1
        config.data.update(n_train=2048, n_test=100, n_validation=256, batch_size=batch_size, image=image)
        tasks.append(experiment.make_task(config))
    on, forms = tasks[0].recipe.devices, {}
    keys = np.stack([run_key(task.recipe.seed) for task in tasks])
    rows = many_seeds._rows_of_seeds(tasks, 0)[:, None, None]
    for form in ('one after the other', 'in turn', 'vmap'):
        states = many_seeds.Seeds(tuple(task.first_state() for task in tasks))
        step, arrays = many_seeds.map_seeds(tasks, states.states[0], together=form == 'vmap')
        if form == 'one after the other':
            step = _waiting(devices.map_over_devices(tasks[0].train_step(), on, donate=(0,)), n_seeds)
        on_devices = devices.replicate((states, {'seeds': arrays, 'epoch': np.int32(0)}, keys), on)
        forms[form] = [step, *on_devices]
    seconds: dict[str, list] = {form: [] for form in forms}
    for number in range(n_steps + 1):
        for form, (step, seeds, arrays, key) in forms.items():
            started = time.perf_counter(), time.process_time()
            forms[form][1] = jax.block_until_ready(step(seeds, arrays, rows[number % len(rows)], key)[0])
            seconds[form].append((time.perf_counter() - started[0], time.process_time() - started[1]))
    table = {}
    for form, measured in seconds.items():
        clock, processor = zip(*measured[1:])
        table[form] = {
            'first_call_seconds': round(measured[0][0], 2),
            'clock_ms': round(1e3 * statistics.median(clock), 1),
            'processor_ms': round(1e3 * statistics.median(processor), 1),
            'examples_per_second': round(n_seeds * batch_size / statistics.median(clock)),
        }
    return {'batch_size': batch_size, 'n_steps': n_steps, 'of_all_seeds': table}


def _waiting(step, n_seeds: int):
    """A call of one seed's step for each seed, each awaited before the next, as in processes of their own."""

    def train_step(seeds, arrays, rows, keys):
        states, rows = [], rows.reshape(1, 1, n_seeds, -1)
        for number, state in enumerate(seeds.states):
            key = keys[:, number]
            own = {**arrays['seeds'][number], 'epoch': arrays['epoch'], 'run_key': key}
            states.append(jax.block_until_ready(step(state, own, rows[:, :, number], key)[0]))
        return many_seeds.Seeds(tuple(states)), None

    return train_step


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--n_seeds', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=1, help='of the whole runs')
    parser.add_argument('--n_train', type=int, default=4608)
    parser.add_argument('--epochs', type=float, default=2.0)
    parser.add_argument('--n_steps', type=int, default=30)
    parser.add_argument('--networks', nargs='*', choices=NETWORKS, default=list(NETWORKS), help='of the steps alone')
    arguments = parser.parse_args()
    load = [os.getloadavg()]
    alone = {name: steps_alone(name, arguments.n_seeds, arguments.n_steps) for name in arguments.networks}
    load.append(os.getloadavg())
    runs = [whole_runs(arguments.n_seeds, arguments.n_train, arguments.epochs) for _ in range(arguments.rounds)]
    load.append(os.getloadavg())
    about = workdir.provenance(0)
    result = {
        'n_seeds': arguments.n_seeds,
        'hardware': {'processor': platform.processor() or platform.machine(), 'cores': os.cpu_count()},
        'devices': about['devices'],
        'versions': about['versions'],
        'load_average_of_1_5_15_minutes_before_between_and_after': load,
        'steps_alone': alone,
        'whole_runs': runs,
    }
    storage.write_json(RESULT, result)
    print(RESULT.read_text())


if __name__ == '__main__':
    main()
