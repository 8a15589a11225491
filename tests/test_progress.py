"""Lines and bars that say how far long work is."""

import concurrent.futures
import io
import logging
import sys
import types

import numpy as np
import pytest
from absl import logging as absl_logging
from ml_collections import ConfigDict

from humalign_jax import main, progress, rsa


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def lines(capsys):
    """What was written to standard error, which is no terminal, since the last time."""
    return lambda: capsys.readouterr().err.splitlines()


def _clock(monkeypatch, *seconds):
    ticks = iter(seconds)
    monkeypatch.setattr(progress.time, 'monotonic', lambda: next(ticks))


def test_the_log_names_each_item_as_it_begins(monkeypatch, lines, caplog):
    _clock(monkeypatch, 0.0, 0.0, 4.0)
    absl_logging.use_absl_handler()
    with caplog.at_level(logging.INFO, logger='absl'):
        assert list(progress.each(['a', 'b'], 'RDMs', str.upper)) == ['a', 'b']
    assert [record.getMessage() for record in caplog.records] == [
        'RDMs: 1 of 2 (A)',
        'RDMs: 2 of 2 (B), 4 s so far, about 4 s left',
    ]


def test_steps_have_a_line_after_two_seconds_and_then_every_ten(monkeypatch, lines):
    # Begun at 100; each number is when a step was done.
    _clock(monkeypatch, 100.0, 101.0, 102.5, 105.0, 112.0, 113.0, 114.0)
    with progress.shown():
        assert list(progress.steps(range(6), 'samples')) == list(range(6))
    # The first step, which may compile, is left out of the rate: 1.5 s a step, then 3 s.
    assert lines() == ['samples: 2 of 6, 2 s so far, about 6 s left', 'samples: 5 of 6, 13 s so far, about 3 s left']


def test_after_the_first_step_alone_no_remaining_time_is_said(monkeypatch, lines):
    _clock(monkeypatch, 100.0, 142.0, 143.0)
    with progress.shown():
        assert list(progress.steps(range(2), 'samples')) == [0, 1]
    assert lines() == ['samples: 1 of 2, 42 s so far']


def test_a_notebook_has_bars_of_tqdm_auto(monkeypatch, lines):
    made = []
    monkeypatch.setitem(sys.modules, 'ipykernel', types.ModuleType('ipykernel'))
    monkeypatch.setattr('tqdm.auto.tqdm', lambda items, **options: made.append(options) or items)
    assert list(progress.each('ab', 'RDMs')) == ['a', 'b']
    assert made == [{'desc': 'RDMs'}] and lines() == []


def test_nothing_is_shown_unless_someone_watches(monkeypatch, lines):
    monkeypatch.setattr(progress, 'SILENT_SECONDS', 0.0)
    assert list(progress.steps('abc', 'letters')) == ['a', 'b', 'c']
    with progress.shown():
        pass
    with progress.stage('letters', 3) as advance:
        advance()
    assert lines() == []


def test_threads_count_together(monkeypatch, lines):
    monkeypatch.setattr(progress, 'SILENT_SECONDS', 0.0)
    monkeypatch.setattr(progress, 'SECONDS_BETWEEN_LINES', 0.0)
    with progress.shown(), progress.stage('tiles', 400) as advance, concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: advance(), range(399)))
    assert [int(line.split(':')[1].split()[0]) for line in lines()] == list(range(1, 400))


def test_a_terminal_has_a_bar_that_goes_when_the_work_is_done(monkeypatch):
    terminal = _Terminal()
    monkeypatch.setattr(progress.sys, 'stderr', terminal)
    monkeypatch.setattr(progress, 'SILENT_SECONDS', 0.0)
    with progress.shown():
        list(progress.steps(range(3), 'samples'))
    assert 'samples' in terminal.getvalue() and terminal.getvalue().endswith('\r')
    assert list(progress.each('ab', 'RDMs')) == ['a', 'b']
    assert '2/2' in terminal.getvalue()


def test_work_that_is_broken_off_leaves_no_bar_behind(monkeypatch):
    terminal = _Terminal()
    monkeypatch.setattr(progress.sys, 'stderr', terminal)
    monkeypatch.setattr(progress, 'SILENT_SECONDS', 0.0)
    with pytest.raises(ValueError, match='broken'), progress.shown(), progress.stage('samples', 3) as advance:
        advance()
        raise ValueError('broken')
    assert 'samples' in terminal.getvalue() and terminal.getvalue().endswith('\r')


def test_experiments_are_watched_in_the_log(monkeypatch, lines, caplog):
    monkeypatch.setattr(progress, 'SILENT_SECONDS', 0.0)

    class Experiment:
        @staticmethod
        def run(config, folder):
            assert list(progress.steps('ab', '100% of letters')) == ['a', 'b']

    monkeypatch.setattr(main.importlib, 'import_module', lambda name: Experiment)
    absl_logging.use_absl_handler()
    with caplog.at_level(logging.INFO, logger='absl'):
        main._run_experiment(ConfigDict({'experiment': 'rsa'}), 'nowhere')
        list(progress.steps('ab', 'nobody watches any more'))
    assert [record.getMessage().split(',')[0] for record in caplog.records] == ['100% of letters: 1 of 2']


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (dict(index='spearman', over='both'), {'influences of pairs, subjects', 'permutations'}),
        (dict(index='pearson'), {'permutations', 'stimuli left out'}),
        (dict(index='cosine'), {'bootstrap samples', 'permutations'}),
        (dict(index='kendall_tau_a'), {'permutations', 'pairs of RDMs compared'}),
        (dict(index='bures'), {'stimuli left out'}),
        (dict(index='cosine', over='subjects', models='weighted'), {'bootstrap samples of subjects', 'permutations'}),
    ],
)
def test_inference_says_how_far_it_is_and_gives_the_same(monkeypatch, lines, options, expected):
    monkeypatch.setattr(progress, 'SILENT_SECONDS', 0.0)
    monkeypatch.setattr(progress, 'SECONDS_BETWEEN_LINES', 0.0)
    np_rng = np.random.default_rng(0)
    models, subjects = np_rng.uniform(1.0, 2.0, (2, 120)), np_rng.uniform(1.0, 2.0, (3, 120))
    if options.get('models'):
        options = {**options, 'models': [rsa.Weighted(models, 'weighted')]}
    options = {'models': models, 'n_permutations': 40, **options}
    silent = rsa.infer(reference=subjects, **options)
    assert lines() == []
    with progress.shown():
        shown = rsa.infer(reference=subjects, **options)
    np.testing.assert_array_equal(shown.permuted, silent.permuted)
    np.testing.assert_array_equal(shown.low, silent.low)
    assert expected <= {line.split(':')[0] for line in lines()}


def test_streamed_comparisons_and_rdms_say_how_far_they_are(monkeypatch, lines):
    monkeypatch.setattr(progress, 'SILENT_SECONDS', 0.0)
    monkeypatch.setattr(progress, 'SECONDS_BETWEEN_LINES', 0.0)
    monkeypatch.setattr('humalign_jax.rsa.large.stream._SORTED_PAIRS', 0)
    x, y = np.random.default_rng(1).normal(size=(2, 300, 5)).astype(np.float32)
    silent = rsa.compare_features(x, y, block_size=100)
    with progress.shown():
        assert rsa.compare_features(x, y, block_size=100) == silent
        rsa.rdm(x, block_size=100)
        rsa.compare_features(x, y, index='pearson', block_size=100)
    what = ('distances', 'values looked through', 'values counted', 'ranks multiplied')
    assert {line.split(':')[0] for line in lines()} == {f'tiles of {x}' for x in what}
