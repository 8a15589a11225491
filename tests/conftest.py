"""Four fake CPU devices, strict ranks, and the real data where there is some."""

import os
import pathlib

# Before jax is imported anywhere.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=4'
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(pathlib.Path(__file__).parents[1] / '.jax_cache'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.3')

import jax
import pytest

from humalign_jax.experiments import _room

jax.config.update('jax_numpy_rank_promotion', 'raise')


@pytest.fixture(scope='module', autouse=True)
def _programs_of_other_modules_are_dropped():
    """Programs that hundreds of tests compile took 4 GB of a worker, which experiments with a limit then refused."""
    yield
    _room.give_back_memory()


@pytest.fixture(scope='session')
def real_data() -> pathlib.Path:
    """The folder with real data: $HUMALIGN_TEST_DATA, else `shared/data` beside the checkout; skips where absent."""
    default = pathlib.Path(__file__).parents[2] / 'shared' / 'data'
    folder = pathlib.Path(os.environ.get('HUMALIGN_TEST_DATA', default))
    if not (folder / 'README.md').exists():
        pytest.skip(f'no real data in {folder}; set HUMALIGN_TEST_DATA')
    return folder
