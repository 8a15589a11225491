"""What is refused: any flipped bit, and any step folder that is not what was saved."""

import os
import pathlib
import random
import re
import shutil

import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest

from humalign_jax.train import manifest
from humalign_jax.train.checkpoints import Checkpoints


def state(step: int, size: int = 12) -> dict:
    """A small tree that knows its step."""
    np_rng = np.random.default_rng(step)
    return {
        'step': np.int32(step),
        'params': {'w': np_rng.normal(size=(size, 3)).astype(np.float32), 'b': np.full(3, step, ml_dtypes.bfloat16)},
        'rng': np_rng.integers(0, 2**32, 2, dtype=np.uint32),
    }


def files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.rglob('*') if path.is_file())


@pytest.fixture
def two_steps(tmp_path):
    """Good steps 10 and 20, step 10 with the lower loss."""
    with Checkpoints(tmp_path, best_metric='loss') as saved:
        saved.save(10, state(10), {'loss': 1.0})
        saved.save(20, state(20), {'loss': 2.0})
    return tmp_path


def test_every_flipped_bit_is_noticed(two_steps):
    folder = two_steps / '20'
    manifest.verify(folder, 20)
    paths, rng = files(folder), random.Random(0)
    assert len(paths) >= 8
    for path in paths + rng.choices(paths, k=300 - len(paths)):
        good = path.read_bytes()
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        with pytest.raises(manifest.DamagedError, match=path.name.replace('.', r'\.')):
            manifest.verify(folder, 20)
        path.write_bytes(good)
    manifest.verify(folder, 20)


def test_every_flipped_bit_of_the_manifest_is_noticed(two_steps):
    path = two_steps / '20' / 'manifest.json'
    good = path.read_bytes()
    for position in range(0, len(good), 3):
        bad = bytearray(good)
        bad[position] ^= 1 << (position % 8)
        path.write_bytes(bad)
        with pytest.raises(manifest.DamagedError, match='manifest'):
            manifest.read(path.parent)


def flip_a_bit_of_the_arrays(folder):
    path = max(files(folder / 'state'), key=lambda path: path.stat().st_size)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 16
    path.write_bytes(raw)


def flip_a_bit_of_the_manifest(folder):
    raw = bytearray((folder / 'manifest.json').read_bytes())
    raw[len(raw) // 2] ^= 16
    (folder / 'manifest.json').write_bytes(raw)


def truncate(folder):
    path = max(files(folder / 'state'), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[:-1])


def delete_a_file(folder):
    (folder / 'state' / '_METADATA').unlink()


def add_a_file(folder):
    (folder / 'state' / 'notes.txt').write_text('x')


def delete_the_manifest(folder):
    (folder / 'manifest.json').unlink()


def empty_the_folder(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def a_file_instead_of_a_folder(folder):
    shutil.rmtree(folder)
    folder.write_text('x')


def take_the_manifest_of_the_other_step(folder):
    shutil.copy(folder.parent / '10' / 'manifest.json', folder)


def take_all_of_the_other_step(folder):
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / '10', folder)


def take_the_arrays_of_the_other_step(folder):
    shutil.rmtree(folder / 'state')
    shutil.copytree(folder.parent / '10' / 'state', folder / 'state')


def swap_two_files(folder):
    first, second, *_ = files(folder / 'state' / 'ocdbt.process_0' / 'd')
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


DAMAGES = {
    flip_a_bit_of_the_arrays: 'was changed: its SHA-256',
    flip_a_bit_of_the_manifest: 'manifest.json is damaged|own digest',
    truncate: r'has \d+ bytes instead of \d+',
    delete_a_file: r"missing files: \['state/_METADATA'\]",
    add_a_file: r"files never saved: \['state/notes.txt'\]",
    delete_the_manifest: 'manifest.json is missing: the save was interrupted',
    empty_the_folder: 'manifest.json is missing',
    a_file_instead_of_a_folder: 'manifest.json cannot be read',
    take_the_manifest_of_the_other_step: 'it holds step 10',
    take_all_of_the_other_step: 'it holds step 10',
    take_the_arrays_of_the_other_step: 'missing files',
    swap_two_files: 'was changed|bytes instead of',
}


@pytest.mark.parametrize('damage', DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_step_is_refused_moved_aside_and_can_be_saved_again(two_steps, damage, caplog):
    damage(two_steps / '20')
    with Checkpoints(two_steps, best_metric='loss') as saved:
        step, found = saved.restore(state(0))
        assert step == 10
        np.testing.assert_array_equal(found['params']['w'], state(10)['params']['w'])
        assert saved.steps() == [10]
        assert (two_steps / 'refused' / '20-1').exists()
        assert f'step 20 in {two_steps / "20"} is refused: ' in caplog.text
        assert re.search(DAMAGES[damage], caplog.text), caplog.text
        saved.save(20, state(20))
        assert saved.restore(state(0))[0] == 20


def test_arrays_are_compared_after_loading(two_steps, monkeypatch, caplog):
    restore = ocp.Checkpointer.restore

    def restore_and_flip(self, folder, **kwargs):
        found = restore(self, folder, **kwargs)
        if folder.name == '20':
            found['state']['params']['w'].view(np.uint32)[3, 1] ^= 1
        return found

    monkeypatch.setattr(ocp.Checkpointer, 'restore', restore_and_flip)
    with Checkpoints(two_steps) as saved:
        assert saved.restore(state(0))[0] == 10
    assert 'array params/w came back changed' in caplog.text


def test_refused_steps_do_not_overwrite_each_other(two_steps):
    with Checkpoints(two_steps) as saved:
        for n in (1, 2, 3):
            flip_a_bit_of_the_arrays(two_steps / '20')
            assert saved.restore(state(0))[0] == 10
            assert sorted(os.listdir(two_steps / 'refused')) == [f'20-{i + 1}' for i in range(n)]
            saved.save(20, state(20))
            saved.wait()


def test_no_good_step_is_an_error_that_lists_each_also_the_next_time(two_steps):
    flip_a_bit_of_the_arrays(two_steps / '20')
    delete_the_manifest(two_steps / '10')
    with Checkpoints(two_steps) as saved:
        with pytest.raises(ValueError, match=r'none is good:\n  step 20: .*\n  step 10: manifest.json is missing'):
            saved.restore(state(0))
        assert saved.steps() == []
    with Checkpoints(two_steps) as saved, pytest.raises(ValueError, match='refused/10-1: refused earlier'):
        saved.restore(state(0))


@pytest.mark.parametrize('damage', [flip_a_bit_of_the_arrays, flip_a_bit_of_the_manifest])
def test_a_damaged_best_step_gives_way_to_the_next_best_with_a_warning(two_steps, damage, caplog):
    damage(two_steps / '10')
    with Checkpoints(two_steps, best_metric='loss') as saved:
        assert saved.restore_best(state(0))[0] == 20
    assert f'step 10 in {two_steps / "10"} is refused' in caplog.text


def test_a_damaged_step_asked_for_by_number_is_an_error(two_steps):
    truncate(two_steps / '10')
    with Checkpoints(two_steps) as saved, pytest.raises(ValueError, match=r'step 10: .* bytes instead of'):
        saved.restore_step(10, state(0))


def test_a_step_removed_while_it_is_read_gives_way_to_the_next(two_steps, monkeypatch, caplog):
    restore = ocp.Checkpointer.restore

    def remove_and_restore(self, folder, **kwargs):
        if folder.name == '20':
            shutil.rmtree(folder)  # what a run in training does to an old step
        return restore(self, folder, **kwargs)

    monkeypatch.setattr(ocp.Checkpointer, 'restore', remove_and_restore)
    with Checkpoints(two_steps, read_only=True) as saved:
        assert saved.restore(state(0))[0] == 10
    assert 'step 20' in caplog.text


def test_a_read_only_view_changes_nothing(two_steps, caplog):
    flip_a_bit_of_the_arrays(two_steps / '20')
    (two_steps / 'unfinished' / '30').mkdir(parents=True)
    before = sorted(two_steps.rglob('*'))
    with Checkpoints(two_steps, read_only=True) as saved:
        assert saved.restore(state(0))[0] == 10
        with pytest.raises(ValueError, match='read_only=True'):
            saved.save(40, state(40))
    assert sorted(two_steps.rglob('*')) == before
    assert 'step 20' in caplog.text
