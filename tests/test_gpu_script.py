"""The GPU run (`benchmarks/gpu.py`) on fake CPU devices: its parts, its limits, and its data."""

import argparse
import importlib.util
import io
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

SCRIPT = pathlib.Path(__file__).parents[1] / 'benchmarks' / 'gpu.py'


@pytest.fixture
def gpu(monkeypatch):
    """The script as a module; its parts can be imported."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location('gpu_script', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, 'gpu_script', module)
    spec.loader.exec_module(module)
    return module


def _run(folder, *arguments):
    """(exit status, output, results) of the script with tiny sizes."""
    command = [sys.executable, SCRIPT, '--tiny', '--out', folder / 'out', '--data', folder / 'data', *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    path = folder / 'out' / 'gpu_tiny.json'
    return done.returncode, done.stdout + done.stderr, json.loads(path.read_text()) if path.exists() else {}


@pytest.mark.skipif(os.path.exists('/dev/nvidia0'), reason='there is a GPU')
def test_a_machine_without_a_gpu_is_told_what_is_missing(tmp_path):
    command = [sys.executable, SCRIPT, '--out', tmp_path, '--data', tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert 'error: jax finds no GPU' in done.stdout and "pip install 'jax[cuda12]'" in done.stdout


def _part(gpu, folder, code, limit):
    """Result of a part whose process runs this code instead."""
    (folder / 'stand_in.py').write_text(code)
    gpu.__file__ = str(folder / 'stand_in.py')
    results = {}
    arguments = argparse.Namespace(data=folder, out=folder, tiny=True, budget=limit)
    gpu.follow_part(gpu.PARTS[0], limit, arguments, folder, dict(os.environ), results)
    return results[gpu.PARTS[0].name], json.loads((folder / 'gpu_tiny.json').read_text())


WRITES_A_ROW = """
import json, pathlib, sys, time
work = pathlib.Path(sys.argv[sys.argv.index('--work') + 1])
(work / 'environment.json').write_text(json.dumps([{'what': 'a rate', 'result': '1'}]))
"""


@pytest.mark.slow
def test_parts_pass_at_tiny_sizes(tmp_path):
    parts = ['environment', 'rsa', 'data', 'throughput', 'philnet']  # the others compile for minutes on two cores
    status, output, record = _run(tmp_path, '--parts', *parts)
    assert status == 0, output[-3000:]
    assert list(record['parts']) == parts
    for name, part in record['parts'].items():
        assert part['status'] in ('done', 'skipped') and part['rows'], name
        assert all(row.get('passed', True) for row in part['rows'])
    assert record['parts']['throughput']['status'] == record['parts']['philnet']['status'] == 'done'
    assert '| **philnet** | | done' in (tmp_path / 'out' / 'gpu_tiny.md').read_text()


def test_a_part_over_its_limit_is_stopped_and_keeps_its_rows(gpu, tmp_path):
    result, written = _part(gpu, tmp_path, WRITES_A_ROW + 'time.sleep(60)', 2.0)
    assert result['status'] == 'stopped after 2 s' and result['seconds'] < 10
    assert result['rows'] == written['parts']['environment']['rows'] == [{'what': 'a rate', 'result': '1'}]


def test_a_part_that_fails_says_why_and_keeps_its_rows(gpu, tmp_path):
    result, _ = _part(gpu, tmp_path, WRITES_A_ROW + "raise ValueError('out of memory')", 20.0)
    assert result['status'] == 'failed: ValueError: out of memory'
    assert [row['what'] for row in result['rows']] == ['a rate']


def test_parts_for_which_no_time_is_left_are_named(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, 'still_missing', lambda environment: [])
    arguments = argparse.Namespace(data=tmp_path, out=tmp_path, tiny=False, budget=0.0, parts=['rsa', 'philnet'])
    assert gpu.run_parts(arguments, tmp_path / 'work') == 1
    parts = json.loads((tmp_path / 'gpu.json').read_text())['parts']
    assert {name: part['status'] for name, part in parts.items()} == dict.fromkeys(['rsa', 'philnet'], 'no time left')


def test_missing_packages_are_named_with_the_folder_for_wheels(gpu, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, 'NEEDED', ('numpy', 'a_package_that_is_nowhere'))
    arguments = argparse.Namespace(data=tmp_path, out=tmp_path, tiny=True, budget=1.0, parts=None)
    assert gpu.run_parts(arguments, tmp_path / 'work') == 2
    said = capsys.readouterr().out
    assert 'cannot import a_package_that_is_nowhere' in said and str(tmp_path / 'wheels') in said


def test_a_failed_check_fails_the_run(gpu, tmp_path, monkeypatch):
    def failing(part, limit, arguments, work, environment, results):
        results[part.name] = {'status': 'done', 'seconds': 1.0, 'rows': [{'what': 'loss', 'passed': False}]}

    monkeypatch.setattr(gpu, 'still_missing', lambda environment: [])
    monkeypatch.setattr(gpu, 'follow_part', failing)
    arguments = argparse.Namespace(data=tmp_path, out=tmp_path, tiny=False, budget=99.0, parts=['correctness'])
    assert gpu.run_parts(arguments, tmp_path / 'work') == 1
    assert '| loss |  |  | FAILED |' in (tmp_path / 'gpu.md').read_text()


def _write_pack(path, images, labels):
    streams = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, 'JPEG', quality=95)
        streams.append(np.frombuffer(buffer.getvalue(), np.uint8))
    offsets = np.cumsum([0, *map(len, streams)])
    np.savez(path, jpeg=np.concatenate(streams), offsets=offsets, labels=labels)


def test_packs_become_the_published_binary_files_in_order(gpu, tmp_path):
    """Images of one colour each, which JPEG keeps within two steps of 255."""
    from gpu_parts import images

    colours = np.random.default_rng(0).integers(0, 256, (12, 1, 1, 3)).astype(np.uint8)
    pictures, labels = np.broadcast_to(colours, (12, 32, 32, 3)), (np.arange(12) % 10).astype(np.uint8)
    for name, rows in zip((*images.TRAIN_PACKS, images.TEST_PACK), (slice(0, 5), slice(5, 10), slice(10, 12))):
        _write_pack(tmp_path / name, pictures[rows], labels[rows])
    assert images.unpack(tmp_path, tmp_path / 'out', batch_images=2) == 12
    folder = tmp_path / 'out' / 'cifar-10-batches-bin'
    names = [f'data_batch_{k}.bin' for k in range(1, 6)] + ['test_batch.bin']
    records = np.concatenate([np.fromfile(folder / name, np.uint8).reshape(-1, 3073) for name in names])
    np.testing.assert_array_equal(records[:, 0], labels)
    planes = records[:, 1:].reshape(12, 3, 32, 32).transpose(0, 2, 3, 1)
    assert np.abs(planes.astype(int) - pictures).max() <= 2


def test_incomplete_packs_are_refused(gpu, tmp_path):
    from gpu_parts import images

    for name in (*images.TRAIN_PACKS, images.TEST_PACK):
        _write_pack(tmp_path / name, np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.uint8))
    with pytest.raises(ValueError, match='4 train and 2 test images; 10 and 2 were expected'):
        images.unpack(tmp_path, tmp_path / 'out', batch_images=2)


@pytest.mark.data
def test_the_tree_fits_into_64_mib_with_the_packs_of_cifar10(gpu, tmp_path, real_data):
    """What git does not ignore, and the three packs."""
    for name in ('train_jpeg_0.npz', 'train_jpeg_1.npz', 'test_jpeg.npz'):
        (tmp_path / name).write_bytes((real_data / 'cifar10' / name).read_bytes())
    assert gpu.print_size(tmp_path) == 0
