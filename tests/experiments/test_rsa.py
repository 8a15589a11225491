import copy
import pathlib
import runpy

import ml_collections
import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import pdist, squareform

from humalign_jax import memory, rsa, storage
from humalign_jax.experiments import rsa as experiment
from humalign_jax.records import Features, Rdm, Score, stimulus_ids
from humalign_jax.rsa import files
from humalign_jax.wiring.rsa_study import load

N = 24
CONFIG = pathlib.Path(__file__).parents[2] / 'configs' / 'rsa.py'


@pytest.fixture
def config(tmp_path) -> ml_collections.ConfigDict:
    """Two feature files in different orders, counts of a third, and their categories."""
    np_rng = np.random.default_rng(0)
    latent = np_rng.normal(size=(N, 4))
    ids = stimulus_ids('toy', 'test', np.arange(N))
    for name, noise in (('good', 0.3), ('poor', 2.0)):
        order = np_rng.permutation(N)
        values = latent @ np_rng.normal(size=(4, 20)) + noise * np_rng.normal(size=(N, 20))
        files.save_features(tmp_path / f'{name}.npy', Features(values[order], ids[order], name))
    probabilities = np.exp(latent) / np.exp(latent).sum(axis=1, keepdims=True)
    np.savez(tmp_path / 'counts.npz', counts=np_rng.multinomial(50, probabilities), ids=ids)
    first = files.load_features(tmp_path / 'good.npy').ids
    (tmp_path / 'labels.txt').write_text('\n'.join(f'class {i[-1]}' for i in first) + '\n')
    c = runpy.run_path(str(CONFIG))['get_config']()
    c.features.files = (str(tmp_path / 'good.npy'), str(tmp_path / 'poor.npy'))
    c.reference.update(kind='counts', files=(str(tmp_path / 'counts.npz'),), arrays=('counts',))
    c.inference.n_permutations = 50
    return c


def scores_of(folder: pathlib.Path) -> list[Score]:
    return [Score.from_json(row) for row in storage.read_jsonl(folder / 'scores.jsonl')]


def test_files_in_any_order_give_the_score_of_matched_rows(config, tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    experiment.run(config, str(folder))
    counts = np.load(tmp_path / 'counts.npz')['counts']
    human = pdist(counts / counts.sum(axis=1, keepdims=True), 'cosine')
    good, poor = scores_of(folder)
    for score, name in ((good, 'good'), (poor, 'poor')):
        features = files.load_features(tmp_path / f'{name}.npy')
        matched = features.values[np.argsort(features.ids)]
        expected = scipy.stats.spearmanr(pdist(matched, 'correlation'), human).statistic
        assert score.value == pytest.approx(expected, abs=1e-5)
        said = score.provenance
        assert (said['model'], said['measure'], said['reference_measure']) == (name, 'correlation', 'cosine')
        assert (said['file'], said['sha256']) == (f'{name}.npy', storage.file_digest(tmp_path / f'{name}.npy'))
        assert said['reference_sha256'] == [storage.file_digest(tmp_path / 'counts.npz')]
        assert said['stimuli_sha256'] == storage.array_digest(np.array(files.load_features(tmp_path / 'good.npy').ids))
        assert score.ceiling_upper == pytest.approx(np.sqrt(score.ceiling_lower))
    assert (folder / 'figures' / 'scores_all.pdf').exists()
    assert files.load_rdm(folder / 'rdms' / 'good.npy').measure == 'correlation'


def test_a_second_start_takes_the_rdms_that_are_there(config, tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    experiment.run(config, str(folder))
    before, written = scores_of(folder), (folder / 'rdms' / 'good.npy').stat().st_mtime_ns
    experiment.run(config, str(folder))
    assert scores_of(folder) == before
    assert (folder / 'rdms' / 'good.npy').stat().st_mtime_ns == written


def test_categories_add_a_baseline_and_restricted_scores(config, tmp_path):
    config.comparison.update(labels_file=str(tmp_path / 'labels.txt'), pairs=('all', 'within', 'partial'))
    config.inference.over = 'none'
    (tmp_path / 'run').mkdir()
    experiment.run(config, str(tmp_path / 'run'))
    rows = [(score.provenance['pairs'], score.provenance['model']) for score in scores_of(tmp_path / 'run')]
    assert rows[:3] == [('all', 'good'), ('all', 'poor'), ('all', 'same category')]
    assert rows[3:] == [('within', 'good'), ('within', 'poor'), ('partial', 'good'), ('partial', 'poor')]
    assert all(np.isnan(score.low) for score in scores_of(tmp_path / 'run'))


def scored(config, folder, **changes):
    """Scores by model of a run with changed values."""
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict({key.replace('__', '.'): value for key, value in changes.items()})
    folder.mkdir()
    experiment.run(changed, str(folder))
    return {score.provenance['model']: score for score in scores_of(folder)}


@pytest.mark.parametrize('join', ['exact', 'shared'])
@pytest.mark.parametrize('kind', ['counts', 'soft_labels', 'features'])
def test_scores_straight_from_features_equal_those_of_stored_rdms(kind, join, config, tmp_path):
    if join == 'shared':
        with np.load(tmp_path / 'counts.npz') as file:
            np.savez(tmp_path / 'counts.npz', counts=file['counts'][3:], ids=file['ids'][3:])
    config.comparison.update(labels_file=str(tmp_path / 'labels.txt'), join=join)
    config.reference.kind = kind
    config.inference.over = 'none'
    stored = scored(config, tmp_path / 'stored')
    streamed = scored(config, tmp_path / 'streamed', features__write_rdms=False)
    assert list(streamed) == list(stored) == ['good', 'poor', 'same category']
    for name, score in streamed.items():
        assert score.value == pytest.approx(stored[name].value, abs=1e-6)
        assert score.n == stored[name].n == (24 if join == 'exact' else 21)
        assert score.ceiling_lower == pytest.approx(stored[name].ceiling_lower, abs=1e-5, nan_ok=True)
        assert score.ceiling_upper == pytest.approx(stored[name].ceiling_upper, abs=1e-5, nan_ok=True)
        assert score.provenance == stored[name].provenance
    assert not (tmp_path / 'streamed' / 'rdms').exists()


def test_answers_that_agree_keep_their_ties(config, tmp_path):
    # Most stimuli with one answer only: distances of exactly 0 and 1, which rounding errors must not tell apart.
    np_rng = np.random.default_rng(1)
    counts = 50 * np.eye(5, dtype=int)[np_rng.integers(0, 5, N)]
    counts[:6] += np_rng.integers(0, 20, (6, 5))
    np.savez(tmp_path / 'counts.npz', counts=counts, ids=stimulus_ids('toy', 'test', np.arange(N)))
    config.inference.over = 'none'
    human = np.round(pdist(counts / counts.sum(axis=1, keepdims=True), 'cosine'), 6)
    for write in (True, False):
        found = scored(config, tmp_path / f'run{write}', features__write_rdms=write)
        for name in ('good', 'poor'):
            features = files.load_features(tmp_path / f'{name}.npy')
            matched = features.values[np.argsort(features.ids)]
            expected = scipy.stats.spearmanr(pdist(matched, 'correlation'), human).statistic
            assert found[name].value == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'inference__over': 'stimuli'}, 'config.inference.over=stimuli needs them'),
        ({'features__write_rdms': True}, 'write_rdms=True asks for their files'),
        ({'comparison__pairs': ('within',)}, 'pairs asks for some pairs only'),
        ({'comparison__index': 'kendall_tau_a'}, "'kendall_tau_a' cannot be streamed"),
        ({}, ''),
    ],
)
def test_rdms_are_held_only_for_a_reason(changes, reason, config):
    config.inference.over, config.features.write_rdms = 'none', False
    config.update_from_flattened_dict({key.replace('__', '.'): value for key, value in changes.items()})
    found = experiment._why_stored(config, load(config))
    assert found == reason if not reason else reason in found


def test_rdms_need_not_be_written_for_intervals(config, tmp_path):
    assert scored(config, tmp_path / 'run', features__write_rdms=False)['good'].low < 1
    assert not (tmp_path / 'run' / 'rdms').exists()


@pytest.mark.parametrize('stored', [True, False])
def test_runs_of_voxels_are_a_reference(stored, config, tmp_path):
    np_rng, folder = np.random.default_rng(0), tmp_path / 'run'
    good = files.load_features(tmp_path / 'good.npy')
    order = np_rng.permutation(N)
    voxels = good.values[order] + np_rng.normal(size=(4, N, 20))
    np.savez(tmp_path / 'voxels.npz', voxels=voxels, ids=good.ids[order])
    config.reference.update(kind='features', files=(str(tmp_path / 'voxels.npz'),), arrays=(), measure='crossnobis')
    if not stored:
        config.inference.over, config.features.write_rdms = 'none', False
    folder.mkdir()
    experiment.run(config, str(folder))
    expected = rsa.compare(rsa.rdm(good.values[order]), rsa.rdm(voxels, 'crossnobis'))
    assert scores_of(folder)[0].value == pytest.approx(expected, abs=1e-6)
    assert scores_of(folder)[0].provenance['reference_measure'] == 'crossnobis'
    covariance = np.diag(np.linspace(1.0, 9.0, 20))
    np.savez(tmp_path / 'noise.npz', covariance=covariance)
    config.reference.noise_files = (str(tmp_path / 'noise.npz'),)
    experiment.run(config, str(folder))
    expected = rsa.compare(rsa.rdm(good.values[order]), rsa.rdm(voxels, 'crossnobis', covariance=covariance))
    assert scores_of(folder)[0].value == pytest.approx(expected, abs=1e-6)


def test_repeats_that_do_not_fit_are_refused(config, tmp_path):
    np.savez(tmp_path / 'voxels.npz', voxels=np.zeros((4, N, 20)), ids=files.load_features(tmp_path / 'good.npy').ids)
    config.inference.over, config.features.write_rdms = 'none', False
    refused = {
        r"soft_labels are no repeated .* use config\.reference\.kind='features'": dict(kind='soft_labels'),
        "'linear_cka' compares one vector for each stimulus": dict(index='linear_cka'),
        "noise_files are for measure 'crossnobis', not for 'cosine'": dict(
            measure='cosine', noise_files=('noise.npy',)
        ),
        'has 1 files, 1 arrays and 2 noise_files': dict(noise_files=('one.npy', 'two.npy')),
    }
    for message, changes in refused.items():
        c = copy.deepcopy(config)
        c.reference.update(kind='features', files=(str(tmp_path / 'voxels.npz'),), arrays=(), measure='crossnobis')
        c.comparison.index = changes.pop('index', 'spearman')
        c.reference.update(changes)
        with pytest.raises(ValueError, match=message):
            experiment.run(c, str(tmp_path))


def test_mistakes_are_named(config, tmp_path):
    def fails(message, **changes):
        changed = config.copy_and_resolve_references()
        changed.update_from_flattened_dict({key.replace('__', '.'): value for key, value in changes.items()})
        with pytest.raises(ValueError, match=message):
            experiment.run(changed, str(tmp_path))

    fails('must each name at least one file', features__files=())
    fails('needs categories: give config.comparison.labels_file', comparison__pairs=('within',))
    fails("kind='votes' must be one of rdm, features", reference__kind='votes')
    fails('has 2 files, 1 arrays', features__arrays=('a',))
    fails("only in 'good'", reference__dataset='cifar10', reference__split='test')


def test_what_does_not_fit_is_refused_before_anything_is_computed(config, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, '_rdm_of', None)
    monkeypatch.setattr(experiment, '_streamed', None)
    config.comparison.labels_file = str(tmp_path / 'labels.txt')

    def fails(message, **changes):
        changed = config.copy_and_resolve_references()
        changed.update_from_flattened_dict({key.replace('__', '.'): value for key, value in changes.items()})
        with pytest.raises(ValueError, match=message):
            experiment.run(changed, str(tmp_path))

    plain = dict(inference__over='none', features__write_rdms=False)
    fails("index='spearmn' is no index. Did you mean 'spearman'", comparison__index='spearmn')
    fails(r"pairs=\('withn',\) must be some of all, within", comparison__pairs=('withn',), **plain)
    fails("config.inference.over='subject' must be one of none, stimuli", inference__over='subject')
    fails("over='both' needs the RDMs of at least two subjects, not 1", inference__over='both')
    fails("pairs='within' is for pearson, .* not for 'bures'", comparison__index='bures', comparison__pairs=('within',))
    fails("'bures' needs every pair", comparison__index='bures', comparison__pairs=('within',), **plain)
    fails(
        "'partial' is for pearson, spearman, not for 'kendall_tau_a'",
        comparison__index='kendall_tau_a',
        comparison__pairs=('partial',),
        **plain,
    )
    fails("'linear_cka' compares feature matrices .*--config.inference.over=none", comparison__index='linear_cka')
    fails(
        "'rv' compares features, but the reference is given as RDMs",
        comparison__index='rv',
        reference__kind='rdm',
        reference__arrays=(),
        reference__files=(_rdm_file(tmp_path),),
    )


def _rdm_file(folder: pathlib.Path) -> str:
    """An RDM of the stimuli of the config."""
    ids = stimulus_ids('toy', 'test', np.arange(N))
    values = np.random.default_rng(5).uniform(size=N * (N - 1) // 2)
    files.save_rdm(folder / 'rdm.npy', Rdm(values, ids, 'rdm', 'correlation'))
    return str(folder / 'rdm.npy')


@pytest.mark.parametrize('join', ['exact', 'shared'])
@pytest.mark.parametrize('index', rsa.FEATURE_INDICES)
def test_features_themselves_are_compared(index, join, config, tmp_path):
    config.comparison.update(labels_file=str(tmp_path / 'labels.txt'), join=join, index=index)
    found = scored(config, tmp_path / 'run', inference__over='none', features__write_rdms=False)
    assert list(found) == ['good', 'poor', 'same category']
    counts = np.load(tmp_path / 'counts.npz')['counts']
    people = Features(counts / counts.sum(axis=1, keepdims=True), stimulus_ids('toy', 'test', np.arange(N)), 'people')
    for name in ('good', 'poor'):
        expected = rsa.FEATURE_INDICES[index](files.load_features(tmp_path / f'{name}.npy'), people)
        assert found[name].value == pytest.approx(expected, abs=1e-6)
        assert found[name].name == f'rsa/{index}' and np.isnan(found[name].low)
        assert found[name].provenance['measure'] == found[name].provenance['reference_measure'] == 'none'
    classes = np.unique((tmp_path / 'labels.txt').read_text().splitlines(), return_inverse=True)[1]
    same = Features(np.eye(classes.max() + 1)[classes], files.load_features(tmp_path / 'good.npy').ids, 'same')
    assert found['same category'].value == pytest.approx(
        rsa.FEATURE_INDICES[index](same, people), abs=1e-6, nan_ok=True
    )


def test_cka_and_procrustes_are_indices_of_squared_distances(config, tmp_path):
    features = files.load_features(tmp_path / 'good.npy'), files.load_features(tmp_path / 'poor.npy')
    squares = [rsa.rdm(x, 'sqeuclidean') for x in features]
    for of_features, of_rdms in (('linear_cka', 'whitened_cosine'), ('procrustes', 'bures')):
        expected = rsa.compare(squares[0], squares[1], of_rdms)
        assert rsa.FEATURE_INDICES[of_features](*features) == pytest.approx(float(expected), abs=1e-5)


def test_too_little_memory_is_refused_before_anything_is_computed(config, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, '_left_in_cgroups', lambda system: [1])
    stored = r'RDMs of 24 stimuli \(RDMs are held .*needs them\) need about 0.0 GB of memory, but only 0.0 GB are free'
    with pytest.raises(ValueError, match=stored):
        experiment.run(config, str(tmp_path))
    config.inference.over, config.features.write_rdms = 'none', False
    with pytest.raises(
        ValueError, match=r'\(straight from the features, no RDM is held\) need about 1.2 GB of memory, but only 0.0 GB'
    ):
        experiment.run(config, str(tmp_path))
    assert not (tmp_path / 'rdms').exists()


@pytest.fixture
def without_ids(tmp_path) -> ml_collections.ConfigDict:
    """Features and a subject's RDM in plain .npy files, which have no ids; no inference."""
    np_rng = np.random.default_rng(5)
    net = np_rng.normal(size=(12, 6))
    np.save(tmp_path / 'net.npy', net)
    np.save(tmp_path / 'subject.npy', pdist(net + np_rng.normal(size=net.shape)))
    c = runpy.run_path(str(CONFIG))['get_config']()
    c.features.update(files=(str(tmp_path / 'net.npy'),), write_rdms=False)
    c.reference.files = (str(tmp_path / 'subject.npy'),)
    c.inference.over = 'none'
    return c


def spearman_of(folder, rows=slice(None)) -> float:
    net, subject = np.load(folder / 'net.npy')[rows], np.load(folder / 'subject.npy')
    kept = squareform(squareform(subject)[rows][:, rows])
    return scipy.stats.spearmanr(pdist(net, 'correlation'), kept).statistic


@pytest.mark.parametrize('join', ['exact', 'shared'])
def test_rows_without_ids_join_nothing_and_the_flags_that_help_are_shown(join, without_ids, tmp_path):
    without_ids.comparison.join = join
    with pytest.raises(ValueError, match=r'net\.npy, subject\.npy: there are no stimulus ids') as caught:
        scored(without_ids, tmp_path / 'run')
    for section in ('features', 'reference'):
        assert f'--config.{section}.ids_file=FILE' in str(caught.value)
        assert f'--config.{section}.dataset=NAME --config.{section}.split=test' in str(caught.value)
    assert '--config.comparison.join=position' in str(caught.value)


def test_a_file_without_ids_does_not_join_one_that_has_them(without_ids, tmp_path):
    without_ids.features.update(dataset='toy', split='test')
    with pytest.raises(ValueError, match=r'^subject\.npy: there are no stimulus ids.*: --config\.reference\.ids_file'):
        scored(without_ids, tmp_path / 'run')
    without_ids.reference.update(dataset='toy', split='test')
    assert scored(without_ids, tmp_path / 'run2')['net'].value == pytest.approx(spearman_of(tmp_path), abs=1e-6)


def test_rows_join_by_position_when_asked_and_the_score_says_so(without_ids, tmp_path):
    without_ids.comparison.join = 'position'
    score = scored(without_ids, tmp_path / 'run')['net']
    assert score.value == pytest.approx(spearman_of(tmp_path), abs=1e-6)
    assert score.provenance['join'] == 'position'
    np.save(tmp_path / 'subject.npy', np.arange(55.0))
    with pytest.raises(ValueError, match=r"as many stimuli in each, but 'net' has 12 and 'subject' 11"):
        scored(without_ids, tmp_path / 'run2')


def test_a_join_by_position_that_contradicts_the_ids_is_refused(config, tmp_path):
    config.comparison.join = 'position'
    with pytest.raises(ValueError, match=r"join='position' contradicts the ids: 'toy/test/\d+' is in row "):
        scored(config, tmp_path / 'run')


def test_a_score_says_that_stimuli_were_joined_by_id(config, tmp_path):
    config.inference.over = 'none'
    assert scored(config, tmp_path / 'run')['good'].provenance['join'] == 'exact'


def spoil(folder, what):
    """Row 4 of the features, or all pairs of stimulus 4 of the RDM, made undefined."""
    net, subject = np.load(folder / 'net.npy'), squareform(np.load(folder / 'subject.npy'))
    if what == 'pairs':
        subject[4] = subject[:, 4] = np.nan
        np.save(folder / 'subject.npy', squareform(subject, checks=False))
    else:
        net[4] = 1.0 if what == 'constant' else np.nan
        np.save(folder / 'net.npy', net)


@pytest.mark.parametrize(
    ('what', 'message'),
    [
        (
            'constant',
            r"net\.npy: 1 of 12 stimuli have constant features, for which 'correlation' is not defined",
        ),
        ('nan', r'net\.npy: 1 of 12 stimuli have NaN or infinite features: row/00004'),
        ('pairs', r'subject\.npy: 1 of 12 stimuli have pairs that are NaN or infinite: row/00004'),
    ],
)
@pytest.mark.parametrize('streamed', [True, False])
def test_stimuli_without_distances_are_named_or_left_out_by_one_flag(what, message, streamed, without_ids, tmp_path):
    rows = np.delete(np.arange(12), 4)
    expected = spearman_of(tmp_path, rows)
    if streamed and what != 'pairs':
        np.savez(tmp_path / 'subject.npz', x=np.load(tmp_path / 'net.npy') ** 3)
        expected = scipy.stats.spearmanr(
            pdist(np.load(tmp_path / 'net.npy')[rows], 'correlation'),
            pdist(np.load(tmp_path / 'net.npy')[rows] ** 3),
        ).statistic
        without_ids.reference.update(kind='features', measure='euclidean', files=(str(tmp_path / 'subject.npz'),))
    spoil(tmp_path, what)
    without_ids.comparison.join = 'position'
    with pytest.raises(ValueError, match=message) as caught:
        scored(without_ids, tmp_path / 'run')
    assert ': row/00004. --config.comparison.undefined=omit' in str(caught.value)
    assert not any(word in str(caught.value) for word in ('nan_policy', 'rsa.select', 'rsa.align'))
    score = scored(without_ids, tmp_path / 'omit', comparison__undefined='omit')['net']
    assert score.value == pytest.approx(expected, abs=1e-6)
    said = score.provenance
    assert (score.n, said['undefined_left_out'], said['undefined_stimuli']) == (11, 1, ['position/00004'])


def test_a_stimulus_that_is_nan_can_be_left_out_of_a_covariance(without_ids, tmp_path):
    rows = np.delete(np.arange(12), 4)
    kept = squareform(squareform(np.load(tmp_path / 'subject.npy'))[rows][:, rows])
    expected = scipy.stats.spearmanr(pdist(np.load(tmp_path / 'net.npy')[rows], 'mahalanobis'), kept).statistic
    spoil(tmp_path, 'nan')
    without_ids.features.measure = 'mahalanobis'
    without_ids.comparison.update(join='position', undefined='omit')
    assert scored(without_ids, tmp_path / 'run')['net'].value == pytest.approx(expected, abs=1e-6)


def test_of_scattered_missing_pairs_the_fewest_stimuli_are_left_out(without_ids, tmp_path):
    subject = squareform(np.load(tmp_path / 'subject.npy'))
    for i, j in ((2, 5), (2, 7), (2, 9)):
        subject[i, j] = subject[j, i] = np.nan
    np.save(tmp_path / 'subject.npy', squareform(subject, checks=False))
    without_ids.comparison.update(join='position', undefined='omit')
    assert scored(without_ids, tmp_path / 'run')['net'].provenance['undefined_stimuli'] == ['position/00002']


def test_a_stimulus_that_is_not_shared_needs_no_distances(without_ids, tmp_path):
    spoil(tmp_path, 'constant')
    np.savez(tmp_path / 'net.npz', x=np.load(tmp_path / 'net.npy'), ids=[f's{i}' for i in range(12)])
    kept = np.delete(np.arange(12), [4, 7])
    subject = squareform(squareform(np.load(tmp_path / 'subject.npy'))[kept][:, kept])
    np.savez(tmp_path / 'some.npz', x=subject, ids=[f's{i}' for i in kept])
    without_ids.features.files = (str(tmp_path / 'net.npz'),)
    without_ids.reference.update(files=(str(tmp_path / 'some.npz'),))
    without_ids.comparison.join = 'shared'
    score = scored(without_ids, tmp_path / 'run')['net']
    assert (score.n, score.value) == (10, pytest.approx(spearman_of(tmp_path, kept), abs=1e-6))


def test_files_of_one_name_are_told_apart_in_scores_and_rdms(without_ids, tmp_path):
    for k, folder in enumerate('ab'):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / 'fc.npy', np.random.default_rng(k).normal(size=(12, 6)))
    without_ids.features.update(files=(str(tmp_path / 'a/fc.npy'), str(tmp_path / 'b/fc.npy')), write_rdms=True)
    without_ids.comparison.join = 'position'
    scores = scored(without_ids, tmp_path / 'run')
    assert list(scores) == ['a/fc', 'b/fc']
    for name, score in scores.items():
        assert score.provenance['sha256'] == storage.file_digest(tmp_path / f'{name}.npy')
        rdm = files.load_rdm(tmp_path / 'run' / 'rdms' / f'{name.replace("/", "_")}.npy')
        np.testing.assert_allclose(rdm.values, pdist(np.load(tmp_path / f'{name}.npy'), 'correlation'), atol=1e-6)


def test_names_are_checked_before_any_file_is_read(without_ids):
    without_ids.features.update(files=('no.npy', 'such.npy'), names=('a', 'a'))
    with pytest.raises(ValueError, match=r"two models are named 'a': give config\.features\.names, one for each file"):
        load(without_ids)
    without_ids.comparison.labels_file = 'none.txt'
    without_ids.features.names = ('same category', 'a')
    with pytest.raises(ValueError, match="'same category' is the baseline that categories add"):
        load(without_ids)


def test_a_figure_that_fails_loses_no_score(config, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError('no font')

    monkeypatch.setattr(experiment, '_draw', fail)
    config.inference.over = 'none'
    with pytest.raises(RuntimeError, match='no font'):
        scored(config, tmp_path / 'run')
    assert len(scores_of(tmp_path / 'run')) == 2


@pytest.mark.parametrize('write_rdms', [True, False])
def test_scores_say_whether_features_were_discrete(tmp_path, write_rdms):
    np_rng = np.random.default_rng(0)
    ids = [f'im{i}' for i in range(20)]
    np.savez(tmp_path / 'attributes.npz', values=(np_rng.random((20, 100)) < 0.1).astype(float), ids=ids)
    np.savez(tmp_path / 'net.npz', values=np_rng.normal(size=(20, 30)), ids=ids)
    config = runpy.run_path(str(CONFIG))['get_config']()
    config.features.update(files=(str(tmp_path / 'attributes.npz'), str(tmp_path / 'net.npz')), write_rdms=write_rdms)
    config.reference.update(files=(str(tmp_path / 'net.npz'),), kind='features', measure='correlation')
    config.inference.over = 'none'
    (tmp_path / 'run').mkdir()
    experiment.run(config, str(tmp_path / 'run'))
    found = {score.provenance['model']: score.provenance['discrete'] for score in scores_of(tmp_path / 'run')}
    assert found == {'attributes': True, 'net': False}


def test_a_file_without_ids_may_be_compared_with_itself(tmp_path):
    np.save(tmp_path / 'net.npy', np.random.default_rng(0).normal(size=(12, 5)))
    config = runpy.run_path(str(CONFIG))['get_config']()
    config.features.files = (str(tmp_path / 'net.npy'),)
    config.reference.update(files=(str(tmp_path / 'net.npy'),), kind='features', measure='correlation')
    config.inference.over = 'none'
    (tmp_path / 'run').mkdir()
    experiment.run(config, str(tmp_path / 'run'))
    assert scores_of(tmp_path / 'run')[0].value == pytest.approx(1.0)
