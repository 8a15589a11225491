"""TensorBoard and progress without TensorFlow: CLU's metric writers and periodic actions over an event file of our own.

`import clu.metric_writers` imports TensorFlow for its `SummaryWriter`. Here an own one takes that place before CLU is
first imported, also where TensorFlow is installed: one path, and no 1.4 GB and 5 seconds for a curve. Import CLU's
`metric_writers` and `periodic_actions` from this module, never directly.
"""

# Protobuf makes its classes while it is imported, where a type checker cannot see them.
# pyright: reportAttributeAccessIssue=false

import io
import os
import pathlib
import socket
import sys
import time
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

import numpy as np
import tqdm
from absl import logging
from PIL import Image
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalar
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from humalign_jax import storage

__all__ = ['Progress', 'SummaryWriter', 'make_writer', 'metric_writers', 'periodic_actions', 'write_bands']


class SummaryWriter:
    """A CLU metric writer over one TensorBoard event file; nothing it writes needs TensorFlow.

    Scalars, images and histograms have the format that PyTorch writes too, so that EventAccumulator and the tools built
    on it find them as such (TensorFlow 2 hides them in tensors).

    Args:
        logdir: Folder of the event file; made if missing.
        first_step: How many steps are already done. TensorBoard then hides what earlier event files of the folder hold
            of later steps (of all steps where it is 0): a run that was killed shows no step twice.
    """

    def __init__(self, logdir: storage.PathLike, *, first_step: int = 0) -> None:
        folder = pathlib.Path(logdir)
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a folder in the order of their names; nanoseconds keep it right after a quick
        # restart.
        name = f'events.out.tfevents.{time.time_ns() / 1e9:020.9f}.{socket.gethostname()}.{os.getpid()}'
        self._file = open(folder / name, 'xb')  # noqa: SIM115  closed in close()
        self._records = RecordWriter(self._file)
        self._write(event_pb2.Event(file_version='brain.Event:2'))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(event_pb2.Event(step=first_step + 1 if first_step else 0, session_log=start))

    def write_summaries(
        self, step: int, values: Mapping[str, np.ndarray], metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Writes tensors as they are, each with the plugin metadata of its tag."""
        for tag, value in values.items():
            self._add(
                step, tag, tensor=tensor_util.make_tensor_proto(np.asarray(value)), metadata=(metadata or {}).get(tag)
            )

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes numbers, as float32."""
        for tag, value in scalars.items():
            self._add(step, tag, simple_value=float(np.asarray(value).reshape(())))

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes images as PNG, tagged `tag/0`, `tag/1` ... where there are several.

        Args:
            step: Step at which they were made.
            images: [n, h, w, c] or [h, w, c] with 1, 3 or 4 channels, by tag: uint8, or floats in [0, 1]; values
                outside are clipped, NaN is black.

        Raises:
            ValueError: The shape or dtype is another.
        """
        for tag, values in images.items():
            values = np.asarray(values)
            values = values[None] if values.ndim == 3 else values
            if values.ndim != 4 or values.shape[-1] not in (1, 3, 4):
                raise ValueError(f'images {tag!r} must be [n, h, w, c] with 1, 3 or 4 channels, not {values.shape}.')
            for number, image in enumerate(_to_uint8(tag, values)):
                height, width, colorspace = image.shape  # the format counts channels: 1 grey, 3 RGB, 4 RGBA
                encoded = summary_pb2.Summary.Image(
                    height=height, width=width, colorspace=colorspace, encoded_image_string=_png(image)
                )
                self._add(step, tag if len(values) == 1 else f'{tag}/{number}', image=encoded)

    def write_videos(self, step: int, videos: Mapping[str, np.ndarray]) -> None:
        """Says once that videos are not written."""
        logging.log_first_n(logging.WARNING, 'Videos are not written to TensorBoard.', 1)

    def write_audios(self, step: int, audios: Mapping[str, np.ndarray], *, sample_rate: int) -> None:
        """Says once that sounds are not written."""
        logging.log_first_n(logging.WARNING, 'Sounds are not written to TensorBoard.', 1)

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Writes texts, shown as Markdown."""
        for tag, text in texts.items():
            self._write(event_pb2.Event(step=step, summary=text_pb(tag, text)))

    def write_histograms(
        self, step: int, arrays: Mapping[str, np.ndarray], num_buckets: Mapping[str, int] | None = None
    ) -> None:
        """Writes histograms of the finite values, with 30 buckets unless `num_buckets` says otherwise."""
        for tag, values in arrays.items():
            values = np.asarray(values, dtype=np.float64).ravel()
            values = values[np.isfinite(values)]
            counts, edges = np.histogram(values, bins=(num_buckets or {}).get(tag) or 30)
            histogram = summary_pb2.HistogramProto(
                min=edges[0],
                max=edges[-1],
                num=values.size,
                sum=values.sum(),
                sum_squares=np.square(values).sum(),
                bucket_limit=edges[1:],  # upper ends; the first bucket begins at the minimum
                bucket=counts,
            )
            self._add(step, tag, histo=histogram)

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Writes the run's settings, nested ones as `outer.inner`; lists and None as text."""
        self._write(event_pb2.Event(summary=hparams_pb(dict(_flat(hparams)))))

    def flush(self) -> None:
        """Every write is flushed at once, so that TensorBoard shows it and a kill loses nothing."""

    def close(self) -> None:
        """Closes the event file."""
        self._records.close()

    def _add(self, step: int, tag: str, **value: Any) -> None:
        summary = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, **value)])
        self._write(event_pb2.Event(step=step, summary=summary))

    def _write(self, event: event_pb2.Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
        self._records.flush()


_module = types.ModuleType('clu.metric_writers.summary_writer', 'Stands in for the one that imports TensorFlow.')
vars(_module)['SummaryWriter'] = SummaryWriter
sys.modules.setdefault(_module.__name__, _module)

from clu import metric_writers, periodic_actions  # noqa: E402  after the stand-in

# A virtual subclass, because the base class cannot be imported before the stand-in.
metric_writers.MetricWriter.register(SummaryWriter)


class _Log(metric_writers.LoggingWriter):
    """CLU's log without histograms: thirty numbers in a line help nobody."""

    def write_histograms(self, step: int, arrays: Any, num_buckets: Any = None) -> None:
        """Writes nothing."""


def make_writer(
    logdir: storage.PathLike, *, asynchronous: bool = True, first_step: int = 0
) -> metric_writers.MetricWriter:
    """A writer for TensorBoard that also logs scalars, texts and settings through absl.

    Args:
        logdir: Folder of the event files.
        asynchronous: Write in a thread; an error then comes out of a later call, `flush()` or `close()`.
        first_step: How many steps are already done; what TensorBoard has of later ones is hidden.

    Returns:
        CLU's MetricWriter: scalars, images, texts, histograms and hparams; close it at the end.
    """
    writers = [_Log(), SummaryWriter(logdir, first_step=first_step)]
    return metric_writers.AsyncMultiWriter(writers) if asynchronous else metric_writers.MultiWriter(writers)


def write_bands(writer: metric_writers.MetricWriter, tags: Sequence[str], *, step: int = 0) -> None:
    """Tells TensorBoard (tab "Custom Scalars") to draw each scalar with its band, `<tag>_ceiling_lower` to `_upper`.

    Args:
        writer: From `make_writer`.
        tags: Scalars that are written with their two bounds.
        step: Steps already done.
    """
    charts = []
    for tag in tags:
        names = {'value': tag, 'lower': f'{tag}_ceiling_lower', 'upper': f'{tag}_ceiling_upper'}
        margin = layout_pb2.MarginChartContent(series=[layout_pb2.MarginChartContent.Series(**names)])
        charts.append(layout_pb2.Chart(title=f'{tag} and its noise ceiling', margin=margin))
    layout = layout_pb2.Layout(category=[layout_pb2.Category(title=tags[0].split('/')[0], chart=charts)])
    tag = custom_scalar.CONFIG_SUMMARY_TAG
    # As an object: NumPy's own strings lose trailing zero bytes.
    values = {tag: np.array(layout.SerializeToString(), dtype=object)}
    writer.write_summaries(step, values, {tag: custom_scalar.create_summary_metadata()})


COMPILING = 'compiling (once, then cached)'


class Progress:
    """How far a loop is: a bar on a terminal, a line every few seconds in a log file.

    Args:
        total_steps: Step at which the loop ends.
        first_step: How many steps were done before this process.
        examples_per_step: Batch size over all devices.
        label: What runs, such as 'train'.
        every_seconds: Seconds between two lines.
        stream: Where to write, standard error if None.
        clock: A clock in seconds.
    """

    def __init__(
        self,
        total_steps: int,
        first_step: int,
        examples_per_step: int,
        label: str,
        *,
        every_seconds: float = 10.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._examples_per_step, self._label = total_steps, examples_per_step, label
        self._every_seconds, self._clock = every_seconds, clock
        self._stream = sys.stderr if stream is None else stream
        self._step = self._shown_step = first_step
        self._shown_at = clock()
        self._first: tuple[int, float] | None = None  # step and time of the first update: after compilation
        self._loss: Any = None
        self._bar: tqdm.tqdm | None = None
        if self._stream.isatty():
            self._every_seconds = min(every_seconds, 0.5)
            self._bar = tqdm.tqdm(total=total_steps, initial=first_step, desc=label, unit='step', file=self._stream)
            self._bar.set_postfix_str(COMPILING, refresh=first_step < total_steps)

    def update(self, step: int, metrics: Mapping[str, Any] | None = None) -> None:
        """Notes that `step` steps are done; `metrics['loss']`, if given, is shown with the next line.

        The loss is turned into a number only when it is shown, so that a value still being computed holds up nothing.
        """
        now = self._clock()
        self._step = step
        if self._first is None:
            self._first = (step, now)
            if self._bar is not None:  # its rate, too, begins after compilation
                self._bar.n = self._bar.initial = self._bar.last_print_n = step
                self._bar.start_t = self._bar.last_print_t = time.time()
        self._loss = (metrics or {}).get('loss', self._loss)
        if now - self._shown_at >= self._every_seconds:
            self._show(now)

    def close(self) -> None:
        """Shows the last step, if it was not shown yet, and ends the bar."""
        if self._step != self._shown_step:
            self._show(self._clock())
        if self._bar is not None:
            self._bar.close()

    def _show(self, now: float) -> None:
        rate = (self._step - self._shown_step) / max(now - self._shown_at, 1e-9)
        rate_shown = f'{rate * self._examples_per_step:.0f} examples/s'
        loss = [] if self._loss is None else [f'loss {float(self._loss):.4g}']
        if self._bar is not None:
            self._bar.set_postfix_str(', '.join([rate_shown, *loss]), refresh=False)
            self._bar.update(self._step - self._bar.n)
        else:
            done = f'step {self._step}/{self._total} ({self._step / max(self._total, 1):.1%})'
            compiled = self._first is not None and self._first[0] == self._step
            speed = [COMPILING] if compiled else [rate_shown, f'ETA {self._eta(now, rate)}']
            line = ', '.join([done, *speed, *loss])
            print(f'{self._label}: {line}', file=self._stream, flush=True)
        self._shown_step, self._shown_at = self._step, now

    def _eta(self, now: float, recent_rate: float) -> str:
        """Remaining time at the mean rate since the first update, h:mm:ss."""
        step, at = self._first or (self._step, now)
        rate = (self._step - step) / (now - at) if self._step > step and now > at else recent_rate
        if rate <= 0:
            return '?'
        minutes, seconds = divmod(round((self._total - self._step) / rate), 60)
        return f'{minutes // 60}:{minutes % 60:02d}:{seconds:02d}'


def _to_uint8(tag: str, values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == 'f' or values.dtype.name == 'bfloat16':
        return np.rint(np.clip(np.nan_to_num(values.astype(np.float32), nan=0.0), 0.0, 1.0) * 255.0).astype(np.uint8)
    raise ValueError(f'images {tag!r} must be uint8, or float in [0, 1], not {values.dtype}.')


def _png(image: np.ndarray) -> bytes:
    """A PNG file of one image, [h, w, c] uint8."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, format='PNG')
    return file.getvalue()


def _flat(settings: Mapping[str, Any], prefix: str = '') -> list[tuple[str, bool | int | float | str]]:
    rows = []
    for name, value in settings.items():
        if hasattr(value, 'items'):
            rows += _flat(value, f'{prefix}{name}.')
        else:
            rows.append((prefix + name, value if isinstance(value, bool | int | float | str) else str(value)))
    return rows
