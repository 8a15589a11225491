"""Training curves."""

import matplotlib.figure
import numpy as np

from humalign_jax import storage
from humalign_jax.report.plots import curves

ROWS = [
    {'step': 10, 'epoch': 0.5, 'split': 'train', 'loss': 2.0, 'learning_rate': 0.1},
    {'step': 20, 'epoch': 1.0, 'split': 'train', 'loss': 1.5, 'learning_rate': 0.05},
    {'step': 20, 'epoch': 1.0, 'split': 'validation', 'loss': 1.7},
]


def test_a_line_for_each_split_that_has_the_metric():
    axes = matplotlib.figure.Figure().subplots()
    curves.plot_metric(axes, ROWS, 'loss', label='loss (nats)')
    train, validation = axes.get_lines()
    np.testing.assert_array_equal(train.get_xydata(), [[0.5, 2.0], [1.0, 1.5]])
    np.testing.assert_array_equal(validation.get_xydata(), [[1.0, 1.7]])
    assert axes.get_ylabel() == 'loss (nats)' and axes.get_xlabel() == 'epoch'
    axes = matplotlib.figure.Figure().subplots()
    assert len(curves.plot_metric(axes, ROWS, 'learning_rate', label='learning rate').get_lines()) == 1


def test_curves_are_written_as_pdf_and_png(tmp_path):
    storage.write_jsonl(tmp_path / 'metrics.jsonl', ROWS)
    paths = curves.draw_curves(tmp_path, {'loss': 'loss (nats)'})
    assert [path.name for path in paths] == ['curves.pdf', 'curves.png']
    assert all(path.stat().st_size > 1000 for path in paths)
