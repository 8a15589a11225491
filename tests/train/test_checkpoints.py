"""Checkpoints: every bit comes back or is refused, and a kill or a full disk costs at most the newest save."""

import collections
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from humalign_jax import devices
from humalign_jax.train import manifest
from humalign_jax.train.checkpoints import CheckpointError, Checkpoints


def state(step: int, size: int = 12) -> dict:
    """A small tree that knows its step."""
    np_rng = np.random.default_rng(step)
    return {
        'step': np.int32(step),
        'params': {'w': np_rng.normal(size=(size, 3)).astype(np.float32), 'b': np.full(3, step, ml_dtypes.bfloat16)},
        'rng': np_rng.integers(0, 2**32, 2, dtype=np.uint32),
    }


def assert_identical(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        theirs = np.asarray(theirs)
        assert isinstance(ours, np.ndarray)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert ours.tobytes() == theirs.tobytes()


def files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.rglob('*') if path.is_file())


@pytest.fixture
def two_steps(tmp_path):
    """Good steps 10 and 20, step 10 with the lower loss."""
    with Checkpoints(tmp_path, best_metric='loss') as saved:
        saved.save(10, state(10), {'loss': 1.0})
        saved.save(20, state(20), {'loss': 2.0})
    return tmp_path


# --- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'dtype',
    ['float32', 'bfloat16', 'float16', 'float64', 'uint32', 'int32', 'int64', 'uint8', 'bool', 'complex64'],
)
def test_every_dtype_comes_back_bit_for_bit(tmp_path, dtype):
    dtype = np.dtype(dtype)
    raw = np.random.default_rng(0).integers(0, 256, 24 * dtype.itemsize, dtype=np.uint8)  # NaN payloads included
    values = (raw % 2 if dtype.kind == 'b' else raw).view(dtype).reshape(2, 3, 4)
    tree = {'values': values, 'transposed': values.T, 'scalar': values[0, 0, 0], 'empty': values[:0]}
    with Checkpoints(tmp_path) as saved:
        saved.save(1, tree)
        step, found = saved.restore(tree)
    assert step == 1
    assert_identical(found, tree)


def test_structure_comes_back_with_none_empty_dicts_tuples_and_optimiser_states(tmp_path):
    Pair = collections.namedtuple('Pair', 'left right')
    params = {'dense_0/kernel': np.ones((2, 2), np.float32), 'a b': np.zeros(1, np.float32)}
    tree = {
        'params': params,
        'opt_state': jax.tree.map(np.asarray, optax.adamw(1e-3).init(params)),
        'model_state': {},
        'ema': None,
        'pair': Pair(np.int32(1), [np.uint32(2), (np.float32(3.0),)]),
        'number': 3,
    }
    with Checkpoints(tmp_path) as saved:
        saved.save(0, tree)
        step, found = saved.restore(tree)
    assert step == 0
    assert_identical(found, tree)


def test_a_template_of_shapes_and_dtypes_is_enough(two_steps):
    template = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), state(0))
    with Checkpoints(two_steps) as saved:
        step, found = saved.restore(template)
    assert step == 20
    assert_identical(found, state(20))


def test_changing_the_arrays_after_save_changes_nothing(tmp_path):
    tree = state(5)
    with Checkpoints(tmp_path) as saved:
        saved.save(5, tree)
        tree['params']['w'][:] = np.nan
        _, found = saved.restore(tree)
    assert_identical(found, state(5))


@pytest.mark.parametrize('n_devices', [1, 2, 4])
def test_a_state_of_any_number_of_devices_is_saved_once(tmp_path, n_devices):
    mapped = devices.replicate(state(3), devices.local_devices(n_devices))
    with Checkpoints(tmp_path) as saved:
        saved.save(3, devices.unreplicate(mapped))
        _, found = saved.restore(state(0))
    assert_identical(found, state(3))


def test_jax_arrays_are_saved_too(tmp_path):
    with Checkpoints(tmp_path) as saved:
        saved.save(1, {'x': jnp.arange(3.0)})
        _, found = saved.restore({'x': jnp.zeros(3)})
    assert_identical(found, {'x': np.arange(3, dtype=np.float32)})


def test_orbax_alone_can_read_a_step(two_steps):
    with ocp.CheckpointManager(two_steps) as manager:
        assert sorted(manager.all_steps()) == [10, 20]
        found = manager.restore(20, args=ocp.args.Composite(state=ocp.args.PyTreeRestore()))['state']
    np.testing.assert_array_equal(found['params']['w'], state(20)['params']['w'])


def test_the_manifest_describes_arrays_files_step_and_metrics(two_steps):
    about = json.loads((two_steps / '10' / 'manifest.json').read_text())
    assert (about['step'], about['metrics']) == (10, {'loss': 1.0})
    assert {name: (row['dtype'], row['shape']) for name, row in about['arrays'].items()} == {
        'step': ('int32', []),
        'params/w': ('float32', [12, 3]),
        'params/b': ('bfloat16', [3]),
        'rng': ('uint32', [2]),
    }
    on_disk = {path.relative_to(two_steps / '10').as_posix(): path.stat().st_size for path in files(two_steps / '10')}
    del on_disk['manifest.json']
    assert {name: row['bytes'] for name, row in about['files'].items()} == on_disk


# --- which steps stay ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('mode', 'best'), [('min', 2), ('max', 3)])
def test_the_newest_and_the_best_stay(tmp_path, mode, best):
    losses = {1: 5.0, 2: 0.5, 3: 9.0, 4: None, 5: 3.0, 6: None, 7: 4.0}
    with Checkpoints(tmp_path, keep=2, best_metric='loss', best_mode=mode) as saved:
        for step, loss in losses.items():
            saved.save(step, state(step), None if loss is None else {'loss': loss, 'other': 0.0})
        saved.wait()
        assert saved.steps() == [best, 6, 7]
        assert saved.best_step() == best
        assert saved.restore(state(0))[0] == 7
        step, found = saved.restore_best(state(0))
        assert step == best
        assert_identical(found, state(best))
        step, found = saved.restore_step(6, state(0))
        assert_identical(found, state(6))


def test_without_a_metric_only_the_newest_stay(tmp_path):
    with Checkpoints(tmp_path, keep=1) as saved:
        for step in range(4):
            saved.save(step, state(step), {'loss': float(step)})
        saved.wait()
        assert saved.steps() == [3]
        assert saved.best_step() is None
        with pytest.raises(ValueError, match='no best_metric was named'):
            saved.restore_best(state(0))


def test_a_step_without_metrics_or_with_nan_is_never_the_best(tmp_path):
    with Checkpoints(tmp_path, keep=3, best_metric='loss') as saved:
        saved.save(1, state(1), {'loss': float('nan')})
        saved.save(2, state(2))
        saved.save(3, state(3), {'loss': float('-inf')})
        saved.wait()
        assert saved.best_step() is None
        with pytest.raises(ValueError, match=r"no step has the metric 'loss'; steps: \[1, 2, 3\]"):
            saved.restore_best(state(0))


def test_of_equally_good_steps_the_first_is_the_best(tmp_path):
    with Checkpoints(tmp_path, best_metric='loss', best_mode='max') as saved:
        for step in (1, 2, 3, 4):
            saved.save(step, state(step), {'loss': 1.0})
        saved.wait()
        assert saved.best_step() == 1
        assert saved.steps() == [1, 3, 4]


def test_steps_of_an_earlier_process_count(two_steps):
    with Checkpoints(two_steps, keep=1, best_metric='loss') as saved:
        saved.save(30, state(30))
        saved.wait()
        assert saved.steps() == [10, 30]  # 10 is the best


def test_a_step_saved_twice_is_replaced(two_steps):
    with Checkpoints(two_steps, best_metric='loss') as saved:
        saved.save(20, state(99), {'loss': 0.0})
        saved.wait()
        assert saved.steps() == [10, 20]
        assert saved.best_step() == 20
        assert_identical(saved.restore(state(0))[1], state(99))


# --- what is an error ------------------------------------------------------------------------------------------------


def test_nothing_saved_is_none(tmp_path):
    with Checkpoints(tmp_path / 'new') as saved:
        assert saved.restore(state(0)) is None
        assert (saved.steps(), saved.best_step()) == ([], None)
        with pytest.raises(ValueError, match=r'has no step 3; steps: \[\]'):
            saved.restore_step(3, state(0))


def test_a_template_that_does_not_fit_is_an_error_that_names_the_leaves(two_steps):
    template = state(0)
    template['params'] = {
        'w': np.zeros((12, 4), np.float32),
        'b': np.zeros(3, np.float32),
        'new': np.zeros(1),
    }
    del template['rng']
    with Checkpoints(two_steps) as saved:
        with pytest.raises(ValueError) as caught:
            saved.restore(template)
        assert saved.steps() == [10, 20]  # nothing is wrong with them
    lines = str(caught.value).splitlines()
    assert lines[1:5] == [
        '  rng is saved, but not in the template',
        '  params/new is in the template, but was not saved',
        '  params/b is saved as bfloat16 (3,), but the template has float32 (3,)',
        '  params/w is saved as float32 (12, 3), but the template has float32 (12, 4)',
    ]


@pytest.mark.parametrize(
    ('tree', 'message'),
    [
        (np.zeros(3), 'not a bare array'),
        ({'a': {'names': np.array(['x'])}}, 'a/names is not an array of numbers'),
        ({'a': {'b': np.zeros(1)}, 'a.b': np.zeros(1)}, 'have the same name once joined'),
    ],
)
def test_what_cannot_be_saved_is_an_error_before_anything_is_written(tmp_path, tree, message):
    with Checkpoints(tmp_path) as saved, pytest.raises(ValueError, match=message):
        saved.save(1, tree)
    assert files(tmp_path) == []


def test_settings_are_checked(tmp_path):
    with pytest.raises(ValueError, match='keep must be at least 1, not 0'):
        Checkpoints(tmp_path, keep=0)
    with Checkpoints(tmp_path) as saved, pytest.raises(ValueError, match='a step is at least 0, not -1'):
        saved.save(-1, state(1))
    with pytest.raises(ValueError, match="best_mode must be 'min' or 'max', not 'lowest'"):
        Checkpoints(tmp_path, best_mode='lowest')
    with (
        Checkpoints(tmp_path, best_metric='los') as saved,
        pytest.raises(ValueError, match=r"'los' is not among .*loss"),
    ):
        saved.save(1, state(1), {'loss': 1.0})


# --- failures while saving -------------------------------------------------------------------------------------------


def test_an_error_in_the_background_comes_out_of_wait_and_leaves_no_rubbish(two_steps, monkeypatch):
    def fail(*_):
        raise RuntimeError('the cable was pulled')

    with Checkpoints(two_steps) as saved:
        with monkeypatch.context() as patch:
            patch.setattr(manifest, 'write', fail)
            saved.save(30, state(30))
            with pytest.raises(RuntimeError, match='the cable was pulled'):
                saved.wait()
        assert saved.steps() == [10, 20]
        assert not (two_steps / 'unfinished').exists()
        saved.save(30, state(30))
        saved.wait()
        assert saved.steps() == [20, 30]


def test_an_error_in_the_background_comes_out_of_the_next_save(tmp_path, monkeypatch):
    saved = Checkpoints(tmp_path)
    monkeypatch.setattr(manifest, 'write', lambda *_: (_ for _ in ()).throw(RuntimeError('pulled')))
    saved.save(1, state(1))
    with pytest.raises(RuntimeError, match='pulled'):
        saved.save(2, state(2))
    saved.close()


def test_rubbish_of_a_killed_run_is_removed_at_the_start(two_steps):
    for name in ('unfinished/30', 'unfinished/30.orbax-checkpoint-tmp/state', '40.orbax-checkpoint-tmp'):
        (two_steps / name).mkdir(parents=True)
        (two_steps / name / 'half').write_bytes(bytes(100))
    with Checkpoints(two_steps) as saved:
        assert saved.steps() == [10, 20]
    assert sorted(os.listdir(two_steps)) == ['10', '20']


def test_too_little_space_is_said_with_both_numbers_before_anything_is_written(two_steps, monkeypatch):
    usage = collections.namedtuple('usage', 'free')
    with Checkpoints(two_steps) as saved:
        with monkeypatch.context() as patch:
            patch.setattr(shutil, 'disk_usage', lambda _: usage(1_000_000))
            with pytest.raises(CheckpointError, match=r'step 30 needs 4,\d{3},\d{3} bytes but 1,000,000 are free'):
                saved.save(30, state(30))
        assert saved.restore(state(0))[0] == 20


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MiB."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which('mount') is None:
        pytest.skip('only root can mount a small disk')
    done = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f'no small disk: {done.stderr.strip()}')
    yield folder
    subprocess.run(['umount', folder], check=True)


def test_a_disk_that_is_too_full_leaves_the_earlier_step(small_disk):
    with Checkpoints(small_disk / 'run') as saved:
        saved.save(1, state(1))
        saved.wait()
        (small_disk / 'other').write_bytes(bytes(4_000_000))
        with pytest.raises(CheckpointError, match=r'saving step 2 needs .* earlier checkpoints \[1\] are intact'):
            saved.save(2, state(2, size=100_000))
        assert saved.restore(state(0))[0] == 1


def test_a_disk_that_fills_while_saving_leaves_the_earlier_step_and_no_rubbish(small_disk, monkeypatch):
    usage, real = collections.namedtuple('usage', 'free'), shutil.disk_usage
    with Checkpoints(small_disk / 'run') as saved:
        saved.save(1, state(1))
        saved.wait()
        free = real(small_disk).free
        with monkeypatch.context() as patch:
            patch.setattr(shutil, 'disk_usage', lambda _: usage(1 << 40))  # another program is quicker than the check
            saved.save(2, state(2, size=1_000_000))
        with pytest.raises(CheckpointError, match=r'saving step 2 needs 16,\d{3},\d{3} bytes but \S+ are free'):
            saved.wait()
        assert real(small_disk).free > free - 100_000
        assert sorted(os.listdir(small_disk / 'run')) == ['1']
        saved.save(3, state(3))
        assert saved.restore(state(0))[0] == 3


SAVE_FOREVER = """
import sys
import numpy as np
from humalign_jax.train.checkpoints import Checkpoints
with Checkpoints(sys.argv[1], keep=2) as saved:
    found = saved.restore({'step': np.int32(0), 'values': np.zeros(200_000, np.float32)})
    step = 0 if found is None else found[0]
    print('ready', flush=True)
    while True:
        step += 1
        saved.save(step, {'step': np.int32(step), 'values': np.full(200_000, step, np.float32)})
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_only_whole_steps(tmp_path):
    rng, newest = random.Random(0), 0
    template = {'step': np.int32(0), 'values': np.zeros(200_000, np.float32)}
    for _ in range(10):
        child = subprocess.Popen([sys.executable, '-c', SAVE_FOREVER, tmp_path], stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == 'ready\n'
        time.sleep(rng.uniform(0.0, 0.5))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        with Checkpoints(tmp_path) as saved:
            assert not (tmp_path / 'unfinished').exists()
            found = saved.restore(template)
            if found is not None:
                step, tree = found
                assert step >= newest
                newest = step
                assert_identical(tree, {'step': np.int32(step), 'values': np.full(200_000, step, np.float32)})
        assert not (tmp_path / 'refused').exists()
    assert newest > 5
