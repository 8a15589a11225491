"""Features of a trained run: their values, their ids, what a kill leaves, and what is refused."""

import contextlib
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from humalign_jax import data, memory, models, storage
from humalign_jax.experiments import extract, train_classifier
from humalign_jax.rsa import files
from humalign_jax.train import forward
from humalign_jax.wiring import layer_writer, runs

from ..conftest import load_config

N_TEST = 40


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> pathlib.Path:
    """A classifier after four steps, with 40 test images."""
    folder = tmp_path_factory.mktemp('run')
    config = load_config('philnet', 'tiny')
    config.data.update(batch_size=16, n_validation=32, n_train=96, n_test=N_TEST)
    config.model.widths = ((4, 4), (4, 8))
    config.train.update(epochs=1.0, log_every_steps=2, n_devices=1)
    train_classifier.run(config, str(folder))
    storage.write_json(folder / 'config.json', json.loads(config.to_json_best_effort()))
    return folder


@pytest.fixture
def config(trained):
    c = load_config('extract', 'full')
    c.update(run=str(trained), layers=('block1', 'penultimate', 'probs'), batch_size=16, n_devices=1)
    return c


@pytest.fixture
def said(monkeypatch):
    """What the experiment has logged so far."""
    lines: list[str] = []
    monkeypatch.setattr(extract.logging, 'info', lambda text, *values: lines.append(text % values))
    return lambda: '\n'.join(lines)


def captured(trained, layers) -> dict[str, np.ndarray]:
    """The same layers by `models.capture` on all test images at once."""
    opened = runs.open_run(trained)
    state, images = opened.state, opened.setup.images['test'].images
    variables = {'params': state.params, **state.model_state}
    values = models.capture(opened.setup.model, variables, opened.setup.prepare_plain(images, None), layers)
    return {layer: np.asarray(value).reshape(len(images), -1) for layer, value in values.items()}


@pytest.mark.parametrize(('batch_size', 'n_devices'), [(7, 1), (1000, 4)])
def test_values_are_those_of_capture_whatever_the_batch_and_the_devices(
    config, trained, tmp_path, batch_size, n_devices
):
    config.update(batch_size=batch_size, n_devices=n_devices)
    extract.run(config, str(tmp_path))
    for layer, expected in captured(trained, config.layers).items():
        features = files.load_features(tmp_path / f'{layer}.npy')
        assert features.values.dtype == np.float32 and features.name == f'philnet/{layer}'
        np.testing.assert_allclose(features.values, expected, rtol=1e-5, atol=1e-5)
        assert features.ids.tolist() == [f'synthetic/test/{i:05d}' for i in range(N_TEST)]
    assert not (tmp_path / 'unfinished').exists()


def test_a_layer_says_where_it_comes_from(config, trained, tmp_path):
    config.name = 'small philnet'
    extract.run(config, str(tmp_path))
    about = storage.read_json(tmp_path / 'block1.json')
    assert about['sha256'] == storage.array_digest(np.load(tmp_path / 'block1.npy', mmap_mode='r'))
    assert (about['name'], about['model'], about['layer']) == ('small philnet/block1', 'small philnet', 'block1')
    assert about['checkpoint_step'] == runs.open_run(trained).state.step
    assert about['simulated'] is True and about['data'] == 'synthetic/test'
    assert about['preprocessing']['mean'] == [0.4914, 0.4822, 0.4465]


def test_sidecars_have_the_order_of_the_forward_pass_whichever_layers_are_asked_for(config, tmp_path):
    config.layers = ('probs', 'block1', 'penultimate', 'pixels')
    extract.run(config, str(tmp_path))
    order = {layer: storage.read_json(tmp_path / f'{layer}.json').get('layer_order') for layer in config.layers}
    assert order == {
        'block1': 0,
        'penultimate': 2,
        'probs': 4,
        'pixels': None,
    }  # of block1 block2 penultimate logits probs


def test_layers_of_a_version_that_wrote_no_order_are_kept(config, tmp_path):
    extract.run(config, str(tmp_path))
    before = (tmp_path / 'block1.npy').stat().st_mtime_ns
    sidecar = storage.read_json(tmp_path / 'block1.json')
    del sidecar['layer_order']
    storage.write_json(tmp_path / 'block1.json', sidecar)
    (tmp_path / 'probs.npy').unlink()
    extract.run(config, str(tmp_path))
    assert (tmp_path / 'block1.npy').stat().st_mtime_ns == before and (tmp_path / 'probs.npy').exists()


def test_labels_and_validation_ids_are_those_of_the_split(config, trained, tmp_path):
    config.split = 'validation'
    extract.run(config, str(tmp_path))
    images = runs.open_run(trained).setup.images['validation']
    np.testing.assert_array_equal(np.load(tmp_path / 'labels.npy'), images.labels)
    about = storage.read_json(tmp_path / 'labels.json')
    assert about['ids'] == images.ids.tolist() == storage.read_json(tmp_path / 'probs.json')['ids']
    assert about['class_names'] == list(images.class_names)


def test_no_layers_means_all_named_ones(config, tmp_path):
    config.layers = ()
    extract.run(config, str(tmp_path))
    there = {path.stem for path in tmp_path.glob('*.npy')}
    assert there == {'block1', 'block2', 'penultimate', 'logits', 'probs', 'labels'}


def test_pixels_need_no_run_and_are_the_same_with_one(config, tmp_path):
    config.layers = ('pixels',)
    extract.run(config, str(tmp_path / 'with'))
    alone = load_config('extract', 'tiny')
    alone.data.n_test = N_TEST
    extract.run(alone, str(tmp_path / 'alone'))
    expected = data.load('synthetic', 'test', n_test=N_TEST).images.reshape(N_TEST, -1) / 255.0
    for folder, name in (('with', 'philnet/pixels'), ('alone', 'pixels/pixels')):
        pixels = files.load_features(tmp_path / folder / 'pixels.npy')
        np.testing.assert_allclose(pixels.values, expected, rtol=1e-6)
        assert pixels.name == name and pixels.ids[-1] == f'synthetic/test/{N_TEST - 1:05d}'


def _stop_after(monkeypatch, n_batches):
    """Ends the pass over the images after so many batches, as Ctrl-C would."""
    original = forward.Stream.batches

    def batches(self, *arguments, **options):
        for number, batch in enumerate(original(self, *arguments, **options)):
            if number == n_batches:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(forward.Stream, 'batches', batches)


def test_a_stopped_extraction_goes_on_where_the_disk_has_it(config, tmp_path, monkeypatch, said):
    extract.run(config, str(tmp_path / 'unbroken'))
    monkeypatch.setattr(layer_writer, '_NOTE_SECONDS', 0.0)
    with monkeypatch.context() as patch:
        _stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            extract.run(config, str(tmp_path / 'broken'))
    assert not list((tmp_path / 'broken').glob('[bp]*.npy'))
    with open(tmp_path / 'broken' / 'unfinished' / 'probs.npy', 'ab') as file:
        file.write(b'written but not noted')
    extract.run(config, str(tmp_path / 'broken'))
    assert 'Going on after 32 of 40 images' in said()
    for name in ('block1.npy', 'penultimate.npy', 'probs.npy', 'probs.json', 'labels.npy'):
        assert (tmp_path / 'broken' / name).read_bytes() == (tmp_path / 'unbroken' / name).read_bytes(), name


def test_a_file_shorter_than_its_note_is_begun_again(config, tmp_path, monkeypatch):
    extract.run(config, str(tmp_path / 'unbroken'))
    monkeypatch.setattr(layer_writer, '_NOTE_SECONDS', 0.0)
    with monkeypatch.context() as patch:
        _stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            extract.run(config, str(tmp_path / 'broken'))
    part = tmp_path / 'broken' / 'unfinished' / 'block1.npy'
    part.write_bytes(part.read_bytes()[:-8])
    extract.run(config, str(tmp_path / 'broken'))
    assert (tmp_path / 'broken' / 'block1.npy').read_bytes() == (tmp_path / 'unbroken' / 'block1.npy').read_bytes()


def test_finished_layers_are_not_computed_again(config, tmp_path):
    extract.run(config, str(tmp_path))
    before = (tmp_path / 'block1.npy').stat().st_mtime_ns
    (tmp_path / 'probs.npy').unlink()
    extract.run(config, str(tmp_path))
    assert (tmp_path / 'block1.npy').stat().st_mtime_ns == before
    assert (tmp_path / 'probs.npy').exists()


def test_layers_of_another_checkpoint_are_refused(config, tmp_path, monkeypatch):
    """The folder and the config are the same: only one weight tells."""
    extract.run(config, str(tmp_path))
    original = runs.open_run

    def open_run(*arguments, **options):
        opened = original(*arguments, **options)
        opened.state.params['classifier']['bias'][0] += 1e-6
        return opened

    monkeypatch.setattr(runs, 'open_run', open_run)
    with pytest.raises(ValueError, match=r'was extracted from something else: block1\.checkpoint_sha256: '):
        extract.run(config, str(tmp_path))


def test_a_limit_on_memory_cuts_the_batch_or_says_what_is_needed(config, tmp_path, monkeypatch, said):
    monkeypatch.setattr(memory, 'held_bytes', lambda which='VmRSS': 0)
    needed = {}
    original = forward.Stream.bytes_needed

    def bytes_needed(self, params, model_state, images, batch_size):
        needed[batch_size] = original(self, params, model_state, images, batch_size)
        return needed[batch_size]

    monkeypatch.setattr(forward.Stream, 'bytes_needed', bytes_needed)
    config.max_memory_gb = 0.06711  # a little more than the slack of 64 MiB
    with pytest.raises(ValueError, match=r"more \(the biggest layer is 'block1'\)\. Raise the limit to 0\.07"):
        extract.run(config, str(tmp_path / 'none'))
    assert sorted(needed) == [1, 2, 4, 8, 16] and needed[16] > 10 * needed[1] > 0
    config.max_memory_gb = (1.1 * needed[4] + extract._SLACK_BYTES + 100) / 1e9
    extract.run(config, str(tmp_path / 'some'))
    assert 'Batches of 4 images' in said()


def test_a_limit_that_opening_the_run_has_passed_is_refused(config, tmp_path):
    config.max_memory_gb = 0.05  # less than the interpreter with its libraries
    with pytest.raises(ValueError, match=r'but no layer yet, the process held \d\.\d\d GB'):
        extract.run(config, str(tmp_path))
    assert not list(tmp_path.glob('[bp]*.npy'))


@pytest.mark.parametrize(('limit_gb', 'times'), [(0.05, 1), (1000.0, 0)])
def test_room_is_made_where_the_limit_is_near(config, tmp_path, monkeypatch, limit_gb, times):
    made = []
    monkeypatch.setattr(memory, 'give_back_memory', lambda: made.append(1))
    config.max_memory_gb = limit_gb
    with contextlib.suppress(ValueError):
        extract.run(config, str(tmp_path))
    assert len(made) == times


def test_a_full_disk_is_foreseen_with_the_number_of_bytes(config, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(layer_writer.shutil, 'disk_usage', lambda _: usage._replace(free=1000))
    with pytest.raises(ValueError, match=r'needs 0\.\d+ GB of disk, but 0\.000 GB are free \(block1 0\.\d+ GB, '):
        extract.run(config, str(tmp_path / 'features'))
    assert not list(tmp_path.glob('features/[bp]*.npy'))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'layers': ('penultimat',)}, "no layer 'penultimat'. Did you mean 'penultimate'"),
        ({'split': 'tests'}, 'must be train, validation or test'),
        ({'run': ''}, "only \\('pixels',\\) needs no trained run"),
        ({'run': '', 'layers': ('pixels',)}, 'both empty'),
        ({'data.name': 'cifar10'}, 'beside config.run'),
        ({'batch_size': 0}, 'must be at least 1'),
        ({'checkpoint': 'last'}, "must be 'best', 'newest' or a step"),
    ],
)
def test_mistakes_are_named(config, tmp_path, changes, message):
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        extract.run(config, str(tmp_path))


def test_memory_stays_flat_while_a_layer_of_any_size_is_written(tmp_path):
    """A layer of 268 MB in batches of 8 MB: the process grows by a few batches, not by the layer."""
    n, d = 64, 1 << 20  # 4 MB an image
    run_devices = jax.local_devices()[:1]

    def function(params, model_state, image):
        del params, model_state
        return {
            'wide': jax.numpy.broadcast_to(image.reshape(len(image), -1)[:, :1].astype(np.float32), (len(image), d))
        }

    images = np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1)
    stream = forward.Stream(function, run_devices)
    written = layer_writer.LayerWriter(tmp_path, {'wide': {}}, {'wide': (n, d)})
    assert 3 * 4 * d * 2 <= stream.bytes_needed({}, {}, images, 2) <= 6 * 4 * d * 2
    before = memory.held_bytes()
    peak = 0
    for row, values in stream.batches({}, {}, images, 2):
        written.write(row, values)
        peak = max(peak, memory.held_bytes())
    written.close()
    written.finish()
    assert peak - before < 100e6 < 4 * n * d
    column = np.load(tmp_path / 'wide.npy', mmap_mode='r')[:, [0, d - 1]]
    np.testing.assert_array_equal(column, np.stack([images.ravel()] * 2, axis=1))


def test_a_run_of_a_version_that_could_not_watch_is_still_read(config, trained, tmp_path):
    shutil.copytree(trained, tmp_path / 'old')
    about = storage.read_json(trained / 'config.json')
    del about['watch']
    storage.write_json(tmp_path / 'old' / 'config.json', about)
    assert runs.open_run(tmp_path / 'old').state.step == runs.open_run(trained).state.step


def test_a_layer_is_known_again_when_the_run_is_named_by_another_path(config, trained, tmp_path):
    config.layers = ('penultimate', 'probs')
    extract.run(config, str(tmp_path / 'features'))
    (tmp_path / 'features' / 'probs.npy').unlink()
    before = (tmp_path / 'features' / 'penultimate.npy').stat().st_mtime_ns
    (tmp_path / 'link').symlink_to(trained)
    config.run = str(tmp_path / 'link')
    extract.run(config, str(tmp_path / 'features'))
    assert (tmp_path / 'features' / 'penultimate.npy').stat().st_mtime_ns == before
    assert (tmp_path / 'features' / 'probs.npy').exists()
