"""Stages of a study: what a signal leaves, and going on from it."""

import dataclasses
import os
import pathlib
import signal

import ml_collections
import pytest

from humalign_jax import lock, storage, workdir
from humalign_jax.train import signals
from humalign_jax.wiring import stages


@pytest.fixture
def ran(monkeypatch):
    """Names of the stages that ran; one whose config says so gets a signal in its midst."""
    names = []

    def run(config, folder):
        names.append(config.name)
        if config.number:
            os.kill(os.getpid(), config.number)
        assert not config.number, 'the signal was not heard'

    monkeypatch.setattr(stages, '_run_experiment', run)
    return names


def _stage(name, number=0):
    return stages.Stage(name, ml_collections.ConfigDict({'seed': 0, 'name': name, 'number': int(number)}))


@pytest.mark.parametrize('number', [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_study_and_the_stages_before_it_stay(tmp_path, ran, number):
    before = [signal.getsignal(n) for n in signals.STOP_SIGNALS]
    with pytest.raises(SystemExit) as left:
        stages.run_stages([_stage('a'), _stage('b', number), _stage('c')], tmp_path)
    assert left.value.code == signals.EXIT_SAVED
    assert ran == ['a', 'b']
    assert [workdir.is_complete(tmp_path / name) for name in 'abc'] == [True, False, False]
    assert [signal.getsignal(n) for n in signals.STOP_SIGNALS] == before


def test_a_study_that_did_not_get_on_does_not_ask_to_be_started_again(tmp_path, ran):
    many = [_stage('a'), _stage('b', signal.SIGUSR1)]
    stages.run_stages(many[:1], tmp_path)
    with pytest.raises(SystemExit) as left:
        stages.run_stages(many, tmp_path)  # a was complete before
    assert left.value.code == 128 + signal.SIGUSR1
    assert ran == ['a', 'b']


def test_a_stage_that_hears_signals_itself_says_how_it_ends(tmp_path, monkeypatch):
    def run(config, folder):
        with signals.stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested == 'SIGTERM'
            raise SystemExit(signals.EXIT_SAVED)

    monkeypatch.setattr(stages, '_run_experiment', run)
    with pytest.raises(SystemExit) as left:
        stages.run_stages([_stage('a')], tmp_path)
    assert left.value.code == signals.EXIT_SAVED


def test_a_begun_stage_whose_input_changed_begins_anew(tmp_path, monkeypatch):
    started = []

    def run(config, folder):
        started.append(sorted(path.name for path in pathlib.Path(folder).glob('*.txt')))
        storage.write_text(f'{folder}/fold.txt', 'of the old input')
        raise SystemExit(signals.EXIT_SAVED)

    monkeypatch.setattr(stages, '_run_experiment', run)
    stage = dataclasses.replace(_stage('b'), inputs=(tmp_path / 'a',))
    for scores in ('old', 'old', 'new'):
        storage.write_text(tmp_path / 'a' / 'scores.jsonl', scores)
        with pytest.raises(SystemExit):
            stages.run_stages([stage], tmp_path)
    assert started == [[], ['fold.txt'], []]
    assert (tmp_path / 'superseded' / 'b-1' / 'fold.txt').exists()


def test_a_stage_whose_config_or_file_changed_is_done_again(tmp_path, monkeypatch):
    def run(config, folder):
        storage.write_text(f'{folder}/scores.jsonl', config.name)

    monkeypatch.setattr(stages, '_run_experiment', run)
    storage.write_text(tmp_path / 'given.npy', 'old')
    one = stages.Stage('a', ml_collections.ConfigDict({'seed': 0, 'name': 'x'}), (tmp_path / 'given.npy',))
    stages.run_stages([one, one], tmp_path)
    assert not (tmp_path / 'superseded').exists()
    other = dataclasses.replace(one, config=ml_collections.ConfigDict({'seed': 0, 'name': 'y'}))
    stages.run_stages([other], tmp_path)
    assert (tmp_path / 'a' / 'scores.jsonl').read_text() == 'y'
    assert (tmp_path / 'superseded' / 'a-1' / 'scores.jsonl').read_text() == 'x'
    storage.write_text(tmp_path / 'given.npy', 'new')
    stages.run_stages([other], tmp_path)
    assert (tmp_path / 'superseded' / 'a-2').exists()


def test_stages_that_a_study_no_longer_has_are_set_aside(tmp_path):
    for name in ('networks/a', 'networks/b', 'report'):
        storage.write_text(tmp_path / name / 'scores.jsonl', name)
    stages.set_aside_others([_stage('networks/a')], tmp_path, ('networks/*',))
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('scores.jsonl')) == [
        'networks/a/scores.jsonl', 'report/scores.jsonl', 'superseded/networks/b-1/scores.jsonl'
    ]  # fmt: skip


@pytest.mark.parametrize('error', [ValueError('words'), OSError('words'), MemoryError('words')])
def test_a_mistake_in_a_stage_names_the_stage(tmp_path, monkeypatch, error):
    def run(config, folder):
        raise error

    monkeypatch.setattr(stages, '_run_experiment', run)
    with pytest.raises(ValueError, match=r'stage a: .*words'):
        stages.run_stages([_stage('a')], tmp_path)


def test_a_fault_of_the_program_in_a_stage_stays_what_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, '_run_experiment', lambda config, folder: {}['key'])
    with pytest.raises(KeyError):
        stages.run_stages([_stage('a')], tmp_path)


def test_a_stage_in_which_another_process_works_is_refused(tmp_path, ran):
    (tmp_path / 'a').mkdir()
    storage.write_json(tmp_path / 'a' / lock.NAME, lock._about_us())
    with pytest.raises(ValueError, match='stage a: another process works in'):
        stages.run_stages([_stage('a')], tmp_path)
    assert not ran
