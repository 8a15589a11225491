"""The study: its stages, going on after a stop, and what is done again when an input changes."""

import json
import shutil

import pytest

from humalign_jax import storage
from humalign_jax.experiments import study
from humalign_jax.wiring import stages

from ..conftest import load_config


@pytest.fixture
def config():
    return load_config('quickstart', 'tiny')


def names(config, folder):
    return [stage.name for stage in study.make_stages(study.included(config), folder)]


def test_the_stages_follow_from_the_networks(config, tmp_path):
    assert names(config, tmp_path) == [
        'networks/philnet', 'networks/vae', 'networks/weak', 'features/pixels/test',
        'features/philnet/test', 'features/philnet/validation', 'features/weak/test', 'features/weak/validation',
        'features/vae/test', 'alignment/philnet', 'alignment/weak', 'human_rsa', 'latents/vae', 'soft_labels', 'report',
    ]  # fmt: skip


def test_networks_that_are_trained_already_are_not_trained_again(config, tmp_path):
    config.runs.philnet = '/somewhere/philnet'
    stages = {stage.name: stage for stage in study.make_stages(config, tmp_path)}
    assert 'networks/philnet' not in stages
    assert stages['features/philnet/test'].config.run == '/somewhere/philnet'
    assert stages['soft_labels'].config.run == '/somewhere/philnet'


def test_a_study_with_ratings_of_its_test_images_scores_all_networks_in_one_stage(config, tmp_path):
    section = load_config('ratings', 'full').to_dict()
    with config.unlocked():
        config.ratings = {k: v for k, v in section.items() if k not in ('experiment', 'seed', 'runs', 'names', 'data')}
    config.runs.weak = '/somewhere/weak'
    [stage] = [one for one in study.make_stages(study.included(config), tmp_path) if one.name == 'ratings']
    runs = dict(zip(stage.config.names, stage.config.runs))
    assert runs['weak'] == '/somewhere/weak' and runs['vae'] == str(tmp_path / 'networks' / 'vae')
    assert set(stage.config.keys()) == set(section) and stage.config.data.name == 'synthetic'
    assert set(stage.inputs) == {tmp_path / 'networks' / name for name in config.networks}


def test_only_the_networks_that_are_asked_for_are_studied(config, tmp_path):
    config.include = ('philnet',)
    assert names(config, tmp_path) == [
        'networks/philnet', 'features/pixels/test', 'features/philnet/test', 'features/philnet/validation',
        'alignment/philnet', 'human_rsa', 'soft_labels', 'report',
    ]  # fmt: skip
    config.include = ('vae',)
    with pytest.raises(ValueError, match="network='philnet' must be a classifier of this study"):
        names(config, tmp_path)


def test_a_study_of_decoders_alone_compares_their_channels_and_no_people(tmp_path):
    config = load_config('latent_recon', 'tiny')
    assert names(config, tmp_path) == [
        'networks/classifier', 'networks/deconv', 'networks/deconv_nearest', 'channels', 'report'
    ]  # fmt: skip
    channels = study.make_stages(config, tmp_path)[3]
    assert channels.config.run == f'{tmp_path}/networks/deconv,{tmp_path}/networks/deconv_nearest'
    assert channels.config.names == ('deconv', 'deconv_nearest')  # the classifier has nothing to decode
    del config.channels
    with pytest.raises(ValueError, match='config lacks channels: add it'):
        names(config, tmp_path)


def test_a_study_of_one_decoder_ends_with_a_page_about_its_channels(tmp_path):
    config = load_config('latent_recon', 'tiny')
    config.include = ('deconv',)
    config.data.update(n_train=96, n_test=20, n_validation=32)
    config.networks.deconv.objective.pictures_every_epochs = 1.0
    config.networks.deconv.train.update(epochs=1.0, n_devices=1)
    config.channels.update(n_devices=1, pictures={'ids': ()})
    study.run(config, str(tmp_path))
    page = (tmp_path / 'report' / 'report.html').read_text(encoding='utf-8')
    assert 'deconv, epoch 0: mean PSNR' in page and 'deconv, epoch 1: mean PSNR' in page
    assert '<table id="table-channels_deconv"' in page and '<table id="table-classes"' in page


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'include': ('fillnet',)}, "config.include has 'fillnet'. Did you mean 'philnet'"),
        ({'networks': {}}, 'at least one network'),
        ({'soft_labels': {'network': 'vae'}}, 'must be a classifier of this study'),
        ({'alignment': {'features': 'x'}}, 'filled in by the study'),
        ({'networks': {'philnet': {'colour': 1}}}, 'config.networks.philnet.colour is not a setting'),
    ],
)
def test_a_wrong_config_is_refused_before_anything_is_trained(config, tmp_path, change, message):
    with config.unlocked():
        if change == {'networks': {}}:
            config.networks = {}
            config.runs = {}
        else:
            config.update(change)
    with pytest.raises(ValueError, match=message):
        study.run(config, str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_run_from_elsewhere_is_found_again_where_it_lies_now(config, tmp_path):
    for place in 'ab':
        storage.write_text(tmp_path / place / 'scores.jsonl', '{}')
        config.runs.philnet = str(tmp_path / place)
        study._link_runs(config, tmp_path / 'study')
        assert (tmp_path / 'study' / 'networks' / 'philnet').resolve() == tmp_path / place


def test_a_network_from_elsewhere_and_one_that_is_trained_here_do_not_mix(config, tmp_path):
    config.runs.philnet = str(tmp_path)
    storage.write_text(tmp_path / 'trained' / 'networks' / 'philnet' / 'metrics.jsonl', '{}')
    with pytest.raises(ValueError, match=r'was trained here: leave config\.runs\.philnet empty'):
        study._link_runs(config, tmp_path / 'trained')
    study._link_runs(config, tmp_path / 'linked')
    config.runs.philnet = ''
    with pytest.raises(ValueError, match=r'but config\.runs\.philnet is empty'):
        study._link_runs(config, tmp_path / 'linked')


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """A tiny study from end to end."""
    folder = tmp_path_factory.mktemp('study')
    config = load_config('quickstart', 'tiny')
    study.run(config, str(folder))
    return config, folder


def test_a_study_leaves_the_page_and_the_scores_of_every_stage(finished):
    config, folder = finished
    for stage in study.make_stages(config, folder):
        assert (folder / stage.name / 'complete.json').exists(), stage.name
    assert '<html' in (folder / 'report' / 'report.html').read_text()
    for name in ('alignment/philnet', 'alignment/weak', 'human_rsa', 'latents/vae', 'soft_labels'):
        rows = storage.read_jsonl(folder / name / 'scores.jsonl')
        assert rows and all(row['provenance']['simulated'] for row in rows), name


def test_a_finished_study_started_again_changes_nothing(finished):
    config, folder = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob('scores.jsonl')}
    study.run(config, str(folder))
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob('scores.jsonl')}


def test_a_study_by_another_path_or_from_a_moved_folder_does_nothing_again(finished, tmp_path, monkeypatch):
    config, folder = finished
    monkeypatch.setattr(stages, '_run_experiment', lambda config, folder: pytest.fail(f'{folder} was done again'))
    (tmp_path / 'link').symlink_to(folder)
    monkeypatch.chdir(folder.parent)
    study.run(config, folder.name)
    study.run(config, str(tmp_path / 'link'))
    moved = tmp_path / 'moved'
    shutil.copytree(folder, moved, symlinks=True)
    study.run(config, str(moved))
    assert not (moved / 'superseded').exists()


def test_a_study_whose_data_moved_does_nothing_again(finished, tmp_path, monkeypatch):
    config, folder = finished
    monkeypatch.setattr(stages, '_run_experiment', lambda config, folder: pytest.fail(f'{folder} was done again'))
    other = config.copy_and_resolve_references()
    other.data.root = str(tmp_path)
    study.run(other, str(folder))
    assert storage.read_json(folder / 'networks' / 'philnet' / 'config.json')['data']['root'] == str(tmp_path)
    study.run(config, str(folder))


def test_a_stage_whose_input_changed_is_done_again_and_the_old_one_kept(finished):
    config, folder = finished
    scores = folder / 'alignment' / 'weak' / 'scores.jsonl'
    old = scores.read_bytes()
    report = (folder / 'report' / 'complete.json').read_bytes()
    rows = storage.read_jsonl(scores)
    scores.write_text(''.join(json.dumps(row) + '\n' for row in rows[:-1]))
    study.run(config, str(folder))
    assert (folder / 'superseded' / 'report-1' / 'complete.json').read_bytes() == report
    scores.write_bytes(old)
