"""CIFAR-10N as the target of training: right rows, right shares, and tested on the published labels."""

import importlib.util
import pathlib

import numpy as np
import pytest

from humalign_jax import records, storage
from humalign_jax.data import cifar10, pipeline, splits
from humalign_jax.experiments import train_classifier
from humalign_jax.wiring import images as images_lib
from humalign_jax.wiring import targets

N = 50_000


def _images(n, split, size_px=1):
    labels = np.random.default_rng(0).integers(0, 10, n).astype(np.int32)
    levels = labels * 20 + (split == 'test')  # no test image is a training image
    pixels = np.zeros((n, size_px, size_px, 3), np.uint8) + levels.astype(np.uint8)[:, None, None, None]
    return records.ImageSet(pixels, labels, np.arange(n), cifar10.CLASS_NAMES, name='cifar10', split=split)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """A folder with cifar10n.npz: the second person is one class too high at every seventh image."""
    folder = tmp_path_factory.mktemp('data')
    labels = _images(N, 'train').labels
    wrong = np.where(np.arange(N) % 7 == 0, (labels + 1) % 10, labels)
    people = np.stack([labels, wrong, labels], axis=1).astype(np.uint8)
    np.savez(folder / 'cifar10n.npz', labels=people, aggregate=people[:, 0], worst=people[:, 1])
    return folder


def test_targets_are_the_shares_of_three_people_also_after_a_split(root):
    train = targets.with_people(_images(N, 'train'), 'cifar10n', root=str(root), seed=0)
    for part in splits.stratified_split(train, 5000, seed=0):
        soft_label = pipeline.resident_arrays(part, target='cifar10n')['soft_label']
        rows = np.arange(len(part))
        share = np.where(part.index % 7 == 0, 2 / 3, 1)
        np.testing.assert_allclose(soft_label[rows, part.labels], share, rtol=1e-6)
        np.testing.assert_allclose(soft_label[rows, (part.labels + 1) % 10], 1 - share, atol=1e-6)


@pytest.mark.parametrize(('target', 'share_wrong'), [('aggregate', 0), ('worst', 1 / 7), ('person', 1 / 21)])
def test_one_label_of_several_people_is_one_hot(root, target, share_wrong):
    images = targets.with_people(_images(N, 'train'), f'cifar10n_{target}', root=str(root), seed=0)
    soft_label = images.extras[f'cifar10n_{target}']
    assert (soft_label.max(axis=1) == 1).all() and (soft_label.sum(axis=1) == 1).all()
    wrong = (soft_label.argmax(axis=1) != images.labels).mean()
    assert wrong == pytest.approx(share_wrong, abs=4 * np.sqrt(share_wrong * (1 - share_wrong) / N) + 1e-4)


def test_other_images_and_other_orders_are_refused(root):
    images = _images(N, 'train')
    with pytest.raises(ValueError, match='are not the 50000 that CIFAR-10N names'):
        targets.with_people(images.take(np.arange(100)), 'cifar10n', root=str(root), seed=0)
    shuffled = records.ImageSet(
        images.images, images.labels[::-1].copy(), images.index, images.class_names, name='cifar10', split='train'
    )
    with pytest.raises(ValueError, match='order'):
        targets.with_people(shuffled, 'cifar10n', root=str(root), seed=0)
    other = records.ImageSet(
        images.images, images.labels, images.index, images.class_names, name='mnist', split='train'
    )
    with pytest.raises(ValueError, match='labels of cifar10, not of mnist'):
        targets.with_people(other, 'cifar10n', root=str(root), seed=0)
    assert targets.with_people(other, 'label', root=str(root), seed=0) is other


def test_a_run_trains_on_people_and_is_tested_on_published_labels(root, tmp_path, monkeypatch):
    path = pathlib.Path(__file__).parents[2] / 'configs' / 'cifar10n.py'
    spec = importlib.util.spec_from_file_location('config_cifar10n', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config('full')
    config.data.update(root=str(root), batch_size=32, n_validation=64)
    config.model.widths = ((4,), (4,))
    config.train.update(max_steps=2, n_devices=1, log_every_steps=1)
    sizes = {'train': N, 'test': 64}
    monkeypatch.setattr(images_lib.data, 'load', lambda name, split, **options: _images(sizes[split], split, size_px=4))
    train_classifier.run(config, str(tmp_path))
    scores = {row['name']: row for row in storage.read_jsonl(tmp_path / 'scores.jsonl')}
    assert scores['accuracy']['n'] == 64 and scores['accuracy']['provenance']['trained_towards'] == 'cifar10n'


@pytest.mark.data
@pytest.mark.parametrize(('target', 'wrong'), [('aggregate', 0.0901), ('worst', 0.4021), ('person', 0.1766)])
def test_people_disagree_with_the_published_labels_as_published(real_data, target, wrong):
    parts = [np.load(real_data / 'cifar10' / f'train_jpeg_{part}.npz') for part in (0, 1)]
    labels = np.concatenate([part['labels'] for part in parts]).astype(np.int32)
    pixels = np.zeros((N, 1, 1, 3), np.uint8)
    images = records.ImageSet(pixels, labels, np.arange(N), cifar10.CLASS_NAMES, name='cifar10', split='train')
    images = targets.with_people(images, f'cifar10n_{target}', root=str(real_data / 'cifar10'), seed=0)
    found = (images.extras[f'cifar10n_{target}'].argmax(axis=1) != labels).mean()
    assert found == pytest.approx(wrong, abs=0.005 if target == 'person' else 5e-5)
