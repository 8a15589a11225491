"""CIFAR-10N: three labels an image, read without opening a pickle."""

import sys
import types

import numpy as np
import pytest

from humalign_jax.human import cifar10n


def write(folder, **changes):
    labels = np.stack([np.arange(50_000) % 10, np.arange(50_000) % 10, np.arange(50_000) % 7], axis=1)
    arrays = {'labels': labels, 'aggregate': labels[:, 0], 'worst': labels[:, 2], **changes}
    np.savez(folder / 'cifar10n.npz', **{name: value for name, value in arrays.items() if value is not None})
    return labels


def test_three_labels_become_three_answers(tmp_path):
    write(tmp_path)
    answers = cifar10n.load_answers(tmp_path)
    assert answers.ids[49_999] == 'cifar10/train/49999' and answers.provenance['licence'] == 'CC BY-NC 4.0'
    np.testing.assert_array_equal(answers.counts.sum(axis=1), 3)
    assert answers.counts[8].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 2, 0]
    assert answers.counts[3, 3] == 3


def test_disagreement_is_the_share_of_images_with_another_label(tmp_path):
    write(tmp_path)
    found = cifar10n.disagreement(cifar10n.load_labels(tmp_path), np.arange(50_000) % 10)
    differing = (np.arange(50_000) % 10 != np.arange(50_000) % 7).mean()
    assert found == {'person1': 0.0, 'person2': 0.0, 'person3': differing, 'aggregate': 0.0, 'worst': differing}


@pytest.mark.parametrize('name', ['CIFAR-10_human.pt', 'CIFAR-10_human_ordered.npy'])
def test_the_authors_pickles_are_never_opened_and_the_message_says_how_to_convert(tmp_path, name):
    (tmp_path / name).write_bytes(b'cos\nsystem\n(S"false"\ntR.')
    with pytest.raises(
        ValueError, match=rf'has {name}, which as a pickle can run any program.*numpy\.savez\("cifar10n'
    ):
        cifar10n.load_labels(tmp_path)


def test_the_conversion_writes_what_is_read(tmp_path, monkeypatch):
    labels = np.arange(150_000).reshape(50_000, 3) % 10
    keys = {'clean_label': labels[:, 0], 'worse_label': labels[:, 1], 'aggre_label': labels[:, 2]}
    keys.update({f'random_label{i + 1}': labels[:, i] for i in range(3)})
    as_torch_loads_it = types.SimpleNamespace(load=lambda path, weights_only: {'CIFAR-10_human.pt': keys}[path])
    monkeypatch.setitem(sys.modules, 'torch', as_torch_loads_it)
    monkeypatch.chdir(tmp_path)
    exec(cifar10n.CONVERSION, {})
    found = cifar10n.load_labels(tmp_path)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.aggregate, labels[:, 2])
    np.testing.assert_array_equal(found.worst, labels[:, 1])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'worst': None}, "no array named 'worst'; it has labels, aggregate"),
        ({'aggregate': np.zeros(3, np.int64)}, r'aggregate must be integers \[50000\], not int64 \[3\]'),
        ({'worst': np.full(50_000, 10)}, 'worst must be 0 to 9, not 10 to 10'),
        ({'worst': np.array(['a'] * 50_000, object)}, 'is not CIFAR-10N as converted'),
    ],
)
def test_what_is_not_cifar10n_is_refused(tmp_path, changes, message):
    write(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        cifar10n.load_labels(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r'holds no cifar10n\.npz'):
        cifar10n.load_labels(tmp_path)


@pytest.mark.data
def test_real_disagreement_is_as_published(real_data):
    labels = []
    for part in (0, 1):
        with np.load(real_data / 'cifar10' / f'train_jpeg_{part}.npz') as file:
            labels.append(file['labels'].astype(np.int64))
    labels = np.concatenate(labels)
    found = cifar10n.disagreement(cifar10n.load_labels(real_data / 'cifar10'), labels)
    published = {'person1': 17.23, 'person2': 18.12, 'person3': 17.64, 'aggregate': 9.01, 'worst': 40.21}
    assert {name: round(100 * value, 2) for name, value in found.items()} == published
    cifar10n.check_labels(cifar10n.load_answers(real_data / 'cifar10').counts, labels)
