"""Speed of training beside PyTorch, and the accuracy of whole runs."""

import contextlib
import pathlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from unittest import mock

import jax
import ml_collections
import train_throughput

from gpu_parts.setting import Setting, get_config
from gpu_parts.tasks import Dispatched, config_of, make_tiny
from humalign_jax import storage, workdir
from humalign_jax.experiments import train_classifier

BATCH_SIZE = 128
PRECISIONS = {  # a model's dtype, and the precision of its products
    'tf32': ('float32', 'tensorfloat32'),
    'bfloat16': ('bfloat16', 'default'),
    'float32': ('float32', 'highest'),
}
NETWORKS = ('philnet', 'resnet18', 'vae', 'resnet50')


def throughput(setting: Setting) -> None:
    """Whole train steps, ours and PyTorch's: each network once first, then other precisions and dispatches."""
    order = [(name, precision, 8) for precision in ('tf32', 'bfloat16') for name in NETWORKS]
    order += [(name, 'bfloat16', steps) for steps in (64, 1) for name in NETWORKS[:3]]
    order += [(name, 'float32', 8) for name in NETWORKS]
    everything = [(name, precision, steps) for steps in (1, 64) for precision in PRECISIONS for name in NETWORKS]
    if setting.tiny:
        order = [('philnet', 'tf32', 8), ('vae', 'bfloat16', 8), ('resnet50', 'float32', 1)]
        everything = []
    for name, precision, steps in dict.fromkeys([*order, *everything]):
        with setting.trying(f'{name}, {precision}, {steps} steps a dispatch'):
            _ours(setting, name, precision, steps)
        if (name, precision, steps) in order and (steps == 8 or setting.tiny):
            with setting.trying(f'{name}, {precision}, PyTorch'):
                _pytorch(setting, name, precision)


def _ours(setting: Setting, name: str, precision: str, steps: int) -> None:
    dtype, matmul = PRECISIONS[precision]
    batch_size = 4 if setting.tiny else BATCH_SIZE
    task = train_throughput.jax_task(name, config_of(setting, name, dtype=dtype, batch_size=batch_size))
    with jax.default_matmul_precision(matmul):
        dispatched = Dispatched(task, jax.devices()[:1], steps=2 if setting.tiny and steps > 1 else steps)
        start = time.perf_counter()
        jax.block_until_ready(dispatched())
        compiling = time.perf_counter() - start
        seconds = _seconds_a_call(dispatched, jax.block_until_ready, 0.05 if setting.tiny else 0.5)
    rate = dispatched.steps * batch_size / seconds
    setting.row(
        f'{name}, {precision}, {dispatched.steps} steps a dispatch',
        f'{rate:,.0f} images/s, {seconds / dispatched.steps * 1e3:.2f} ms a step',
        f'first call {compiling:.1f} s',
        images_per_second=rate,
    )


def _pytorch(setting: Setting, name: str, precision: str) -> None:
    """The same network in PyTorch, channels_last, where it is installed."""
    what = f'{name}, {precision}, PyTorch'
    try:
        import torch
    except ImportError:
        setting.row(what, skipped='PyTorch is not installed')
        return
    on_gpu = torch.cuda.is_available()
    if not (on_gpu or setting.tiny):
        setting.row(what, skipped=f'PyTorch {torch.__version__} finds no GPU')
        return
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != 'float32'
    torch.backends.cudnn.benchmark = True
    batch_size = 4 if setting.tiny else BATCH_SIZE
    config = config_of(setting, name, dtype='float32', batch_size=batch_size)
    step = train_throughput.torch_step(name, train_throughput.jax_task(name, config), config, 'channels_last')
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    with contextlib.ExitStack() as stack:
        if precision == 'bfloat16':
            stack.enter_context(torch.autocast('cuda' if on_gpu else 'cpu', dtype=torch.bfloat16))
        stack.enter_context(mock.patch('torch.cuda.synchronize'))  # steps run ahead, as ours do
        step()
        seconds = _seconds_a_call(step, lambda _: wait(), 0.01 if setting.tiny else 0.5)
    setting.row(
        what, f'{batch_size / seconds:,.0f} images/s, {seconds * 1e3:.2f} ms a step', 'one step a call, channels_last',
        images_per_second=batch_size / seconds,
    )  # fmt: skip


def _seconds_a_call(call: Callable[[], object], wait: Callable[[object], object], least: float) -> float:
    """Of calls in a row that are waited for at the end, in at least so many seconds."""
    wait(call())
    n = 1
    while True:
        start = time.perf_counter()
        for _ in range(n):
            result = call()
        wait(result)
        seconds = time.perf_counter() - start
        if seconds >= least:
            return seconds / n
        n *= 2


def fast(setting: Setting) -> None:
    """`configs/philnet.py:fast` as it is."""
    variant = 'fast_tiny' if setting.tiny else 'fast'
    try:
        config = get_config('philnet', variant)
    except ValueError as error:
        setting.row(f'configs/philnet.py:{variant}', skipped=str(error))
        return
    _train(setting, f'configs/philnet.py:{variant}', config)


def philnet(setting: Setting) -> None:
    """50 epochs of `configs/philnet.py`, validated in every fifth."""
    config = get_config('philnet', 'tiny' if setting.tiny else 'full')
    if not setting.tiny:
        config.train.eval_every_epochs = 5.0
    _train(setting, f'PhilNet, {config.train.epochs:.0f} epochs', config)


def resnet18(setting: Setting) -> None:
    """30 epochs of `configs/resnet.py:18`, whose own length is 150."""
    config = get_config('resnet', 'tiny' if setting.tiny else '18')
    if setting.tiny:
        make_tiny(config, 'resnet18')
    else:
        config.train.update(epochs=30.0, eval_every_epochs=5.0)
    _train(setting, f'ResNet-18, {config.train.epochs:.0f} epochs', config)


def _train(setting: Setting, what: str, config: ml_collections.ConfigDict) -> None:
    """A whole run as the command line would do it; its rows of validation are shown while it goes on."""
    if setting.tiny:
        config.data.update(n_train=64, n_test=32, n_validation=32)
        config.train.epochs = 1.0
    else:
        if not setting.cifar_root:
            setting.row(what, skipped='there is no CIFAR-10')
            return
        config.data.root = setting.cifar_root
        config.train.checkpoint_every_epochs = config.train.epochs
    folder = setting.work / f'run_{setting.part}'
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier run with the same --work
    row = setting.row(what, 'begins')
    with setting.trying(what):
        with _followed(setting, row, folder):
            workdir.run_once(train_classifier.run, config, folder)
        timing = storage.read_jsonl(folder / 'timing.jsonl')[-1]
        scores = {score['name']: score for score in storage.read_jsonl(folder / 'scores.jsonl')}
        of_test = [
            f'{name} {s["value"]:.4f} [{s["low"]:.4f}, {s["high"]:.4f}]'
            for name, s in scores.items()
            if name.startswith('accuracy') and '/' not in name
        ]
        row['result'] = '; '.join(of_test) + f' on test; {timing["seconds"]:.1f} s'
        row['beside'] = f'{timing["examples_per_second"]:,.0f} images/s, seed {config.seed}'
        setting.write()


@contextlib.contextmanager
def _followed(setting: Setting, row: dict, folder: pathlib.Path) -> Iterator[None]:
    """Keeps the run's newest validation in the row, so that a stopped part has its accuracy so far."""
    over = threading.Event()

    def follow() -> None:
        while not over.wait(0.5):
            with contextlib.suppress(Exception):  # the file may not be there yet
                newest = [r for r in storage.read_jsonl(folder / 'metrics.jsonl') if r['split'] == 'validation'][-1]
                row['result'] = f'validation accuracy {newest["accuracy"]:.4f} after {newest["epoch"]:.1f} epochs'
                setting.write()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
