"""Early stopping, decided from the rows of `metrics.jsonl` alone, so that a run that goes on decides alike."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """Ends a run after several evaluations without an improvement.

    Evaluations count from the first that is after `after_steps` and has at least `min_accuracy`; before it, any new
    best is an improvement.

    Attributes:
        metric: Name of the metric that should grow.
        patience: Evaluations without an improvement after which the run ends, 0 for no early stopping.
        min_improvement: By how much a value must exceed the best before it.
        after_steps: Steps without early stopping.
        min_accuracy: Least value of the metric `accuracy` at which counting begins.
    """

    metric: str
    patience: int
    min_improvement: float
    after_steps: int
    min_accuracy: float

    def is_over(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the run ends after these evaluations, rows of `metrics.jsonl` in their order."""
        best, n_without, counts = float('-inf'), 0, False
        for row in rows:
            counts = counts or (row['step'] > self.after_steps and row['accuracy'] >= self.min_accuracy)
            needed = best + self.min_improvement if counts else best
            n_without = 0 if row[self.metric] > needed else n_without + counts
            best = max(best, row[self.metric]) if n_without == 0 else best
        return self.patience > 0 and n_without >= self.patience
