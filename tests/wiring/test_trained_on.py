"""What a network was trained on: classes by name over runs and folders, and no test image among the training images."""

import dataclasses

import numpy as np
import pytest
from absl import logging
from PIL import Image

from humalign_jax import storage
from humalign_jax.experiments import evaluate, train_classifier
from humalign_jax.records import ImageSet
from humalign_jax.wiring import runs, trained_on

from ..conftest import load_config


def image_set(class_names, n=6, seed=0, split='train'):
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3), np.uint8)
    labels = np.arange(n, dtype=np.int32) % len(class_names)
    return ImageSet(pixels, labels, np.arange(n), tuple(class_names), name='toy', split=split)


def write_folder(root, class_names, n=8, seed=0):
    np_rng = np.random.default_rng(seed)
    for name in class_names:
        (root / name).mkdir(parents=True)
        for number in range(n):
            Image.fromarray(np_rng.integers(0, 256, (16, 16, 3), np.uint8)).save(root / name / f'{number}.png')
    return root


def folder_config(root):
    config = load_config('image_folder', 'tiny')
    config.data = {**load_config('image_folder', 'full').data, 'root': str(root), 'size_px': 16}
    config.data.update(batch_size=4, n_validation=4)
    config.model.widths = ((4, 4),)
    config.train.update(max_steps=1, n_devices=1)
    return config


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder with images of ants and bees, and a run of one step on it."""
    folder = tmp_path_factory.mktemp('trained')
    write_folder(folder / 'images', ('ant', 'bee'))
    (folder / 'run').mkdir()
    config = folder_config(folder / 'images')
    storage.write_json(folder / 'run' / 'config.json', config.to_dict())
    train_classifier.run(config, str(folder / 'run'))
    return folder


def test_scores_say_how_the_test_images_were_held_out(trained, tmp_path):
    config = load_config('evaluate', 'full')
    config.run = str(trained / 'run')
    evaluate.run(config, str(tmp_path))
    for folder in (trained / 'run', tmp_path):
        for score in storage.read_jsonl(folder / 'scores.jsonl'):
            assert 'of 16 images held out by split_seed=0, about 0.2' in score['provenance']['test_split']
            assert score['provenance']['data'] == 'image_folder/test'


@pytest.mark.parametrize(
    'class_names, difference',
    [
        (('ant', 'cow'), 'are of 2, without bee and with cow'),
        (('ant',), 'are of 1, without bee'),
        (('aardvark', 'ant', 'bee'), 'are of 3, with aardvark'),
    ],
)
def test_a_run_is_not_opened_on_images_of_other_classes(class_names, difference, trained, tmp_path):
    write_folder(tmp_path / 'other', class_names, n=20)
    with pytest.raises(ValueError, match=rf'was trained on 2 classes .*{difference}.*--config\.data\.root'):
        runs.open_run(trained / 'run', root=str(tmp_path / 'other'))


def test_a_run_is_opened_on_other_images_of_the_same_classes(trained, tmp_path):
    write_folder(tmp_path / 'other', ('bee', 'ant'), n=9)
    opened = runs.open_run(trained / 'run', root=str(tmp_path / 'other'))
    assert opened.setup.images['test'].class_names == ('ant', 'bee')


def test_a_class_without_test_images_has_no_accuracy_and_the_others_have_theirs(tmp_path):
    for split in ('train', 'test'):
        write_folder(tmp_path / 'zoo' / split, ('ant', 'bee', 'cow'), seed=len(split))
    for path in (tmp_path / 'zoo' / 'test' / 'bee').iterdir():
        path.unlink()
    (tmp_path / 'run').mkdir()
    train_classifier.run(folder_config(tmp_path / 'zoo'), str(tmp_path / 'run'))
    scores = {score['name']: score for score in storage.read_jsonl(tmp_path / 'run' / 'scores.jsonl')}
    assert scores['accuracy']['n'] == 16 and 'test_split' not in scores['accuracy']['provenance']
    assert [scores[f'accuracy/{name}']['n'] for name in ('ant', 'bee', 'cow')] == [8, 0, 8]
    assert scores['accuracy/bee']['value'] is None


def test_a_run_does_not_go_on_with_other_classes(trained, tmp_path):
    config = folder_config(write_folder(tmp_path / 'other', ('ant', 'bug')))
    with pytest.raises(ValueError, match=r'without bee and with bug.*train anew in another --workdir'):
        train_classifier.run(config, str(trained / 'run'))


def test_a_classifier_of_one_class_is_refused(tmp_path):
    config = folder_config(write_folder(tmp_path / 'zoo', ('images',), n=20))
    with pytest.raises(
        ValueError, match=r"one class, 'images', but .* two or more: does --config\.data\.root=.*zoo hold"
    ):
        train_classifier.run(config, str(tmp_path / 'run'))


def test_the_same_classes_in_another_order_are_others(tmp_path):
    trained_on.check_classes(tmp_path, image_set(('ant', 'bee')), write=True)
    trained_on.check_classes(tmp_path, image_set(('ant', 'bee')))
    with pytest.raises(ValueError, match='are of 2, in another order'):
        trained_on.check_classes(tmp_path, image_set(('bee', 'ant')))


def test_a_test_set_that_is_the_training_set_is_refused():
    train = image_set(('ant', 'bee'))
    test = dataclasses.replace(train.take(np.array([4, 1])), split='test')
    with pytest.raises(ValueError, match='each of the 2 test images is a training image, too'):
        trained_on.apart(test, train)


def test_test_images_among_the_training_images_are_counted_and_said(monkeypatch):
    said = []
    monkeypatch.setattr(logging, 'warning', lambda text, *values: said.append(text % values))
    train, test = image_set(('ant', 'bee')), image_set(('ant', 'bee'), seed=1, split='test')
    assert trained_on.apart(test, train) is test and not said
    test.images[3] = train.images[0]
    found = trained_on.apart(test, train)
    assert found.provenance == {'test_images_in_train': '1 of 6 test images are training images, too (the same pixels)'}
    assert said == [f'toy: {found.provenance["test_images_in_train"]}; the first is toy/test/00003.']


def test_splits_of_other_classes_are_refused():
    with pytest.raises(ValueError, match=r"train has the classes \('ant', 'bee'\), but test \('ant', 'cow'\)"):
        trained_on.apart(image_set(('ant', 'cow')), image_set(('ant', 'bee')))
