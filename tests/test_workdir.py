"""A run's folder: to which config it belongs, when it is free, and that a run goes on with the same data only."""

import os
import shutil

import ml_collections
import pytest

from humalign_jax import lock, storage, workdir


def _config(**changes):
    values = {
        'experiment': 'x', 'seed': 0, 'n_devices': 0, 'run': '', 'rate': 0.1,
        'data': {'name': 'cifar10', 'root': 'old'}, 'features': {'files': ('a.npy',), 'dataset': 'a.npy'},
    }  # fmt: skip
    return ml_collections.ConfigDict({**values, **changes})


def _stops(config, folder):
    """A run that computes something and then stops."""
    storage.write_text(f'{folder}/rows.txt', 'a row')
    raise SystemExit(75)


def _fails(config, folder):
    """A run that fails before it computes anything, as training does that finds no data."""
    os.makedirs(f'{folder}/checkpoints')
    open(f'{folder}/metrics.jsonl', 'w').close()
    storage.write_text(f'{folder}/tensorboard/events', 'hyperparameters')
    storage.write_text(f'{folder}/error.txt', 'no data')
    storage.write_text(f'{folder}/log.txt', 'the lines of a start that failed')
    raise ValueError('no data')


def _ends(config, folder):
    storage.write_text(f'{folder}/scores.jsonl', '{}')


@pytest.fixture
def begun(tmp_path):
    with pytest.raises(SystemExit):
        workdir.run_once(_stops, _config(), tmp_path / 'run')
    return tmp_path / 'run'


def test_a_begun_folder_belongs_to_its_config(begun):
    with pytest.raises(workdir.RefusedError, match=r'config\.rate: 0\.1 -> 0\.2 \(there -> here\)'):
        workdir.run_once(_ends, _config(rate=0.2), begun)
    assert not workdir.is_complete(begun)


@pytest.mark.parametrize(
    'changes',
    [{'data': {'name': 'cifar10', 'root': 'new'}}, {'n_devices': 4}, {'runs': {'vae': 'elsewhere'}}, {'logger': 'csv'}],
    ids=['root', 'n_devices', 'runs', 'logger'],
)
def test_where_data_and_curves_lie_and_the_number_of_devices_do_not_block_a_run(begun, changes):
    assert workdir.run_once(_ends, _config(**changes), begun)
    if 'runs' not in changes:
        stored = storage.read_json(begun / 'config.json')
        assert {key: stored[key] for key in changes} == changes  # whoever opens the run finds its data there


def test_one_seed_is_what_a_run_of_a_version_without_that_setting_has(begun):
    assert workdir.run_once(_ends, _config(n_seeds=1), begun)


def test_a_run_of_several_seeds_is_another(begun):
    with pytest.raises(workdir.RefusedError, match=r'config\.n_seeds: absent -> 2'):
        workdir.run_once(_ends, _config(n_seeds=2), begun)


def test_a_study_of_stages_goes_on_with_other_conditions_but_not_with_other_data(tmp_path):
    study = {'experiment': 'metalign', 'conditions': {'main': {'model': {'n_layers': 1}}}}
    assert workdir.run_once(_ends, _config(**study), tmp_path) and not workdir.run_once(
        _ends, _config(**study), tmp_path
    )
    changed = {**study, 'conditions': {'main': {'model': {'n_layers': 2}}}}
    with pytest.raises(SystemExit):
        workdir.run_once(_stops, _config(**changed), tmp_path)
    assert not workdir.is_complete(tmp_path)
    assert workdir.run_once(_ends, _config(**changed), tmp_path)
    assert storage.read_json(tmp_path / 'config.json')['conditions'] == changed['conditions']
    with pytest.raises(workdir.RefusedError, match=r'config\.data\.name'):
        workdir.run_once(_ends, _config(**changed, data={'name': 'mnist', 'root': ''}), tmp_path)


def test_the_new_place_of_the_data_of_a_complete_run_is_noted(begun):
    workdir.run_once(_ends, _config(), begun)
    moved = _config(data={'name': 'cifar10', 'root': 'new'})
    assert not workdir.run_once(_ends, moved, begun)
    assert storage.read_json(begun / 'config.json')['data']['root'] == 'new'


def test_a_folder_that_holds_only_a_failed_start_is_free(tmp_path):
    with pytest.raises(ValueError, match='no data'):
        workdir.run_once(_fails, _config(), tmp_path)
    assert not workdir.is_begun(tmp_path)
    assert workdir.run_once(_ends, _config(rate=0.2), tmp_path)
    assert storage.read_json(tmp_path / 'config.json')['rate'] == 0.2


def test_one_path_written_in_two_ways_is_one(tmp_path, monkeypatch):
    (tmp_path / 'link').symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        workdir.run_once(_stops, _config(run='there', features={'files': ('a.npy',), 'dataset': 'd'}), 'run')
    monkeypatch.chdir('/')
    again = {'files': (f'{tmp_path}/link/a.npy',), 'dataset': 'd'}
    assert workdir.run_once(_ends, _config(run=f'{tmp_path}/x/../there', features=again), tmp_path / 'run')


def test_one_relative_path_in_two_places_is_two(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        workdir.run_once(_stops, _config(run='there'), 'run')
    monkeypatch.chdir('/')
    with pytest.raises(workdir.RefusedError, match=rf"config\.run: '{tmp_path}/there' -> '/there'"):
        workdir.run_once(_ends, _config(run='there'), tmp_path / 'run')


def test_what_is_no_path_is_compared_as_it_is_written(begun):
    other = {'files': ('a.npy',), 'dataset': './a.npy'}
    with pytest.raises(workdir.RefusedError, match=r"config\.features\.dataset: 'a\.npy' -> '\./a\.npy'"):
        workdir.run_once(_ends, _config(features=other), begun)


def test_nan_is_the_same_as_nan(tmp_path):
    with pytest.raises(SystemExit):
        workdir.run_once(_stops, _config(rate=float('nan')), tmp_path)
    assert workdir.run_once(_ends, _config(rate=float('nan')), tmp_path)


def test_a_folder_in_which_another_process_works_is_refused_and_untouched(begun):
    storage.write_json(begun / lock.NAME, lock._about_us())  # as this process would see another's
    before = {path.name: path.read_bytes() for path in begun.iterdir()}
    with pytest.raises(workdir.RefusedError, match=f'another process works in {begun}'):
        workdir.run_once(_ends, _config(), begun)
    assert before == {path.name: path.read_bytes() for path in begun.iterdir()}


def test_a_run_holds_its_folder_and_gives_it_back(tmp_path):
    def looks(config, folder):
        assert storage.read_json(f'{folder}/{lock.NAME}')['pid'] == os.getpid()

    workdir.run_once(looks, _config(), tmp_path)
    assert not (tmp_path / lock.NAME).exists()


def test_a_complete_run_is_said_to_be_complete_where_nothing_can_be_written(begun, monkeypatch):
    workdir.run_once(_ends, _config(), begun)
    monkeypatch.setattr(lock, '_make', lambda *_: pytest.fail('a lock was made'))
    assert not workdir.run_once(_ends, _config(), begun)


def test_a_run_goes_on_with_the_same_data_only(begun):
    workdir.check_same_data(begun, {'number of images': '3', 'images': 'a' * 64})
    workdir.check_same_data(begun, {'number of images': '3', 'images': 'a' * 64})
    message = r'was begun with other data. Changed since: number of images \(3 -> 4\), images\. .*--workdir'
    with pytest.raises(ValueError, match=message):
        workdir.check_same_data(begun, {'number of images': '4', 'images': 'b' * 64})


def test_before_anything_was_computed_data_may_change(tmp_path):
    for digest in 'ab':
        workdir.check_same_data(tmp_path, {'images': digest})
    assert storage.read_json(tmp_path / workdir.DATA) == {'images': 'b'}


def test_a_moved_folder_goes_on(begun, tmp_path):
    shutil.move(begun, tmp_path / 'moved')
    assert workdir.run_once(_ends, _config(), tmp_path / 'moved')
