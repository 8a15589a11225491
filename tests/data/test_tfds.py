"""TFDS copies: its shuffled order is put back, with its own hash, its own files and its own reader."""

import io
import pathlib
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image

from humalign_jax.data import cifar10, load_cifar10, tfds

N = 40


def example(number, split='train', **changes):
    image = np.full((32, 32, 3), number, np.uint8)
    return {'id': f'{split}_{number:05d}', 'image': image, 'label': number % 10, **changes}


def test_examples_are_placed_by_their_id():
    order = np.random.default_rng(0).permutation(N)
    as_text, as_bytes = (example(i) for i in order), (example(i, id=b'train_%05d' % i) for i in order)
    for examples in (as_text, as_bytes):
        images, labels = tfds.in_published_order(examples, 'train', N, 'copy')
        np.testing.assert_array_equal(images[:, 5, 6, 0], np.arange(N))
        np.testing.assert_array_equal(labels, np.arange(N) % 10)


@pytest.mark.data
def test_tfds_numbers_images_in_the_published_order(real_data):
    # TFDS stores example i at the rank of hash(i) among all hashes, and writes i into its id. If i counts through the
    # published order, this must be the independent table of those who annotated the training set.
    hashing = pytest.importorskip('tensorflow_datasets.core.hashing')
    hasher = hashing.Hasher('train')
    stored_order = sorted(range(50_000), key=hasher.hash_key)
    with np.load(real_data / 'cifar10' / 'tfds_train_order.npz') as table:
        np.testing.assert_array_equal(stored_order, table['train'])


@pytest.mark.parametrize(
    'examples, message',
    [
        ([example(0), example(1), example(1)], "id 'train_00001' occurs twice"),
        ([example(0), example(2)], r'1 of 3 images of train are missing, the first is \[1\]'),
        ([example(0), example(3)], "id 'train_00003' is not train_<number below 3>"),
        ([example(0, split='test')], "id 'test_00000' is not train_"),
        ([example(0, id='train_1e1')], "id 'train_1e1' is not"),
        ([example(0), example(1, image=np.zeros((28, 28, 3), np.uint8))], r'uint8 \(28, 28, 3\), unlike the first'),
        ([example(0, image=np.zeros((32, 32, 3), np.float32))], 'is float32'),
        ([], '3 of 3 images'),
    ],
)
def test_wrong_ids_and_images_are_named(examples, message):
    with pytest.raises(ValueError, match=message):
        tfds.in_published_order(examples, 'train', 3, 'copy')


@pytest.fixture
def prepared(tmp_path: pathlib.Path) -> pathlib.Path:
    """A small array_record copy in TFDS's own format, stored in random order."""
    tensorflow_datasets = pytest.importorskip('tensorflow_datasets')
    array_record = pytest.importorskip('array_record.python.array_record_module')
    from tensorflow_datasets.proto import tf_example_pb2

    folder = tmp_path / 'cifar10' / '3.0.2'
    folder.mkdir(parents=True)
    infos = []
    for split in ('train', 'test'):
        name = f'cifar10-{split}.array_record-00000-of-00001'
        writer = array_record.ArrayRecordWriter(str(folder / name), 'group_size:1')
        for number in np.random.default_rng(1).permutation(N):
            record = tf_example_pb2.Example()
            buffer = io.BytesIO()
            Image.fromarray(example(number)['image']).save(buffer, 'PNG')
            record.features.feature['id'].bytes_list.value.append(f'{split}_{number:05d}'.encode())
            record.features.feature['image'].bytes_list.value.append(buffer.getvalue())
            record.features.feature['label'].int64_list.value.append(number % 10)
            writer.write(record.SerializeToString())
        writer.close()
        template = tensorflow_datasets.core.ShardedFileTemplate(
            dataset_name='cifar10', data_dir=folder, split=split, filetype_suffix='array_record'
        )
        infos.append(
            tensorflow_datasets.core.SplitInfo(name=split, shard_lengths=[N], num_bytes=0, filename_template=template)
        )
    features = tensorflow_datasets.features.FeaturesDict(
        {
            'id': tensorflow_datasets.features.Text(),
            'image': tensorflow_datasets.features.Image(shape=(32, 32, 3)),
            'label': tensorflow_datasets.features.ClassLabel(num_classes=10),
        }
    )
    tensorflow_datasets.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=infos, check_data=False
    )
    return tmp_path


def test_a_prepared_copy_is_found_and_read_in_published_order_without_tensorflow(prepared, monkeypatch):
    monkeypatch.setattr(cifar10, '_BATCH_IMAGES', N)
    read = load_cifar10('test', root=str(prepared))
    np.testing.assert_array_equal(read.images[:, 3, 4, 1], np.arange(N))
    np.testing.assert_array_equal(read.labels, np.arange(N) % 10)
    np.testing.assert_array_equal(read.index, np.arange(N))
    assert 'tensorflow' not in sys.modules


def test_a_copy_of_another_size_is_not_taken_for_cifar10(prepared):
    with pytest.raises(ValueError, match=r'images of shape \(40, 32, 32, 3\), which is not CIFAR-10'):
        load_cifar10('train', root=str(prepared))


@pytest.mark.parametrize('named', [True, False])
def test_a_copy_whose_classes_have_other_names_is_refused_and_one_without_names_is_not(named, prepared):
    folder = prepared / 'cifar10' / '3.0.2'
    names = ['apple', *cifar10.CLASS_NAMES[1:]]
    if not named:
        assert len(tfds.read_prepared(folder, 'test', class_names=names)[1]) == N
        return
    (folder / 'label.labels.txt').write_text('\n'.join(cifar10.CLASS_NAMES))
    assert len(tfds.read_prepared(folder, 'test', class_names=cifar10.CLASS_NAMES)[1]) == N
    with pytest.raises(ValueError, match=r'has the classes airplane, automobile.*where apple, automobile'):
        tfds.read_prepared(folder, 'test', class_names=names)


def test_the_newest_version_is_taken_and_unfinished_ones_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'elsewhere'))
    assert tfds.find_prepared('cifar10', tmp_path) is None
    for place, version, is_complete in (
        (tmp_path, '3.0.10', False),
        (tmp_path, 'incomplete.ABC_3.0.2', True),
        (tmp_path / 'elsewhere', '3.0.9', True),
        (tmp_path / 'elsewhere', '3.0.10', True),
        (tmp_path / 'home' / 'tensorflow_datasets', '9.0.0', True),
    ):
        folder = place / 'cifar10' / version
        folder.mkdir(parents=True)
        if is_complete:
            (folder / 'dataset_info.json').write_text('{}')
    assert tfds.find_prepared('cifar10', tmp_path) == tmp_path / 'elsewhere' / 'cifar10' / '3.0.10'


def test_a_damaged_copy_gives_a_named_error_or_the_true_images(prepared, tmp_path):
    np_rng = np.random.default_rng(0)
    source, target = prepared / 'cifar10' / '3.0.2', tmp_path / 'damaged' / '3.0.2'
    refused = 0
    for trial in range(60):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        path = sorted(target.iterdir())[(1, 2, 3)[trial % 3]]  # the training records and the two descriptions
        content = bytearray(path.read_bytes())
        if trial % 2:
            content = content[: np_rng.integers(0, len(content))]
        else:
            for _ in range(3):
                content[np_rng.integers(0, len(content))] ^= 1 << np_rng.integers(0, 8)
        path.write_bytes(content)
        try:
            images, labels = tfds.read_prepared(target, 'train')
        except ValueError as error:
            refused += 1
            assert str(target) in str(error)
        else:
            np.testing.assert_array_equal(images[:, 0, 0, 0], np.arange(N))
            np.testing.assert_array_equal(labels, np.arange(N) % 10)
    assert refused > 30


def test_an_unknown_split_is_named(prepared):
    with pytest.raises(ValueError, match=r"has the splits \['test', 'train'\], not 'validation'"):
        tfds.read_prepared(prepared / 'cifar10' / '3.0.2', 'validation')


def test_preparing_without_tensorflow_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'tensorflow', None)
    with pytest.raises(ValueError, match=r'humalign_jax\[tfds\].*cifar-10-python\.tar\.gz'):
        tfds.prepare_cifar10(str(tmp_path))


def test_preparing_uses_the_archive_in_the_root_only_if_it_is_the_published_one(monkeypatch, tmp_path):
    calls = {}

    class Builder:
        data_path = str(tmp_path / 'cifar10' / '3.0.2')

        def download_and_prepare(self, download_config):
            calls['manual_dir'] = download_config

    def make_builder(name, **options):
        calls.update(name=name, **options)
        return Builder()

    fake = types.SimpleNamespace(
        builder=make_builder, download=types.SimpleNamespace(DownloadConfig=lambda manual_dir: manual_dir)
    )
    monkeypatch.setitem(sys.modules, 'tensorflow', types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, 'tensorflow_datasets', fake)
    assert tfds.prepare_cifar10(str(tmp_path)) == tmp_path / 'cifar10' / '3.0.2'
    root = str(tmp_path)
    assert calls == {'name': 'cifar10', 'data_dir': root, 'file_format': 'array_record', 'manual_dir': root}
    (tmp_path / 'cifar-10-binary.tar.gz').write_bytes(b'another')
    with pytest.raises(ValueError, match=r'cifar-10-binary\.tar\.gz is not the published archive'):
        tfds.prepare_cifar10(root)


def test_importing_the_sources_imports_neither_tfds_nor_tensorflow():
    code = (
        'import sys, humalign_jax.data, humalign_jax.data.tfds;'
        "print([m for m in ('tensorflow', 'tensorflow_datasets', 'matplotlib') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout == '[]\n'
