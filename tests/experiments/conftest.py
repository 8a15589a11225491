"""Configs of a few seconds, and a way to run them in this process or in one of their own."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import ml_collections
import pytest

ROOT = pathlib.Path(__file__).parents[2]


def load_config(name: str, variant: str) -> ml_collections.ConfigDict:
    """`configs/<name>.py:<variant>`, as the command line would read it."""
    spec = importlib.util.spec_from_file_location(f'config_{name}', ROOT / 'configs' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


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
