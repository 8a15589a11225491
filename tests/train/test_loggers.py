"""Loggers: TensorBoard, CSV and W&B behind CLU's interface."""

import csv
import importlib.util
import io
import os
import subprocess
import sys

import numpy as np
import pytest
from clu import asynclib
from PIL import Image
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalar
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.util import tensor_util

from humalign_jax.train import loggers


def read(logdir) -> EventAccumulator:
    return EventAccumulator(f'{logdir}/tensorboard', size_guidance={'images': 0, 'histograms': 0}).Reload()


def scalars(logdir, tag) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(logdir).Scalars(tag)]


def tensors(logdir, tag) -> list:
    return [(event.step, tensor_util.make_ndarray(event.tensor_proto)) for event in read(logdir).Tensors(tag)]


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_scalars_are_read_back_and_logged(tmp_path, caplog):
    caplog.set_level('INFO', logger='absl')
    writer = loggers.make_logger('tensorboard', tmp_path)
    for step in range(5):
        writer.write_scalars(step, {'loss': 1.0 / (step + 1), 'accuracy': np.float32(step)})
    writer.close()
    assert scalars(tmp_path, 'loss') == [(step, np.float32(1.0 / (step + 1))) for step in range(5)]
    assert scalars(tmp_path, 'accuracy') == [(step, step) for step in range(5)]
    assert '[3] accuracy=3.0, loss=0.25' in caplog.text


def test_scalars_are_on_the_disk_before_the_writer_is_closed(tmp_path):
    writer = loggers.make_logger('tensorboard', tmp_path)
    writer.write_scalars(7, {'loss': 2.0})
    writer.flush()
    assert scalars(tmp_path, 'loss') == [(7, 2.0)]
    writer.close()


@pytest.mark.parametrize('channels', [1, 3])
def test_uint8_images_are_read_back_bit_for_bit(tmp_path, channels):
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, channels), dtype=np.uint8)
    writer = loggers.make_logger('tensorboard', tmp_path)
    writer.write_images(3, {'recon': images})
    writer.close()
    for number, image in enumerate(images):
        [event] = read(tmp_path).Images(f'recon/{number}')
        assert (event.step, event.width, event.height) == (3, 7, 5)
        np.testing.assert_array_equal(pixels(event.encoded_image_string), image[..., 0] if channels == 1 else image)


@pytest.mark.parametrize(
    'images',
    [np.zeros((2, 3, 4, 2), np.uint8), np.zeros((3, 4, 3), np.uint8), np.zeros((2, 3, 4, 3), np.float32)],
    ids=['two channels', 'one image', 'float'],
)
def test_images_of_another_shape_or_dtype_are_an_error(tmp_path, images):
    writer = loggers.TensorBoardFile(tmp_path, 0)
    with pytest.raises(ValueError, match=rf"'x' must be uint8 \[n, h, w, c\] .* not {images.dtype} "):
        writer.write_images(0, {'x': images})
    writer.close()


def test_histograms_hold_numpys_counts_of_the_finite_values(tmp_path):
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    writer = loggers.make_logger('tensorboard', tmp_path)
    writer.write_histograms(2, {'w': np.append(values, [np.nan, np.inf]), 'constant': np.ones(4), 'none': np.zeros(0)})
    writer.write_histograms(3, {'w': values}, {'w': 7})
    writer.close()
    default, seven = (event.histogram_value for event in read(tmp_path).Histograms('w'))
    counts, edges = np.histogram(values.astype(np.float64), bins=30)
    np.testing.assert_array_equal(default.bucket, counts)
    np.testing.assert_array_equal(default.bucket_limit, edges[1:])
    assert (default.num, default.sum) == (1000, pytest.approx(values.sum(dtype=np.float64)))
    assert len(seven.bucket) == 7
    assert read(tmp_path).Histograms('constant')[0].histogram_value.num == 4
    assert read(tmp_path).Histograms('none')[0].histogram_value.num == 0


def test_histograms_are_shown_by_tensorboard_with_those_counts(tmp_path):
    values = np.random.default_rng(0).normal(size=1000)
    writer = loggers.make_logger('tensorboard', tmp_path)
    writer.write_histograms(2, {'w': values}, {'w': 7})
    writer.close()
    [event] = plugin_event_accumulator.EventAccumulator(f'{tmp_path}/tensorboard').Reload().Tensors('w')
    rows = tensor_util.make_ndarray(event.tensor_proto)  # left, right, count
    counts, edges = np.histogram(values, bins=7)
    np.testing.assert_array_equal(rows[:, 2], counts)
    np.testing.assert_allclose(rows[:, 0], edges[:-1], rtol=1e-6)  # TensorBoard keeps float32
    np.testing.assert_allclose(rows[:, 1], edges[1:], rtol=1e-6)  # TensorBoard keeps float32


def test_texts_and_tensors_are_read_back(tmp_path):
    writer = loggers.make_logger('tensorboard', tmp_path)
    writer.write_texts(1, {'note': '**Grüße**'})
    writer.write_summaries(4, {'raw': np.arange(3)})
    writer.close()
    [(step, value)] = tensors(tmp_path, 'note')
    assert (step, value.item().decode()) == (1, '**Grüße**')
    np.testing.assert_array_equal(tensors(tmp_path, 'raw')[0][1], [0, 1, 2])
    assert read(tmp_path).SummaryMetadata('note').plugin_data.plugin_name == 'text'


def test_hparams_of_a_nested_config_are_read_back(tmp_path):
    writer = loggers.make_logger('tensorboard', tmp_path)
    writer.write_hparams({'seed': 3, 'optimizer': {'name': 'adamw', 'rate': 1e-3, 'nesterov': True}, 'sizes': (1, 2)})
    writer.close()
    content = read(tmp_path).SummaryMetadata(hparams_metadata.SESSION_START_INFO_TAG).plugin_data.content
    found = hparams_metadata.parse_session_start_info_plugin_data(content).hparams
    assert {name: getattr(value, value.WhichOneof('kind')) for name, value in found.items()} == {
        'seed': 3.0,
        'optimizer.name': 'adamw',
        'optimizer.rate': 1e-3,
        'optimizer.nesterov': True,
        'sizes': '(1, 2)',
    }


@pytest.mark.parametrize('accumulator', [EventAccumulator, plugin_event_accumulator.EventAccumulator])
@pytest.mark.parametrize(('first_step', 'kept'), [(0, []), (3, [0, 1, 2, 3])])
def test_a_resumed_run_hides_the_steps_it_does_again(tmp_path, first_step, kept, accumulator):
    writer = loggers.make_logger('tensorboard', tmp_path)
    for step in range(6):
        writer.write_scalars(step, {'loss': step})
    writer.close()
    writer = loggers.make_logger('tensorboard', tmp_path, first_step=first_step)
    again = [first_step + 1, first_step + 2]
    for step in again:
        writer.write_scalars(step, {'loss': -step})
    writer.close()
    events = accumulator(f'{tmp_path}/tensorboard').Reload()
    if accumulator is EventAccumulator:
        found = [(event.step, event.value) for event in events.Scalars('loss')]
    else:  # what TensorBoard itself shows
        found = [(event.step, tensor_util.make_ndarray(event.tensor_proto)) for event in events.Tensors('loss')]
    assert found == [(step, step) for step in kept] + [(step, -step) for step in again]


def test_a_file_cut_short_by_a_kill_is_read_up_to_there(tmp_path):
    writer = loggers.TensorBoardFile(tmp_path, 0)
    for step in range(3):
        writer.write_scalars(step, {'loss': step})
    writer.close()
    [path] = (tmp_path / 'tensorboard').iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    assert [step for step, _ in scalars(tmp_path, 'loss')] == [0, 1]


def test_an_error_in_the_background_comes_out_of_a_later_call(tmp_path):
    writer = loggers.make_logger('tensorboard', tmp_path)
    writer.write_images(0, {'bad': np.zeros((2, 2))})
    with pytest.raises(asynclib.AsyncError, match=r"'bad' must be uint8 \[n, h, w, c\]"):
        writer.flush()
    writer.close()


def test_periodic_actions_report_through_the_writer(tmp_path):
    writer = loggers.make_logger('tensorboard', tmp_path)
    called = []
    actions = [
        loggers.periodic_actions.ReportProgress(num_train_steps=4, writer=writer, every_steps=2),
        loggers.periodic_actions.PeriodicCallback(every_steps=2, callback_fn=lambda step, t: called.append(step)),
    ]
    for step in range(1, 5):
        for action in actions:
            action(step, t=10.0 * step)
    writer.close()
    assert called == [2, 4]
    assert [step for step, _ in scalars(tmp_path, 'steps_per_sec')] == [2, 4]
    assert scalars(tmp_path, 'steps_per_sec')[1][1] == pytest.approx(0.1)


def test_tensorflow_is_not_imported_even_where_it_is_installed(tmp_path):
    package = tmp_path / 'site' / 'tensorflow'
    package.mkdir(parents=True)
    (package / '__init__.py').write_text(f'open({str(tmp_path / "imported")!r}, "w").close()\n')
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})
import importlib.util, numpy as np
assert importlib.util.find_spec('tensorflow')
from humalign_jax.train import loggers
writer = loggers.make_logger('tensorboard', {str(tmp_path / 'logs')!r}, first_step=2)
writer.write_scalars(3, {{'loss': 1.0}}); writer.write_images(3, {{'i': np.zeros((1, 2, 2, 3), np.uint8)}})
writer.write_texts(3, {{'t': 'x'}}); writer.write_histograms(3, {{'h': np.arange(5)}}); writer.write_hparams({{'a': 1}})
loggers.periodic_actions.ReportProgress(num_train_steps=4, writer=writer)
writer.close()
print([name for name in sys.modules if name.split('.')[0] == 'tensorflow'])
"""
    done = subprocess.run([sys.executable, '-W', 'error', '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]', done.stderr
    assert not (tmp_path / 'imported').exists()
    assert [step for step, _ in scalars(tmp_path / 'logs', 'loss')] == [3]


def test_bands_tell_tensorboard_which_scalars_bound_which(tmp_path):
    writer = loggers.make_logger('tensorboard', tmp_path)
    loggers.write_bands(writer, ('alignment/rsa', 'alignment/rsa_partial'))
    writer.close()
    ((_, written),) = tensors(tmp_path, custom_scalar.CONFIG_SUMMARY_TAG)
    first, second = layout_pb2.Layout.FromString(written.item()).category[0].chart
    (series,) = first.margin.series
    assert (series.value, series.lower) == ('alignment/rsa', 'alignment/rsa_ceiling_lower')
    assert second.margin.series[0].upper == 'alignment/rsa_partial_ceiling_upper'


def test_csv_holds_every_number_at_full_precision(tmp_path):
    logger = loggers.make_logger('csv', tmp_path)
    logger.write_hparams({'seed': 1})
    logger.write_scalars(1, {'train/loss': 0.1, 'train/a, "b"': np.float32(0.1)})
    logger.write_scalars(2, {'train/loss': float('nan')})
    logger.close()
    with open(tmp_path / 'metrics.csv', newline='') as file:
        rows = list(csv.reader(file))
    assert rows[0] == ['step', 'name', 'value']
    assert rows[1:] == [
        ['1', 'train/loss', '0.1'],
        ['1', 'train/a, "b"', repr(float(np.float32(0.1)))],
        ['2', 'train/loss', 'nan'],
    ]


def test_csv_lines_are_on_the_disk_before_the_logger_is_closed(tmp_path):
    logger = loggers.CsvFile(tmp_path, 0)
    logger.write_scalars(7, {'loss': 2.0})
    assert (tmp_path / 'metrics.csv').read_text() == 'step,name,value\n7,loss,2.0\n'
    logger.close()


def test_a_resumed_run_drops_csv_lines_that_it_writes_again_and_a_half_line(tmp_path):
    (tmp_path / 'metrics.csv').write_text('step,name,value\n2,loss,2.0\n3,loss,3.0\n4,loss,4.0\n1')
    logger = loggers.make_logger('csv', tmp_path, first_step=3)
    logger.write_scalars(4, {'loss': -4.0})
    logger.close()
    assert (tmp_path / 'metrics.csv').read_text().splitlines()[1:] == ['2,loss,2.0', '3,loss,3.0', '4,loss,-4.0']


def test_an_unknown_logger_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(ValueError, match=r"config.train.logger='tensorbord' .* 'tensorboard'"):
        loggers.make_logger('tensorbord', tmp_path)


def test_a_missing_package_is_answered_with_its_installation(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'wandb', None)
    with pytest.raises(ValueError, match=r"pip install 'humalign_jax\[wandb\]'"):
        loggers.make_logger('wandb', tmp_path)


def test_wandb_keeps_an_offline_run_in_the_folder(tmp_path):
    """In a process of its own: W&B starts a service and leaves threads."""
    if importlib.util.find_spec('wandb') is None:
        pytest.skip("needs the extra 'wandb'")
    code = f"""
import numpy as np
from humalign_jax.train import loggers
logger = loggers.make_logger('wandb', {str(tmp_path)!r}, first_step=2)
logger.write_hparams({{'seed': 3, 'model': {{'name': 'vae'}}}})
logger.write_scalars(3, {{'train/loss': 1.0}})
logger.write_scalars(4, {{'train/loss': 0.25}})
logger.write_images(4, {{'recon': np.full((1, 2, 2, 3), 7, np.uint8)}})
logger.close()
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith('WANDB_')}
    subprocess.run([sys.executable, '-c', code], env=environment, check=True)
    [run] = (tmp_path / 'wandb').glob('offline-run-*')
    [record] = run.glob('*.wandb')
    assert all(part in record.read_bytes() for part in (b'train/loss', b'0.25', b'vae'))
    [image] = (run / 'files' / 'media' / 'images').glob('recon*.png')
    np.testing.assert_array_equal(np.asarray(Image.open(image)), np.full((2, 2, 3), 7))
