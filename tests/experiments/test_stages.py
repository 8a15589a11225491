"""Stages of a study: what a signal leaves, and going on from it."""

import os
import signal

import ml_collections
import pytest

from humalign_jax import workdir
from humalign_jax.experiments import _stages
from humalign_jax.train import signals


@pytest.fixture
def ran(monkeypatch):
    """Names of the stages that ran; one whose config says so gets a signal in its midst."""
    names = []

    def run(config, folder):
        names.append(config.name)
        if config.number:
            os.kill(os.getpid(), config.number)
        assert not config.number, 'the signal was not heard'

    monkeypatch.setattr(_stages, '_run_experiment', run)
    return names


def _stage(name, number=0):
    return _stages.Stage(name, ml_collections.ConfigDict({'seed': 0, 'name': name, 'number': int(number)}))


@pytest.mark.parametrize('number', [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_study_and_the_stages_before_it_stay(tmp_path, ran, number):
    before = [signal.getsignal(n) for n in signals.STOP_SIGNALS]
    with pytest.raises(SystemExit) as left:
        _stages.run_stages([_stage('a'), _stage('b', number), _stage('c')], tmp_path)
    assert left.value.code == signals.EXIT_SAVED
    assert ran == ['a', 'b']
    assert [workdir.is_complete(tmp_path / name) for name in 'abc'] == [True, False, False]
    assert [signal.getsignal(n) for n in signals.STOP_SIGNALS] == before


def test_a_study_that_did_not_get_on_does_not_ask_to_be_started_again(tmp_path, ran):
    stages = [_stage('a'), _stage('b', signal.SIGUSR1)]
    _stages.run_stages(stages[:1], tmp_path)
    with pytest.raises(SystemExit) as left:
        _stages.run_stages(stages, tmp_path)  # a was complete before
    assert left.value.code == 128 + signal.SIGUSR1
    assert ran == ['a', 'b']


def test_a_stage_that_hears_signals_itself_says_how_it_ends(tmp_path, monkeypatch):
    def run(config, folder):
        with signals.stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested == 'SIGTERM'
            raise SystemExit(signals.EXIT_SAVED)

    monkeypatch.setattr(_stages, '_run_experiment', run)
    with pytest.raises(SystemExit) as left:
        _stages.run_stages([_stage('a')], tmp_path)
    assert left.value.code == signals.EXIT_SAVED
