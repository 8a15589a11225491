"""train_deconv: scores, pictures before and after training, and test curves that choose nothing."""

import pathlib
import runpy

import numpy as np
import pytest
from PIL import Image

from humalign_jax import data, records, storage
from humalign_jax.experiments import train_deconv
from humalign_jax.report.plots import reconstructions

CONFIG = pathlib.Path(__file__).parents[2] / 'configs' / 'deconv.py'


def small(**model):
    config = runpy.run_path(str(CONFIG))['get_config']('tiny')
    config.data.update(batch_size=16, n_validation=32, n_train=96, n_test=40)
    config.optimizer.learning_rate = 0.02
    config.train.update(n_devices=1, epochs=2.0)
    config.model.update(**model)
    return config


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp('deconv')
    train_deconv.run(small(), str(folder))
    return folder


def scores_of(folder):
    return {row['name']: records.Score.from_json(row) for row in storage.read_jsonl(folder / 'scores.jsonl')}


def rows_of(folder, split):
    return [row for row in storage.read_jsonl(folder / 'metrics.jsonl') if row['split'] == split]


def test_scores_are_of_classes_and_of_reconstructions(done):
    scores = scores_of(done)
    assert scores['loss'].value == pytest.approx(scores['cross_entropy'].value + 2 * scores['mse'].value, rel=1e-5)
    assert {'accuracy', 'macro_f1', 'psnr', 'ssim'} < set(scores)
    about = scores['mse'].provenance
    assert (about['decoder'], about['unpool'], about['reconstruction_weight']) == (True, 'switches', 2.0)
    per_class, confusion = np.load(done / 'per_class.npy'), np.load(done / 'confusion.npy')
    assert storage.read_json(done / 'per_class.json')['measures'] == ['precision', 'recall', 'f1', 'n']
    np.testing.assert_allclose(per_class[:, 1], confusion.diagonal() / confusion.sum(axis=1))
    assert scores['macro_f1'].value == pytest.approx(np.nanmean(per_class[:, 2]))


def test_test_curves_end_at_the_scores_and_validation_chooses(done):
    validation, test = rows_of(done, 'validation'), rows_of(done, 'test')
    assert [row['step'] for row in test] == [row['step'] for row in validation] == [4, 8]
    best = min(range(2), key=lambda i: validation[i]['loss'])
    scores, chosen = scores_of(done), scores_of(done / 'validation')
    assert scores['mse'].provenance['checkpoint_step'] == validation[best]['step']
    for name in ('loss', 'cross_entropy', 'mse', 'accuracy'):
        assert scores[name].value == pytest.approx(test[best][name], rel=1e-5)
        assert chosen[name].value == pytest.approx(validation[best][name], rel=1e-5)


def test_measuring_the_test_images_by_epoch_changes_nothing_else(done, tmp_path):
    config = small()
    config.objective.test_curves = False
    train_deconv.run(config, str(tmp_path))
    assert not rows_of(tmp_path, 'test')
    for split in ('train', 'validation'):
        assert rows_of(tmp_path, split) == rows_of(done, split)
    assert storage.read_jsonl(tmp_path / 'scores.jsonl') == storage.read_jsonl(done / 'scores.jsonl')


def test_reconstructions_are_drawn_before_training_and_at_every_epoch_asked_for(done):
    names = [f'reconstructions_epoch_00{epoch}' for epoch in (0, 1, 2)]
    assert sorted(path.stem for path in (done / 'pictures').glob('*.png')) == names
    described = [storage.read_json(done / 'pictures' / f'{name}.json') for name in names]
    assert [one['step'] for one in described] == [0, 4, 8]
    test = data.load_synthetic('test', n_train=96, n_test=40)
    for one in described:
        assert one['ids'] == list(test.ids[:8]) and one['classes'] == [test.class_names[k] for k in test.labels[:8]]
    psnr, mse = (np.array([one[name] for one in described]) for name in ('psnr', 'mse'))
    np.testing.assert_allclose(psnr, -10 * np.log10(mse / 4), atol=1e-3)  # [-1, 1] is twice as wide as [0, 1]
    assert np.abs(psnr[1] - psnr[0]).max() > 1e-3
    pixels = [np.asarray(Image.open(done / 'pictures' / f'{name}.png')) for name in names]
    assert pixels[0].shape == pixels[1].shape and (pixels[0] != pixels[1]).any()


def test_the_classifier_alone_has_no_scores_of_reconstructions(tmp_path):
    train_deconv.run(small(decoder=False), str(tmp_path))
    scores = scores_of(tmp_path)
    assert not {'mse', 'psnr', 'ssim'} & set(scores) and not (tmp_path / 'pictures').exists()
    assert scores['loss'].value == scores['cross_entropy'].value
    assert scores['loss'].provenance['decoder'] is False and 'unpool' not in scores['loss'].provenance


def test_another_model_is_refused():
    config = small()
    config.model = dict(name='philnet')
    with pytest.raises(ValueError, match=r"trains the model 'deconv', not config\.model\.name='philnet'"):
        train_deconv.make_task(config)


def test_min_max_stretches_each_image_and_a_constant_one_is_black():
    image = np.array([[2.0, 4.0], [3.0, 2.0]]).reshape(1, 2, 2, 1)
    stretched = reconstructions.min_max(np.concatenate([image, 10 * image, np.ones_like(image)]))
    np.testing.assert_allclose(stretched[..., 0], [[[0, 1], [0.5, 0]]] * 2 + [[[0, 0], [0, 0]]])
