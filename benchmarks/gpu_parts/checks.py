"""What the machine is, and whether it computes what a CPU computes."""

import importlib.metadata
import platform
import shutil
import subprocess
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.spatial.distance

from gpu_parts.setting import Setting, best_seconds
from gpu_parts.tasks import Dispatched, task_of
from humalign_jax import rsa
from humalign_jax.models import layers

MEASURES = ('correlation', 'cosine', 'euclidean', 'sqeuclidean', 'cityblock', 'chebyshev', 'jensenshannon')
_CONV, _TRANSPOSE = layers.Conv, layers.ConvTranspose4x4
LAYERS = {  # a module and the shape of its input
    'conv 3x3, 64 to 128 channels': (_CONV(128, 3, padding=1), (32, 16, 16, 64)),
    'conv 3x3 on 2x2 maps': (_CONV(64, 3, padding=1), (32, 2, 2, 64)),
    'conv 3x3, stride 2': (_CONV(64, 3, stride=2, padding=1), (32, 16, 16, 64)),
    'conv 1x1, stride 2': (_CONV(64, 1, stride=2), (32, 16, 16, 64)),
    'conv 4x4, stride 2, 3 channels': (_CONV(32, 4, stride=2, padding=1), (32, 32, 32, 3)),
    'transposed conv 4x4': (_TRANSPOSE(32), (32, 8, 8, 64)),
}
STEPS = 10


def environment(setting: Setting) -> None:
    """Devices, versions, driver; and the rates of plain products and copies, for the floors of other parts."""
    try:
        device, words = jax.devices()[0], ''
    except RuntimeError as error:  # there is no such platform
        device, words = None, f' ({error})'
    if device is None or (device.platform == 'cpu' and not setting.tiny):
        installed = sorted(
            f'{name}=={found.version}'
            for found in importlib.metadata.distributions()
            if (name := found.metadata['Name'] or '').startswith('jax')
        )
        setting.row(
            f'jax finds no GPU{words}. Installed: {", ".join(installed)}. Needed are a GPU that nvidia-smi shows and '
            "a jax with CUDA (pip install 'jax[cuda12]' or 'jax[cuda13]', 3 GB: more than the data folder can carry).",
            fatal=True,
            passed=False,
        )
        return
    memory = (device.memory_stats() or {}).get('bytes_limit', 0) / 2**30
    setting.row('device', f'{jax.device_count()} x {device.device_kind}', f'{memory:.0f} GiB for jax' if memory else '')
    if shutil.which('nvidia-smi'):
        asked = '--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit'
        done = subprocess.run(['nvidia-smi', asked, '--format=csv,noheader'], capture_output=True, text=True)
        setting.row('nvidia-smi', (done.stdout or done.stderr).strip())
    packages = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy', 'scipy', 'torch')
    packages += tuple(name for name in ('jax-cuda12-plugin', 'jax-cuda13-plugin') if _version(name))
    versions = {'python': platform.python_version(), **{name: _version(name) for name in packages}}
    setting.row('versions', ', '.join(f'{name} {version}' for name, version in versions.items() if version))
    n = 256 if setting.tiny else 8192
    for name, dtype, precision in (
        ('float32', jnp.float32, 'highest'),
        ('tf32', jnp.float32, 'tensorfloat32'),
        ('bfloat16', jnp.bfloat16, 'default'),
    ):
        with setting.trying(f'product, {name}'):
            x = jax.random.normal(jax.random.key(0), (n, n), dtype)
            product = jax.jit(lambda x, precision=precision: jnp.matmul(x, x, precision=precision))
            rate = 2 * n**3 / best_seconds(lambda product=product, x=x: product(x), repeats=3, times=10)
            setting.row(f'product {n} x {n}, {name}', f'{rate / 1e12:.2f} TFLOP/s', rate_of=name, rate=rate)
    with setting.trying('copy'):
        x = jnp.zeros(2**18 if setting.tiny else 2**28, jnp.float32)
        copy = jax.jit(lambda x: x + 1)
        rate = 2 * x.nbytes / best_seconds(lambda: copy(x), repeats=3, times=5)
        setting.row('copy, bytes read and written', f'{rate / 1e9:.1f} GB/s', rate_of='copy', rate=rate)


def correctness(setting: Setting) -> None:
    """Distances, layers, ten training steps and RSA scores beside SciPy and this process's own CPU."""
    here, cpu = jax.devices()[0], jax.devices('cpu')[-1]
    with jax.default_matmul_precision('highest'):  # a GPU's default for float32 is tf32: 10 bits
        _distances(setting)
        _layers(setting, here, cpu)
        _scores(setting, here, cpu)
        for name in ('philnet', 'vae') if setting.tiny else ('philnet', 'vae', 'resnet18'):
            with setting.trying(f'{STEPS} steps of {name}'):
                _steps(setting, name, here, cpu)


def _distances(setting: Setting) -> None:
    """All distances against SciPy in float64, with the tolerance of the package's tests."""
    features = np.abs(np.random.default_rng(0).normal(size=(40 if setting.tiny else 400, 100))).astype(np.float32)
    for measure in MEASURES:
        with setting.trying(f'{measure} RDM'):
            found = rsa.rdm(features, measure)
            expected = scipy.spatial.distance.pdist(features.astype(np.float64), measure)
            error = float(np.max(np.abs(found - expected) / (1 + expected)))
            setting.row(f'{measure} RDM against SciPy', f'error {error:.1e}', 'limit 2e-5', passed=error < 2e-5)


def _layers(setting: Setting, here: jax.Device, cpu: jax.Device) -> None:
    """Value and both gradients of layers, largest difference over largest value."""
    for name, (module, shape) in LAYERS.items():
        with setting.trying(name):
            x = np.random.default_rng(0).normal(size=(4, *shape[1:]) if setting.tiny else shape).astype(np.float32)
            params = jax.tree.map(np.asarray, module.init(jax.random.key(0), x))
            weights = np.random.default_rng(1).normal(size=module.apply(params, x).shape).astype(np.float32)

            def value_and_gradients(params, x, weights, module=module):
                y, back = jax.vjp(module.apply, params, x)
                return y, back(weights)

            compiled = jax.jit(value_and_gradients)
            on_here, on_cpu = (
                [np.asarray(leaf) for leaf in jax.tree.leaves(compiled(*jax.device_put((params, x, weights), device)))]
                for device in (here, cpu)
            )
            error = max(float(np.max(np.abs(a - b)) / np.max(np.abs(b))) for a, b in zip(on_here, on_cpu))
            setting.row(name, f'difference from the CPU {error:.1e}', 'limit 1e-4', passed=error < 1e-4)


def _scores(setting: Setting, here: jax.Device, cpu: jax.Device) -> None:
    """RSA scores of the same features on both."""
    n = 120 if setting.tiny else 3000  # above 2,896 stimuli ranks come from a table
    np_rng = np.random.default_rng(0)
    x = np_rng.normal(size=(n, 96)).astype(np.float32)
    y = (x + 2 * np_rng.normal(size=(n, 96))).astype(np.float32)
    cases = [{'index': 'spearman'}, {'index': 'spearman', 'measure_x': 'euclidean'}, {'index': 'pearson'}]
    cases += [{'index': 'spearman', 'mode': 'binned'}]
    for case in cases:
        what = f'RSA of {n} stimuli: {", ".join(case.values())}'
        with setting.trying(what):
            a, b = (rsa.compare_features(x, y, devices=[device], **case).value for device in (here, cpu))
            setting.row(what, f'{a:.9f}', f'CPU {b:.9f}, limit 1e-6', passed=abs(a - b) < 1e-6)


def _steps(setting: Setting, name: str, here: jax.Device, cpu: jax.Device) -> None:
    """Ten steps of training on both, and the same in one dispatch and in bfloat16."""
    task = task_of(setting, name, batch_size=4 if setting.tiny else 32)
    losses, norms = zip(*(_trajectory(Dispatched(task, [device])) for device in (here, cpu)))
    first, last = (abs(losses[0][i] / losses[1][i] - 1) for i in (0, -1))
    norm = abs(norms[0][0] / norms[1][0] - 1)
    setting.row(
        f'{STEPS} steps of {name}, float32',
        f'loss differs by {first:.1e} at once, mean by {last:.1e}; gradient norm by {norm:.1e}',
        'limits 1e-4, 2e-2, 1e-2',
        passed=first < 1e-4 and last < 2e-2 and norm < 1e-2,
    )
    if name == 'philnet':
        forms = {'one dispatch': (task, STEPS, 2e-3)}
        forms['bfloat16'] = (task_of(setting, name, dtype='bfloat16', batch_size=task.recipe.batch_size), 1, 5e-2)
        for form, (its_task, steps, limit) in forms.items():
            error = abs(_trajectory(Dispatched(its_task, [here], steps=steps))[0][-1] / losses[0][-1] - 1)
            what = f'{STEPS} steps of {name} in {form}'
            setting.row(what, f'mean loss differs by {error:.1e}', f'limit {limit:.0e}', passed=error < limit)


def _trajectory(dispatched: Dispatched) -> tuple[Sequence[float], Sequence[float]]:
    """Mean loss and mean gradient norm of the first 1, 2, .., 10 steps; of all at once where they are one dispatch."""
    rows = []
    for done in range(dispatched.steps, STEPS + 1, dispatched.steps):
        jax.block_until_ready(dispatched())
        sums = dispatched.metric_sums()
        rows.append((sums['loss'] / done, sums['grad_norm'] / done))
    losses, norms = zip(*rows)
    return losses, norms


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ''
