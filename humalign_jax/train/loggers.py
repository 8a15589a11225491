"""Where the curves of a run go: TensorBoard, a CSV file or Weights & Biases, by CLU's metric writers.

A logger is a CLU `MetricWriter`; `make_logger` makes the one that `config.train.logger` names. CLU imports TensorFlow
for its own `SummaryWriter`: import `metric_writers` and `periodic_actions` from this module, never directly.
"""

# Protobuf makes its classes while it is imported, where a type checker cannot see them.
# pyright: reportAttributeAccessIssue=false

import csv
import io
import os
import pathlib
import socket
import sys
import time
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util
from PIL import Image
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalar
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from humalign_jax import processes, settings, storage

# `clu/metric_writers/__init__.py` of CLU 0.0.12, the newest, imports its writer that needs TensorFlow. An empty module
# takes the place of that one; CLU is otherwise as it is.
_without_tensorflow = types.ModuleType('clu.metric_writers.summary_writer')
vars(_without_tensorflow)['SummaryWriter'] = None
sys.modules.setdefault(_without_tensorflow.__name__, _without_tensorflow)

from clu import metric_writers, periodic_actions  # noqa: E402

__all__ = ['Logger', 'make_logger', 'metric_writers', 'periodic_actions', 'write_bands']


class Logger(metric_writers.MetricWriter):
    """CLU's interface; a logger overrides the methods for what it can hold, and leaves out the rest."""

    def _leave_out(self, *args: Any, **kwargs: Any) -> None: ...

    write_summaries = write_scalars = write_images = write_videos = write_audios = write_texts = _leave_out
    write_histograms = write_hparams = flush = close = _leave_out


class _Log(metric_writers.LoggingWriter):
    """CLU's log without histograms: it fails on values that are not finite, and nobody reads thirty numbers."""

    def write_histograms(self, step: int, arrays: Any, num_buckets: Any = None) -> None:
        """Writes nothing."""


class TensorBoardFile(Logger):
    """An event file in `<folder>/tensorboard`; of earlier files there, TensorBoard hides all steps after the first.

    Scalars, images and histograms have the format that PyTorch writes too, so that EventAccumulator and the tools built
    on it find them as such (TensorFlow 2 hides them in tensors). Every write is flushed: a kill loses nothing.
    """

    def __init__(self, folder: pathlib.Path, first_step: int) -> None:
        folder = folder / 'tensorboard'
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a folder in the order of their names.
        name = f'events.out.tfevents.{time.time_ns() / 1e9:020.9f}.{socket.gethostname()}.{os.getpid()}'
        self._records = RecordWriter(open(folder / name, 'xb'))  # noqa: SIM115  closed in close()
        self._write(file_version='brain.Event:2')
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(step=first_step + 1 if first_step else 0, session_log=start)

    def write_summaries(
        self, step: int, values: Mapping[str, np.ndarray], metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Writes tensors as they are, each with the plugin metadata of its tag."""
        for tag, value in values.items():
            self._add(step, tag, tensor=tensor_util.make_tensor_proto(value), metadata=(metadata or {}).get(tag))

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes numbers, as float32."""
        for tag, value in scalars.items():
            self._add(step, tag, simple_value=float(value))

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes images as PNG, tagged `tag/0`, `tag/1` ... where there are several.

        Raises:
            ValueError: Images are not uint8 [n, h, w, c] with 1, 3 or 4 channels.
        """
        for tag, values in images.items():
            if values.ndim != 4 or values.shape[-1] not in (1, 3, 4) or values.dtype != np.uint8:
                raise ValueError(
                    f'images {tag!r} must be uint8 [n, h, w, c] with 1, 3 or 4 channels, '
                    f'not {values.dtype} {list(values.shape)}.'
                )
            for number, image in enumerate(values):
                file, (height, width, channels) = io.BytesIO(), image.shape
                Image.fromarray(image[..., 0] if channels == 1 else image).save(file, format='PNG')
                encoded = summary_pb2.Summary.Image(
                    height=height, width=width, colorspace=channels, encoded_image_string=file.getvalue()
                )
                self._add(step, tag if len(values) == 1 else f'{tag}/{number}', image=encoded)

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Writes texts, shown as Markdown."""
        for tag, text in texts.items():
            self._write(step=step, summary=text_pb(tag, text))

    def write_histograms(
        self, step: int, arrays: Mapping[str, np.ndarray], num_buckets: Mapping[str, int] | None = None
    ) -> None:
        """Writes histograms of the finite values, with 30 buckets unless `num_buckets` says otherwise."""
        for tag, values in arrays.items():
            values = np.asarray(values, dtype=np.float64)
            values = values[np.isfinite(values)]
            counts, edges = np.histogram(values, bins=(num_buckets or {}).get(tag) or 30)
            histogram = summary_pb2.HistogramProto(
                min=edges[0], max=edges[-1], num=values.size, sum=values.sum(), sum_squares=np.square(values).sum(),
                bucket_limit=edges[1:], bucket=counts,  # upper ends; the first bucket begins at the minimum
            )  # fmt: skip
            self._add(step, tag, histo=histogram)

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Writes the run's settings, nested ones as `outer.inner`; lists and None as text."""
        flat = traverse_util.flatten_dict(dict(hparams), sep='.')
        shown = {name: value if isinstance(value, bool | int | float) else str(value) for name, value in flat.items()}
        self._write(summary=hparams_pb(shown))

    def close(self) -> None:
        """Closes the event file."""
        self._records.close()

    def _add(self, step: int, tag: str, **value: Any) -> None:
        self._write(step=step, summary=summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, **value)]))

    def _write(self, **content: Any) -> None:
        self._records.write(event_pb2.Event(wall_time=time.time(), **content).SerializeToString())
        self._records.flush()


class CsvFile(Logger):
    """`<folder>/metrics.csv`: the numbers of `metrics.jsonl`, and the speed, as lines `step,name,value` for R.

    Lines of steps after the first are dropped at the start: the run writes them again.
    """

    def __init__(self, folder: pathlib.Path, first_step: int) -> None:
        path = folder / 'metrics.csv'
        whole = path.read_text().rpartition('\n')[0].splitlines()[1:] if path.exists() else []  # no half last line
        kept = [line for line in whole if int(line.partition(',')[0]) <= first_step]
        storage.write_text(path, '\n'.join(['step,name,value', *kept, '']))
        self._file = open(path, 'a', buffering=1)  # noqa: SIM115  a buffer of one line; closed in close()

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes a line for each number."""
        rows = [(step, name, float(value)) for name, value in scalars.items()]
        csv.writer(self._file, lineterminator='\n').writerows(rows)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class WandbRun(Logger):
    """A run of Weights & Biases in `<folder>/wandb`, offline unless WANDB_MODE says otherwise; `wandb sync` uploads it.

    Each start is a run of its own, named after the folder and its first step, in one group.
    """

    def __init__(self, folder: pathlib.Path, first_step: int) -> None:
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError as error:
            raise ValueError(
                "config.train.logger='wandb' needs Weights & Biases: pip install 'humalign_jax[wandb]', "
                "or set config.train.logger to 'tensorboard' or 'csv'."
            ) from error
        name = folder.resolve().name
        self._image = wandb.Image
        self._run = wandb.init(
            dir=folder, group=name, name=f'{name} from step {first_step}', mode=os.environ.get('WANDB_MODE', 'offline'),
            settings=wandb.Settings(console='off', silent=True),
        )  # fmt: skip

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes numbers."""
        self._run.log({name: float(value) for name, value in scalars.items()}, step=step)

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes images, uint8 [n, h, w, c]."""
        self._run.log({name: [self._image(one) for one in values] for name, values in images.items()}, step=step)

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Writes the run's settings."""
        self._run.config.update(dict(hparams))

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()


LOGGERS = {'tensorboard': TensorBoardFile, 'csv': CsvFile, 'wandb': WandbRun}


def make_logger(name: str, folder: storage.PathLike, *, first_step: int = 0) -> metric_writers.MetricWriter:
    """A logger that writes in a thread, and also logs scalars, texts and settings through absl.

    An error in the thread comes out of a later call, `flush()` or `close()`.

    Args:
        name: 'tensorboard', 'csv' or 'wandb'.
        folder: The run's folder.
        first_step: How many steps are already done; what the folder has of later ones is hidden or dropped.

    Raises:
        ValueError: There is no such logger, or its package is not installed.
    """
    if name not in LOGGERS:
        raise ValueError(f'config.train.logger={name!r} is no logger.{settings.nearest(name, LOGGERS)}')
    if not processes.is_first():
        return metric_writers.MultiWriter([])
    logger = LOGGERS[name](pathlib.Path(folder), first_step)
    return metric_writers.AsyncMultiWriter([_Log(), logger])


def write_bands(logger: metric_writers.MetricWriter, tags: Sequence[str], *, step: int = 0) -> None:
    """Tells TensorBoard (tab "Custom Scalars") to draw each scalar with its band, `<tag>_ceiling_lower` to `_upper`.

    Args:
        logger: From `make_logger`.
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
    logger.write_summaries(step, values, {tag: custom_scalar.create_summary_metadata()})
