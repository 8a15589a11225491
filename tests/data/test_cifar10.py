"""CIFAR-10 from its four published forms: equal arrays, published order, and named errors for damaged files."""

import gzip
import io
import os
import pathlib
import pickle
import tarfile

import numpy as np
import pytest

from humalign_jax import pickles
from humalign_jax.data import cifar10, load_cifar10

from .conftest import MINI_BATCH, write_batch

FORMS = ('folder of pickles', 'folder of records', 'archive of pickles', 'archive of records')


def convert(root: pathlib.Path, target: pathlib.Path, form: str) -> pathlib.Path:
    """A folder with the CIFAR-10 of `root` in one of the four forms, written without the loader."""
    source = root / cifar10.PYTHON_FOLDER
    target.mkdir(parents=True, exist_ok=True)
    members = {}
    for name in cifar10._BATCH_LABELS:
        if 'pickles' in form:
            members[f'{cifar10.PYTHON_FOLDER}/{name}'] = (source / name).read_bytes()
        else:
            batch = pickles.read_pickle((source / name).read_bytes(), name)
            batch = {key if isinstance(key, str) else key.decode(): value for key, value in batch.items()}
            rows = np.concatenate([np.array(batch['labels'], np.uint8)[:, None], batch['data']], axis=1)
            members[f'{cifar10.BINARY_FOLDER}/{name}.bin'] = rows.tobytes()
    if 'folder' in form:
        for name, content in members.items():
            (target / name).parent.mkdir(exist_ok=True)
            (target / name).write_bytes(content)
    else:
        archive = cifar10.PYTHON_ARCHIVE if 'pickles' in form else cifar10.BINARY_ARCHIVE
        write_archive(target / archive, members.items())
    return target


def write_archive(path: pathlib.Path, members) -> None:
    with tarfile.open(path, 'w:gz', compresslevel=0) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.mark.data
@pytest.mark.slow
def test_real_cifar10_is_equal_in_all_four_forms(cifar_root, tmp_path):
    train, test = load_cifar10('train', root=str(cifar_root)), load_cifar10('test', root=str(cifar_root))
    for form in FORMS[1:]:
        folder = convert(cifar_root, tmp_path / form, form)
        for expected in (train, test):
            read = load_cifar10(expected.split, root=str(folder))
            assert np.array_equal(read.images, expected.images) and np.array_equal(read.labels, expected.labels)


@pytest.mark.data
@pytest.mark.slow
def test_real_cifar10_has_the_known_mean_and_the_labels_of_those_who_index_it(cifar_root, real_data):
    train, test = load_cifar10('train', root=str(cifar_root)), load_cifar10('test', root=str(cifar_root))
    assert train.images.shape == (50_000, 32, 32, 3) and test.images.shape == (10_000, 32, 32, 3)
    np.testing.assert_allclose(train.images.mean(axis=(0, 1, 2)) / 255, [0.4913, 0.4821, 0.4465], atol=5e-5)
    np.testing.assert_array_equal(np.bincount(train.labels), 5000)
    np.testing.assert_array_equal(np.bincount(test.labels), 1000)
    assert test.ids[42] == 'cifar10/test/00042'
    with np.load(real_data / 'cifar10' / 'cifar10h.npz') as human:
        agreement = (human['counts'].argmax(axis=1) == test.labels).mean()
    assert round(100 * agreement, 2) == 99.21  # see the README of the test data
    with np.load(real_data / 'cifar10' / 'cifar10n.npz') as human:
        wrong = [*(train.labels != human['labels'].T).mean(axis=1), (train.labels != human['aggregate']).mean()]
    np.testing.assert_allclose(100 * np.array(wrong), [17.23, 18.12, 17.64, 9.01], atol=0.01)
    with np.load(real_data / 'cifar10' / 'test_label_review.npz') as review:
        np.testing.assert_array_equal(review['given'], test.labels[review['index']])
    # Lossless originals differ from the JPEG-decoded test data by about 6 of 255 where the order is right.
    with np.load(real_data / 'cifar10' / 'lossless_sample.npz') as known:
        for images, split in ((train, 'train'), (test, 'test')):
            planes = known[f'{split}_pixels'].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            error = np.abs(planes - images.images[known[f'{split}_index']].astype(float)).mean(axis=(1, 2, 3))
            assert error.max() < 13


def expected_mini(root: pathlib.Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    names = [name for name in cifar10._BATCH_LABELS if name.startswith('data' if split == 'train' else 'test')]
    batches = [pickles.read_pickle((root / cifar10.PYTHON_FOLDER / name).read_bytes(), name) for name in names]
    rows = np.concatenate([batch['data'] for batch in batches])
    images = np.stack([rows[:, c * 1024 + y * 32 + x] for y in range(32) for x in range(32) for c in range(3)], axis=1)
    return images.reshape(-1, 32, 32, 3), np.concatenate([batch['labels'] for batch in batches])


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('split', ['train', 'test'])
def test_planes_become_channels_and_batches_follow_each_other(form, split, mini_cifar, tmp_path):
    images, labels = expected_mini(mini_cifar, split)
    read = load_cifar10(split, root=str(convert(mini_cifar, tmp_path / 'other', form)))
    np.testing.assert_array_equal(read.images, images)
    np.testing.assert_array_equal(read.labels, labels)
    np.testing.assert_array_equal(read.index, np.arange(len(images)))
    assert read.class_names == cifar10.CLASS_NAMES and not read.simulated


@pytest.mark.parametrize('form', FORMS[:2])
def test_a_copy_that_names_other_classes_is_refused(form, mini_cifar, tmp_path):
    folder = convert(mini_cifar, tmp_path / 'other', form)
    for names, is_right in ((cifar10.CLASS_NAMES, True), (('apple', *cifar10.CLASS_NAMES[1:]), False)):
        if 'records' in form:
            (folder / cifar10.BINARY_FOLDER / 'batches.meta.txt').write_text('\n'.join(names) + '\n\n')
        else:
            path = folder / cifar10.PYTHON_FOLDER / 'batches.meta'
            path.write_bytes(pickle.dumps({b'label_names': [name.encode() for name in names]}, protocol=2))
        if is_right:
            assert load_cifar10('test', root=str(folder)).class_names == names
        else:
            with pytest.raises(ValueError, match=r'batches\.meta.* names the classes apple, automobile'):
                load_cifar10('test', root=str(folder))


def test_nothing_found_lists_places_and_three_ways_out(tmp_path, monkeypatch):
    monkeypatch.setenv('HUMALIGN_DATA', str(tmp_path))
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.delenv('TFDS_DATA_DIR', raising=False)
    with pytest.raises(ValueError) as caught:
        load_cifar10('train')
    for part in (
        str(tmp_path),
        'cifar-10-batches-py, cifar-10-batches-bin, cifar-10-python.tar.gz, cifar-10-binary.tar.gz',
        str(tmp_path / 'tensorflow_datasets' / 'cifar10'),
        f'python -m humalign_jax.data.tfds --root {tmp_path}',
        ':tiny',
    ):
        assert part in str(caught.value)


def test_unknown_split_points_to_stratified_split(tmp_path):
    with pytest.raises(ValueError, match='stratified_split'):
        load_cifar10('validation', root=str(tmp_path))


GOOD = {
    'data': np.zeros((MINI_BATCH, 3072), np.uint8),
    'labels': [1] * MINI_BATCH,
    'batch_label': 'testing batch 1 of 1',
}


@pytest.mark.parametrize(
    'changes, message',
    [
        (
            {'data': np.zeros((MINI_BATCH, 3071), np.uint8)},
            r"'data' must be uint8 \(20, 3072\), not uint8 \(20, 3071\)",
        ),
        ({'data': np.zeros((MINI_BATCH - 1, 3072), np.uint8)}, r'not uint8 \(19, 3072\)'),
        ({'data': np.zeros((MINI_BATCH, 3072), np.float32)}, r'not float32'),
        ({'data': [1, 2]}, 'not a list'),
        ({'data': np.asfortranarray(GOOD['data'])}, 'column by column'),
        ({'labels': [1] * (MINI_BATCH + 1)}, "'labels' must be a list of 20 numbers, not a list of 21"),
        ({'labels': 'x'}, 'not a str'),
        ({'labels': [1.0] * MINI_BATCH}, 'must be whole numbers'),
        ({'labels': [True] * MINI_BATCH}, 'must be whole numbers'),
        ({'labels': [1] * (MINI_BATCH - 1) + [10]}, 'image 19 has label 10, outside 0..9'),
        ({'labels': [-1] + [1] * (MINI_BATCH - 1)}, 'image 0 has label -1'),
        ({'labels': [2**63] + [1] * (MINI_BATCH - 1)}, 'image 0 has label 9'),
        ({'batch_label': 'training batch 1 of 5'}, "calls itself 'training batch 1 of 5'"),
        ({'labels': None, 'fine_labels': []}, "'labels' must be a list of 20 numbers"),
    ],
)
def test_a_wrong_batch_is_named_with_expected_and_found(changes, message, mini_cifar):
    path = mini_cifar / cifar10.PYTHON_FOLDER / 'test_batch'
    write_batch(path, **{**GOOD, **changes})
    with pytest.raises(ValueError, match=message) as caught:
        load_cifar10('test', root=str(mini_cifar))
    assert str(path) in str(caught.value)


def test_a_batch_without_labels_lists_what_it_has(mini_cifar):
    write_batch(mini_cifar / cifar10.PYTHON_FOLDER / 'test_batch', data=GOOD['data'], fine_labels=[1])
    with pytest.raises(ValueError, match=r"entries \['data', 'fine_labels'\]; 'data' and 'labels' were expected"):
        load_cifar10('test', root=str(mini_cifar))


def test_a_missing_batch_and_a_batch_copied_twice_are_named(mini_cifar, tmp_path):
    folder = convert(mini_cifar, tmp_path / 'records', 'folder of records') / cifar10.BINARY_FOLDER
    (folder / 'data_batch_4.bin').write_bytes((folder / 'data_batch_2.bin').read_bytes())
    with pytest.raises(ValueError, match=r'data_batch_2\.bin and data_batch_4\.bin are the same file'):
        load_cifar10('train', root=str(folder.parent))
    (folder / 'data_batch_4.bin').unlink()
    with pytest.raises(ValueError, match=r'data_batch_4\.bin is missing'):
        load_cifar10('train', root=str(folder.parent))


def test_identify_tells_published_files_from_others(mini_cifar, tmp_path, monkeypatch):
    assert cifar10.identify(str(tmp_path / 'empty')) == {}
    assert set(cifar10.identify(str(mini_cifar)).values()) == {'differs'}
    monkeypatch.setitem(cifar10.MD5, 'test_batch', 'd41d8cd98f00b204e9800998ecf8427e')  # of no bytes at all
    (mini_cifar / cifar10.PYTHON_FOLDER / 'test_batch').write_bytes(b'')
    assert cifar10.identify(str(mini_cifar))['test_batch'] == 'published'
    records = convert_good(mini_cifar, tmp_path / 'records')
    assert set(cifar10.identify(str(records)).values()) == {'no published sum'}


def convert_good(root, target):
    write_batch(root / cifar10.PYTHON_FOLDER / 'test_batch', **GOOD)
    return convert(root, target, 'folder of records')


def bomb(path):
    with gzip.open(path, 'wb', compresslevel=1) as file:
        header = tarfile.TarInfo('cifar-10-batches-py/zeros')
        header.size = 100 << 20
        file.write(header.tobuf())
        for _ in range(100):
            file.write(bytes(1 << 20))


def sparse(path):
    """A sparse file whose map promises a million entries that never come: tarfile reads for ever at the end."""
    info = tarfile.TarInfo('GNUSparseFile.0/test_batch')
    info.pax_headers = {'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.name': 'test_batch'}
    with gzip.open(path, 'wb') as file:
        file.write(info.tobuf(tarfile.PAX_FORMAT) + b'1000000\n'.ljust(512, b'\0'))


def negative(path):
    header = bytearray(tarfile.TarInfo('cifar-10-batches-py/test_batch').tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b'\xff' * 12  # size -1 in base 256
    header[148:156] = b' ' * 8
    header[148:156] = b'%06o\0 ' % sum(header)
    with gzip.open(path, 'wb') as file:
        file.write(bytes(header) * 3)


def link(path):
    info = tarfile.TarInfo('cifar-10-batches-py/test_batch')
    info.type, info.linkname = tarfile.SYMTYPE, '/etc/passwd'
    with tarfile.open(path, 'w:gz') as archive:
        archive.addfile(info)


@pytest.mark.parametrize(
    'make, message',
    [
        (bomb, 'unpacks to more than'),
        (sparse, 'damaged or not the published archive'),
        (negative, 'damaged or not the published archive|is not a pickle'),
        (link, 'does not hold test_batch'),
        (os.mkfifo, 'is not a regular file'),
        (lambda path: write_archive(path, []), 'does not hold test_batch'),
        (lambda path: write_archive(path, [('a/test_batch', b''), ('b/test_batch', b'')]), 'test_batch is in it twice'),
        (lambda path: write_archive(path, [('a/test_batch', bytes(65 << 20))]), 'more than the expected'),
        (lambda path: path.write_bytes(b'not gzip'), 'damaged or not the published archive'),
        (lambda path: path.write_bytes(gzip.compress(b'not tar' * 200)), 'damaged or not the published archive'),
        (lambda path: path.write_bytes(b''), 'damaged or not the published archive'),
    ],
    ids=['bomb', 'sparse', 'negative', 'link', 'pipe', 'empty', 'twice', 'too long', 'no gzip', 'no tar', 'no bytes'],
)  # fmt: skip
def test_hostile_archives_are_refused_by_name(make, message, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, '_ARCHIVE_BYTES', 80 << 20)
    path = tmp_path / cifar10.PYTHON_ARCHIVE
    make(path)
    with pytest.raises(ValueError, match=message) as caught:
        load_cifar10('test', root=str(tmp_path))
    assert str(path) in str(caught.value)
