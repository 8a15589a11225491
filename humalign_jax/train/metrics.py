"""metrics.jsonl: the deterministic record of a run, one row per logged step and split.

Rows hold no clock times, so that a run that was killed and continued leaves the same bytes as one that was not.
"""

import pathlib
from typing import Any

from humalign_jax import storage


class MetricRows:
    """Rows `{'step', 'epoch', 'split', <metrics>}` on the disk, cut back to where a run continues from."""

    def __init__(self, path: pathlib.Path, *, first_step: int):
        """Drops every row after `first_step`: the steps that follow write them again."""
        self._path = path
        self.rows = [row for row in storage.read_jsonl(path) if row['step'] <= first_step]
        storage.write_jsonl(path, self.rows)

    def append(self, step: int, epoch: float, split: str, metrics: dict[str, float]) -> None:
        """Adds one row and waits until it is on the disk, so that no checkpoint is ever ahead of its rows."""
        row: dict[str, Any] = {'step': step, 'epoch': round(epoch, 6), 'split': split, **metrics}
        self.rows.append(row)
        storage.append_jsonl(self._path, [row])

    def last(self, split: str) -> dict[str, Any] | None:
        """The newest row of a split."""
        return next((row for row in reversed(self.rows) if row['split'] == split), None)

    def best(self, split: str, metric: str, mode: str) -> float | None:
        """The best value of a metric so far; mode 'min' or 'max'."""
        values = [row[metric] for row in self.rows if row['split'] == split and metric in row]
        return (min if mode == 'min' else max)(values) if values else None
