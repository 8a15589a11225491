"""The alignment experiment: files in, scores and arrays out; what must be refused is refused."""

import json

import numpy as np
import pytest

from humalign_jax import storage
from humalign_jax.data import load_synthetic
from humalign_jax.experiments import alignment
from humalign_jax.records import Score, stimulus_ids

from ..conftest import load_config

NAMES = {
    *(f'soft_labels/{loss}{suffix}' for loss in ('cross_entropy', 'kl', 'js') for suffix in ('', '_scaled')),
    *(f'soft_labels/{name}' for name in ('temperature', 'entropy_spearman', 'entropy_pearson')),
    *(f'soft_labels/{name}' for name in ('accuracy', 'human_top1', 'second_best')),
    *(f'errors/{name}' for name in ('confusion_spearman', 'confusion_spearman_soft', 'kappa', 'kappa_majority')),
    *(f'errors/accuracy_by_uncertainty/{name}' for name in ('unanimous', 'low', 'medium', 'high')),
}
N = 150


def write_layer(folder, name, values, images, split='test', **changes):
    """A layer as the experiment `extract` leaves it."""
    about = {'name': f'net/{name}', 'model': 'net', 'layer': name, 'data': f'synthetic/{split}', 'simulated': True}
    ids = stimulus_ids('synthetic', 'test' if split == 'test' else 'train', images.index)
    storage.write_array(folder / f'{name}.npy', values, {**about, 'ids': ids, **changes})


@pytest.fixture
def study(tmp_path):
    """Folders of a model that knows the true soft labels, `(config, test images)`."""
    config = load_config('alignment', 'tiny')
    config.simulated.n_test = 0
    config.human.update(n_test=N, seed=4)
    config.n_bootstrap, config.n_splits = 50, 4
    images = {}
    for split, source in (('test', 'test'), ('validation', 'train')):
        images[split] = load_synthetic(source, n_test=N, n_train=N, seed=4)
        folder = tmp_path / split
        logits = np.log(images[split].extras['soft_label'] + 1e-12).astype(np.float32)
        write_layer(folder, 'logits', logits, images[split], split)
        write_layer(folder, 'labels', images[split].labels, images[split], split, class_names=images[split].class_names)
    config.features, config.validation = str(tmp_path / 'test'), str(tmp_path / 'validation')
    return config, images['test']


def scores_of(folder):
    return [Score.from_json(row) for row in storage.read_jsonl(folder / 'scores.jsonl')]


def of_model(scores):
    return {score.name: score for score in scores if not score.provenance.get('baseline')}


def test_every_score_is_there_with_interval_ceiling_and_provenance(study, tmp_path):
    config, _ = study
    alignment.run(config, str(tmp_path / 'out'))
    scores = scores_of(tmp_path / 'out')
    assert set(of_model(scores)) == NAMES
    for score in scores:
        about = score.provenance
        assert about['human'] == 'simulated observers' and about['simulated'] is True and about['seed'] == 0
        assert about['layer'] == 'probs' and about['data'] == 'synthetic/test'
        assert about['better'] in ('larger', 'smaller', 'none')
        if score.name != 'soft_labels/temperature':
            assert score.low <= score.value <= score.high and score.ceiling_lower == score.ceiling_lower
    baselines = {score.provenance['model'] for score in scores if score.provenance.get('baseline')}
    assert baselines == {
        'human soft label itself', 'class-mean human label', 'uniform',
        *(f'true label smoothed by {percent} %' for percent in (1, 5, 10)),
    }  # fmt: skip


def test_a_model_equal_to_the_true_soft_label_beats_every_baseline_and_needs_no_temperature(study, tmp_path):
    config, _ = study
    alignment.run(config, str(tmp_path / 'out'))
    scores = scores_of(tmp_path / 'out')
    ours = of_model(scores)
    baselines = {s.provenance['model']: s.value for s in scores if s.provenance.get('baseline') and 'cross' in s.name}
    assert baselines.pop('human soft label itself') < ours['soft_labels/cross_entropy'].value < min(baselines.values())
    loss = ours['soft_labels/cross_entropy']
    assert loss.ceiling_lower < loss.value < loss.ceiling_upper
    assert ours['soft_labels/entropy_spearman'].value > ours['soft_labels/entropy_spearman'].ceiling_lower
    assert ours['errors/confusion_spearman_soft'].value > 0.7  # many cells without any answer are tied
    assert ours['errors/kappa'].value > ours['errors/kappa'].ceiling_lower


def test_matrices_and_table_hold_what_was_scored(study, tmp_path):
    config, images = study
    alignment.run(config, str(tmp_path / 'out'))
    ours = of_model(scores_of(tmp_path / 'out'))
    table = np.load(tmp_path / 'out' / 'per_image.npy')
    about = storage.read_json(tmp_path / 'out' / 'per_image.json')
    assert about['ids'] == images.ids.tolist() and table.dtype == np.float64
    columns = dict(zip(about['columns'], table.T, strict=True))
    assert ' '.join(list(columns)[:8]) == 'cross_entropy kl js model_entropy human_entropy prediction label human_top1'
    people = np.stack([columns[f'human/{name}'] for name in images.class_names], axis=1)
    np.testing.assert_allclose(people, images.extras['counts'] / 50, rtol=1e-15)
    model = np.stack([columns[f'model/{name}'] for name in images.class_names], axis=1)
    np.testing.assert_allclose(model, images.extras['soft_label'], atol=1e-6)
    for name in ('cross_entropy', 'kl', 'js'):
        assert columns[name].mean() == pytest.approx(ours[f'soft_labels/{name}'].value, rel=1e-12)
    np.testing.assert_array_equal(columns['label'], images.labels)
    np.testing.assert_array_equal(columns['prediction'], images.extras['soft_label'].argmax(axis=1))
    np.testing.assert_array_equal(columns['human_top1'], images.extras['counts'].argmax(axis=1))
    matrix, human = (np.load(tmp_path / 'out' / f'{name}confusion.npy') for name in ('', 'human_'))
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    expected = [images.extras['counts'][images.labels == label].mean(axis=0) / 50 for label in range(10)]
    np.testing.assert_allclose(human, expected, rtol=1e-12)
    assert np.mean(np.diag(matrix)) == pytest.approx(ours['soft_labels/accuracy'].value)  # as many images of each class
    for name in ('', 'human_'):
        off = np.load(tmp_path / 'out' / f'{name}errors.npy')
        whole = np.load(tmp_path / 'out' / f'{name}confusion.npy')
        np.testing.assert_array_equal(off, whole * (1 - np.eye(10)))


def test_images_in_another_order_get_the_same_scores(study, tmp_path):
    config, images = study
    alignment.run(config, str(tmp_path / 'out'))
    order = np.random.default_rng(0).permutation(N)
    for rows, name, values in (
        (order, 'logits', np.load(tmp_path / 'test' / 'logits.npy')),
        (order[::-1], 'labels', images.labels),
    ):
        taken = images.take(rows)
        write_layer(tmp_path / 'test', name, values[rows], taken, class_names=images.class_names)
    alignment.run(config, str(tmp_path / 'moved'))
    first, second = (of_model(scores_of(tmp_path / name)) for name in ('out', 'moved'))
    assert {name: score.value for name, score in second.items()} == pytest.approx(
        {name: score.value for name, score in first.items()}, rel=1e-9
    )


def test_the_same_seed_gives_the_same_file(study, tmp_path):
    config, _ = study
    for name in ('one', 'two'):
        alignment.run(config, str(tmp_path / name))
    assert (tmp_path / 'one' / 'scores.jsonl').read_bytes() == (tmp_path / 'two' / 'scores.jsonl').read_bytes()


def test_probabilities_serve_where_there_are_no_logits(study, tmp_path):
    config, images = study
    alignment.run(config, str(tmp_path / 'out'))
    (tmp_path / 'test' / 'logits.npy').unlink()
    write_layer(tmp_path / 'test', 'probs', images.extras['soft_label'], images)
    config.validation = ''
    alignment.run(config, str(tmp_path / 'from_probs'))
    first, second = (of_model(scores_of(tmp_path / name)) for name in ('out', 'from_probs'))
    assert set(second) == {name for name in NAMES if 'scaled' not in name and 'temperature' not in name}
    assert {name: score.value for name, score in second.items()} == pytest.approx(
        {name: first[name].value for name in second}, rel=1e-5
    )
    assert '0 counts as 1.2e-38' in second['errors/kappa'].provenance['outputs']


def test_over_confident_logits_are_mended_by_the_temperature(study, tmp_path):
    config, _ = study
    alignment.run(config, str(tmp_path / 'out'))
    for split in ('test', 'validation'):
        source = load_synthetic('test' if split == 'test' else 'train', n_test=N, n_train=N, seed=4)
        logits = 3.0 * np.load(tmp_path / split / 'logits.npy')
        write_layer(tmp_path / split, 'logits', logits, source, split)
    alignment.run(config, str(tmp_path / 'sure'))
    first, second = (of_model(scores_of(tmp_path / name)) for name in ('out', 'sure'))
    ratio = second['soft_labels/temperature'].value / first['soft_labels/temperature'].value
    assert ratio == pytest.approx(3.0, rel=1e-6)
    assert second['soft_labels/cross_entropy'].value > 1.2 * first['soft_labels/cross_entropy'].value
    scaled = 'soft_labels/cross_entropy_scaled'
    assert second[scaled].value == pytest.approx(first[scaled].value, rel=1e-6)


def test_training_images_are_refused(study, tmp_path):
    config, images = study
    write_layer(tmp_path / 'test', 'logits', np.load(tmp_path / 'test' / 'logits.npy'), images, 'train')
    write_layer(tmp_path / 'test', 'labels', images.labels, images, 'train')
    with pytest.raises(ValueError, match=r"images of the split 'train', which the model was trained on"):
        alignment.run(config, str(tmp_path / 'out'))


def test_an_unknown_split_with_ids_of_the_training_set_is_refused(study, tmp_path):
    config, images = study
    ids = stimulus_ids('synthetic', 'train', images.index)
    for name, values in (('logits', np.load(tmp_path / 'test' / 'logits.npy')), ('labels', images.labels)):
        storage.write_array(tmp_path / 'test' / f'{name}.npy', values, {'ids': ids})
    with pytest.raises(ValueError, match=r"images of the split 'train'"):
        alignment.run(config, str(tmp_path / 'out'))


def test_labels_in_another_order_are_refused(study, tmp_path):
    config, images = study
    write_layer(tmp_path / 'test', 'labels', np.roll(images.labels, 1), images, class_names=images.class_names)
    with pytest.raises(ValueError, match=r"'simulated observers' is the label for \d+\.\d % of 150 images"):
        alignment.run(config, str(tmp_path / 'out'))


def test_a_temperature_from_the_scored_images_is_refused(study, tmp_path):
    config, _ = study
    config.validation = config.features
    with pytest.raises(ValueError, match=r'150 images are in both config\.features and config\.validation'):
        alignment.run(config, str(tmp_path / 'out'))


def test_a_temperature_from_another_checkpoint_is_refused(study, tmp_path):
    config, _ = study
    path = tmp_path / 'validation' / 'logits.json'
    path.write_text(json.dumps({**storage.read_json(path), 'checkpoint_sha256': 'another'}))
    path = tmp_path / 'test' / 'logits.json'
    path.write_text(json.dumps({**storage.read_json(path), 'checkpoint_sha256': 'one'}))
    with pytest.raises(ValueError, match=r"checkpoint_sha256 'one', config\.validation of 'another'"):
        alignment.run(config, str(tmp_path / 'out'))


def test_changed_arrays_missing_layers_and_unknown_people_are_named(study, tmp_path):
    config, images = study
    np.save(tmp_path / 'test' / 'logits.npy', np.zeros((N, 10), np.float32))
    with pytest.raises(ValueError, match=r'logits\.npy and logits\.json do not belong together'):
        alignment.run(config, str(tmp_path / 'out'))
    write_layer(tmp_path / 'test', 'logits', np.full((N, 10), np.nan, np.float32), images)
    with pytest.raises(ValueError, match="infinite values, the first of them 'synthetic/test/00000': the network"):
        alignment.run(config, str(tmp_path / 'out'))
    write_layer(tmp_path / 'test', 'logits', np.zeros((N, 4), np.float32), images)
    with pytest.raises(ValueError, match=r'labels are 0 to 9, but logits\.npy has 4 classes'):
        alignment.run(config, str(tmp_path / 'out'))
    (tmp_path / 'test' / 'logits.npy').unlink()
    with pytest.raises(ValueError, match='has no file of a layer: put one'):
        alignment.run(config, str(tmp_path / 'out'))
    config.features = ''
    with pytest.raises(ValueError, match=r'config\.features is empty'):
        alignment.run(config, str(tmp_path / 'out'))


def test_stimuli_that_people_did_not_see_are_named(study, tmp_path):
    config, _ = study
    config.human.n_test = 100
    with pytest.raises(ValueError, match=r"50 of 150 stimuli have no answers.*'synthetic/test/00100'"):
        alignment.run(config, str(tmp_path / 'out'))


def test_the_tiny_config_is_simulated_and_says_so(tmp_path):
    config = load_config('alignment', 'tiny')
    alignment.run(config, str(tmp_path))
    scores = scores_of(tmp_path)
    assert set(of_model(scores)) == NAMES and all(score.provenance['simulated'] is True for score in scores)


@pytest.mark.data
def test_the_baselines_of_cifar10h_are_rows(real_data, tmp_path):
    with np.load(real_data / 'cifar10' / 'test_jpeg.npz') as file:
        labels = file['labels'].astype(np.int32)
    config = load_config('alignment', 'full')
    config.human.root, config.features = str(real_data / 'cifar10'), str(tmp_path)
    config.n_bootstrap, config.n_splits = 20, 2
    ids = stimulus_ids('cifar10', 'test', np.arange(10_000))
    storage.write_array(tmp_path / 'labels.npy', labels, {'ids': ids})
    logits = 4.0 * np.eye(10, dtype=np.float32)[labels]
    storage.write_array(tmp_path / 'logits.npy', logits, {'ids': ids, 'model': 'label', 'data': 'cifar10/test'})
    alignment.run(config, str(tmp_path / 'out'))
    scores = scores_of(tmp_path / 'out')
    found = {s.provenance['model']: s.value for s in scores if s.name == 'soft_labels/cross_entropy'}
    assert found['human soft label itself'] == pytest.approx(0.1545, abs=5e-5)
    assert found['class-mean human label'] == pytest.approx(0.25655, abs=5e-6)
    assert found['true label smoothed by 5 %'] == pytest.approx(0.2963, abs=5e-5)
    assert all(score.provenance['human_licence'] == 'CC BY-NC-SA 4.0' for score in scores)
    assert not any(score.provenance['simulated'] for score in scores)
