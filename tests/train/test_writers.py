"""Metric writers and progress."""

import io
import subprocess
import sys

import ml_dtypes
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

from humalign_jax.train import writers


def read(logdir) -> EventAccumulator:
    return EventAccumulator(str(logdir), size_guidance={'images': 0, 'histograms': 0}).Reload()


def scalars(logdir, tag) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(logdir).Scalars(tag)]


def tensors(logdir, tag) -> list:
    return [(event.step, tensor_util.make_ndarray(event.tensor_proto)) for event in read(logdir).Tensors(tag)]


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize('asynchronous', [True, False])
def test_scalars_are_read_back_and_logged(tmp_path, asynchronous, caplog):
    caplog.set_level('INFO', logger='absl')
    writer = writers.make_writer(tmp_path, asynchronous=asynchronous)
    for step in range(5):
        writer.write_scalars(step, {'loss': 1.0 / (step + 1), 'accuracy': np.float32(step)})
    writer.close()
    assert scalars(tmp_path, 'loss') == [(step, np.float32(1.0 / (step + 1))) for step in range(5)]
    assert scalars(tmp_path, 'accuracy') == [(step, step) for step in range(5)]
    assert '[3] accuracy=3.0, loss=0.25' in caplog.text


def test_scalars_are_on_the_disk_before_the_writer_is_closed(tmp_path):
    writer = writers.make_writer(tmp_path, asynchronous=False)
    writer.write_scalars(7, {'loss': 2.0})
    assert scalars(tmp_path, 'loss') == [(7, 2.0)]
    writer.close()


@pytest.mark.parametrize('channels', [1, 3])
def test_uint8_images_are_read_back_bit_for_bit(tmp_path, channels):
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, channels), dtype=np.uint8)
    writer = writers.make_writer(tmp_path)
    writer.write_images(3, {'recon': images})
    writer.close()
    for number, image in enumerate(images):
        [event] = read(tmp_path).Images(f'recon/{number}')
        assert (event.step, event.width, event.height) == (3, 7, 5)
        np.testing.assert_array_equal(pixels(event.encoded_image_string), image[..., 0] if channels == 1 else image)


@pytest.mark.parametrize('dtype', [np.float32, ml_dtypes.bfloat16])
def test_float_images_are_scaled_and_clipped(tmp_path, dtype):
    image = np.array([-1.0, 0.0, 0.5, 1.0, 2.0, np.nan], dtype).reshape(1, 6, 1)
    writer = writers.make_writer(tmp_path)
    writer.write_images(0, {'image': image})
    writer.close()
    [event] = read(tmp_path).Images('image')
    np.testing.assert_array_equal(pixels(event.encoded_image_string), [[0, 0, 128, 255, 255, 0]])


def test_images_of_another_shape_or_dtype_are_an_error(tmp_path):
    writer = writers.SummaryWriter(tmp_path)
    with pytest.raises(ValueError, match=r"'x' must be \[n, h, w, c\].*\(2, 3, 4, 2\)"):
        writer.write_images(0, {'x': np.zeros((2, 3, 4, 2), np.uint8)})
    with pytest.raises(ValueError, match=r"'x' must be uint8, or float.*int32"):
        writer.write_images(0, {'x': np.zeros((2, 3, 4, 3), np.int32)})
    writer.close()


def test_histograms_hold_numpys_counts_of_the_finite_values(tmp_path):
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    writer = writers.make_writer(tmp_path)
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
    writer = writers.make_writer(tmp_path)
    writer.write_histograms(2, {'w': values}, {'w': 7})
    writer.close()
    [event] = plugin_event_accumulator.EventAccumulator(str(tmp_path)).Reload().Tensors('w')
    rows = tensor_util.make_ndarray(event.tensor_proto)  # left, right, count
    counts, edges = np.histogram(values, bins=7)
    np.testing.assert_array_equal(rows[:, 2], counts)
    np.testing.assert_allclose(rows[:, 0], edges[:-1], rtol=1e-6)  # TensorBoard keeps float32
    np.testing.assert_allclose(rows[:, 1], edges[1:], rtol=1e-6)  # TensorBoard keeps float32


def test_texts_and_tensors_are_read_back(tmp_path):
    writer = writers.make_writer(tmp_path)
    writer.write_texts(1, {'note': '**Grüße**'})
    writer.write_summaries(4, {'raw': np.arange(3)})
    writer.close()
    [(step, value)] = tensors(tmp_path, 'note')
    assert (step, value.item().decode()) == (1, '**Grüße**')
    np.testing.assert_array_equal(tensors(tmp_path, 'raw')[0][1], [0, 1, 2])
    assert read(tmp_path).SummaryMetadata('note').plugin_data.plugin_name == 'text'


def test_hparams_of_a_nested_config_are_read_back(tmp_path):
    writer = writers.make_writer(tmp_path)
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
    writer = writers.make_writer(tmp_path)
    for step in range(6):
        writer.write_scalars(step, {'loss': step})
    writer.close()
    writer = writers.make_writer(tmp_path, first_step=first_step)
    again = [first_step + 1, first_step + 2]
    for step in again:
        writer.write_scalars(step, {'loss': -step})
    writer.close()
    events = accumulator(str(tmp_path)).Reload()
    if accumulator is EventAccumulator:
        found = [(event.step, event.value) for event in events.Scalars('loss')]
    else:  # what TensorBoard itself shows
        found = [(event.step, tensor_util.make_ndarray(event.tensor_proto)) for event in events.Tensors('loss')]
    assert found == [(step, step) for step in kept] + [(step, -step) for step in again]


def test_a_file_cut_short_by_a_kill_is_read_up_to_there(tmp_path):
    writer = writers.SummaryWriter(tmp_path)
    for step in range(3):
        writer.write_scalars(step, {'loss': step})
    writer.close()
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    assert [step for step, _ in scalars(tmp_path, 'loss')] == [0, 1]


def test_an_error_in_the_background_comes_out_of_a_later_call(tmp_path):
    writer = writers.make_writer(tmp_path)
    writer.write_images(0, {'bad': np.zeros((2, 2))})
    with pytest.raises(asynclib.AsyncError, match=r"'bad' must be \[n, h, w, c\]"):
        writer.flush()
    writer.close()


def test_periodic_actions_report_through_the_writer(tmp_path):
    writer = writers.make_writer(tmp_path)
    called = []
    actions = [
        writers.periodic_actions.ReportProgress(num_train_steps=4, writer=writer, every_steps=2),
        writers.periodic_actions.PeriodicCallback(every_steps=2, callback_fn=lambda step, t: called.append(step)),
    ]
    for step in range(1, 5):
        for action in actions:
            action(step, t=10.0 * step)
    writer.close()
    assert called == [2, 4]
    assert [step for step, _ in scalars(tmp_path, 'steps_per_sec')] == [2, 4]
    assert scalars(tmp_path, 'steps_per_sec')[1][1] == pytest.approx(0.1)


def test_the_writer_is_a_clu_writer(tmp_path):
    writer = writers.SummaryWriter(tmp_path)
    assert isinstance(writer, writers.metric_writers.MetricWriter)
    public = {name for name in vars(writers.metric_writers.MetricWriter) if not name.startswith('_')}
    assert public <= {name for name in dir(writer) if not name.startswith('_')}
    writer.close()


def test_tensorflow_is_not_imported_even_where_it_is_installed(tmp_path):
    package = tmp_path / 'site' / 'tensorflow'
    package.mkdir(parents=True)
    (package / '__init__.py').write_text(f'open({str(tmp_path / "imported")!r}, "w").close()\n')
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})
import importlib.util, numpy as np
assert importlib.util.find_spec('tensorflow')
from humalign_jax.train import writers
writer = writers.make_writer({str(tmp_path / 'logs')!r}, first_step=2)
writer.write_scalars(3, {{'loss': 1.0}}); writer.write_images(3, {{'i': np.zeros((1, 2, 2, 3))}})
writer.write_texts(3, {{'t': 'x'}}); writer.write_histograms(3, {{'h': np.arange(5)}}); writer.write_hparams({{'a': 1}})
writers.periodic_actions.ReportProgress(num_train_steps=4, writer=writer)
writer.close()
print([name for name in sys.modules if name.split('.')[0] == 'tensorflow'])
"""
    done = subprocess.run([sys.executable, '-W', 'error', '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]', done.stderr
    assert not (tmp_path / 'imported').exists()
    assert [step for step, _ in scalars(tmp_path / 'logs', 'loss')] == [3]


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_writes_a_line_every_few_seconds_to_a_log_file():
    clock, stream = Clock(), io.StringIO()
    progress = writers.Progress(200, 100, 32, 'train', every_seconds=10, stream=stream, clock=clock)
    for step in range(101, 125):  # one second a step
        clock.now += 1.0
        progress.update(step, {'loss': np.float32(step)} if step % 2 else None)
    progress.close()
    assert stream.getvalue().splitlines() == [
        'train: step 110/200 (55.0%), 32 examples/s, ETA 0:01:30, loss 109',
        'train: step 120/200 (60.0%), 32 examples/s, ETA 0:01:20, loss 119',
        'train: step 124/200 (62.0%), 32 examples/s, ETA 0:01:16, loss 123',
    ]


def test_progress_leaves_the_compilation_of_the_first_step_out_of_the_eta():
    clock, stream = Clock(), io.StringIO()
    progress = writers.Progress(3600, 0, 1, 'train', every_seconds=60, stream=stream, clock=clock)
    clock.now += 50.0  # compilation
    for step in range(1, 12):
        progress.update(step)
        clock.now += 1.0
    assert 'step 11/3600 (0.3%)' in stream.getvalue()
    assert 'ETA 0:59:49' in stream.getvalue()


def test_a_first_step_that_compiles_has_no_eta():
    clock, stream = Clock(), io.StringIO()
    progress = writers.Progress(3600, 0, 1, 'train', every_seconds=10, stream=stream, clock=clock)
    clock.now += 50.0  # compilation
    progress.update(1, {'loss': 2.0})
    assert stream.getvalue() == 'train: step 1/3600 (0.0%), compiling (once, then cached), loss 2\n'


def test_a_bar_counts_from_the_end_of_compilation():
    clock, stream = Clock(), Terminal()
    progress = writers.Progress(10, 0, 8, 'train', stream=stream, clock=clock)
    assert 'compiling (once, then cached)' in stream.getvalue()
    progress._bar.start_t -= 5000.0  # compilation
    progress.update(1)
    clock.now += 1.0
    progress.update(2)
    progress.close()
    assert '2/10 [00:0' in stream.getvalue()  # the time since the first step, not 1:23:20


def test_progress_is_a_bar_on_a_terminal():
    clock, stream = Clock(), Terminal()
    progress = writers.Progress(10, 4, 8, 'train', stream=stream, clock=clock)
    for step in range(5, 11):
        clock.now += 1.0
        progress.update(step, {'loss': 0.5})
    progress.close()
    assert '\r' in stream.getvalue()
    assert '10/10' in stream.getvalue()
    assert '8 examples/s, loss 0.5' in stream.getvalue()


def test_a_finished_loop_shows_nothing_more():
    stream = io.StringIO()
    writers.Progress(10, 10, 8, 'train', stream=stream).close()
    assert stream.getvalue() == ''


def test_bands_tell_tensorboard_which_scalars_bound_which(tmp_path):
    writer = writers.make_writer(tmp_path)
    writers.write_bands(writer, ('alignment/rsa', 'alignment/rsa_partial'))
    writer.close()
    ((_, written),) = tensors(tmp_path, custom_scalar.CONFIG_SUMMARY_TAG)
    first, second = layout_pb2.Layout.FromString(written.item()).category[0].chart
    (series,) = first.margin.series
    assert (series.value, series.lower) == ('alignment/rsa', 'alignment/rsa_ceiling_lower')
    assert second.margin.series[0].upper == 'alignment/rsa_partial_ceiling_upper'
