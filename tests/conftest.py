"""Four fake CPU devices, strict ranks, real data where there is some, configs of seconds, and ways to run them."""

import importlib.util
import os
import pathlib
import subprocess
import sys

# Before jax is imported anywhere.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=4'
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(pathlib.Path(__file__).parents[1] / '.jax_cache'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.3')

import jax
import ml_collections
import pytest

from humalign_jax import memory

jax.config.update('jax_numpy_rank_promotion', 'raise')

ROOT = pathlib.Path(__file__).parents[1]


def load_config(name: str, variant: str) -> ml_collections.ConfigDict:
    """`configs/<name>.py:<variant>`, as the command line would read it."""
    spec = importlib.util.spec_from_file_location(f'config_{name}', ROOT / 'configs' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


@pytest.fixture(scope='module', autouse=True)
def _programs_of_other_modules_are_dropped():
    """Programs that hundreds of tests compile took 4 GB of a worker, which experiments with a limit then refused."""
    yield
    memory.give_back_memory()


@pytest.fixture(scope='session')
def real_data() -> pathlib.Path:
    """The folder with real data: $HUMALIGN_TEST_DATA, else `shared/data` beside the checkout; skips where absent."""
    default = pathlib.Path(__file__).parents[2] / 'shared' / 'data'
    folder = pathlib.Path(os.environ.get('HUMALIGN_TEST_DATA', default))
    if not (folder / 'README.md').exists():
        pytest.skip(f'no real data in {folder}; set HUMALIGN_TEST_DATA')
    return folder


@pytest.fixture
def small_config():
    """`(name='philnet', **changes of the train section) -> config` that trains in about a second once compiled."""

    def make(name='philnet', **train):
        config = load_config(name, 'tiny')
        config.data.n_train, config.data.n_test = 96, 40
        config.data.update(batch_size=16, n_validation=32)
        if name == 'philnet':
            config.model.widths = ((4, 4), (4, 8))
        else:
            config.model.update(latent_dim=4)
            config.model.widths = (4, 4)
        config.train.update(**{'log_every_steps': 2, 'n_devices': 1, 'epochs': 3.0, **train})
        return config

    return make


@pytest.fixture
def command():
    """Runs `python -m humalign_jax.main` with these arguments in a process of its own, one CPU device."""

    def run(*arguments, check=None, cwd=ROOT, **kwargs):
        environment = {**os.environ, 'XLA_FLAGS': '', 'JAX_PLATFORMS': 'cpu'}
        done = subprocess.run(
            [sys.executable, '-m', 'humalign_jax.main', *arguments],
            capture_output=True,
            text=True,
            cwd=cwd,
            env=environment,
            timeout=300,
            **kwargs,
        )
        if check is not None:
            assert done.returncode == check, done.stderr[-3000:]
        return done

    return run


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    """A headless browser with one page; skips where there is none."""
    module = _module('browser')
    if module.CHROMIUM is None:
        pytest.skip('no Chromium: run .ci/install-browser as root')
    browser = module.Browser(tmp_path_factory.mktemp('profile'))
    try:
        browser.start()
        yield browser
    finally:
        browser.close()


def _module(name: str):
    """A file of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, pathlib.Path(__file__).with_name(f'{name}.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
