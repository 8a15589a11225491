"""A prepared TFDS copy of cifar10_h: answers placed by id, as `cifar10_h` 1.0.0 of TFDS 4.9 lays them out."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from humalign_jax.data import tfds
from humalign_jax.human import cifar10h
from humalign_jax.wiring import people

N = 30


def answers_of(number):
    """Different answers, and a different number of them, for every image."""
    return [(number + j // 40) % 10 for j in range(47 + number % 10)]


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """A small array_record copy in TFDS's own format, stored in random order."""
    tensorflow_datasets = pytest.importorskip('tensorflow_datasets')
    array_record = pytest.importorskip('array_record.python.array_record_module')
    from tensorflow_datasets.proto import tf_example_pb2

    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    folder = tmp_path / 'cifar10_h' / '1.0.0'
    folder.mkdir(parents=True)
    writer = array_record.ArrayRecordWriter(str(folder / 'cifar10_h-test.array_record-00000-of-00001'), 'group_size:1')
    for number in np.random.default_rng(1).permutation(N):
        record, buffer, answers = tf_example_pb2.Example(), io.BytesIO(), answers_of(number)
        Image.fromarray(np.full((32, 32, 3), number, np.uint8)).save(buffer, 'PNG')
        feature = record.features.feature
        feature['id'].bytes_list.value.append(f'test_{number:05d}'.encode())
        feature['image'].bytes_list.value.append(buffer.getvalue())
        feature['label'].int64_list.value.append(number % 10)
        feature['soft_label'].float_list.value.extend(np.bincount(answers, minlength=10) / len(answers))
        feature['human_labels'].int64_list.value.extend(answers)
        feature['trial_indices'].int64_list.value.extend(range(len(answers)))
        feature['annotator_ids'].int64_list.value.extend(range(len(answers)))
        feature['reaction_times'].float_list.value.extend([900.0] * len(answers))
        writer.write(record.SerializeToString())
    writer.close()
    template = tensorflow_datasets.core.ShardedFileTemplate(
        dataset_name='cifar10_h', data_dir=folder, split='test', filetype_suffix='array_record'
    )
    info = tensorflow_datasets.core.SplitInfo(name='test', shard_lengths=[N], num_bytes=0, filename_template=template)
    kinds = tensorflow_datasets.features
    label = kinds.ClassLabel(num_classes=10)
    features = kinds.FeaturesDict(
        {
            'id': kinds.Text(),
            'image': kinds.Image(shape=(32, 32, 3)),
            'label': label,
            'soft_label': kinds.Tensor(shape=(10,), dtype=np.float32),
            'human_labels': kinds.Sequence(feature=label),
            'trial_indices': kinds.Sequence(feature=kinds.Scalar(dtype=np.int32)),
            'annotator_ids': kinds.Sequence(feature=kinds.Scalar(dtype=np.int32)),
            'reaction_times': kinds.Sequence(feature=kinds.Scalar(dtype=np.float32)),
        }
    )
    tensorflow_datasets.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=[info], check_data=False
    )
    return folder


def test_answers_are_counted_in_the_published_order_without_tensorflow(prepared):
    counts = tfds.read_human_labels(prepared, 'test', 10)
    np.testing.assert_array_equal(counts, [np.bincount(answers_of(i), minlength=10) for i in range(N)])
    assert 'tensorflow' not in sys.modules


def test_a_copy_is_taken_where_the_authors_files_are_not(prepared, monkeypatch):
    with pytest.raises(ValueError, match='answers to 30 test images, which is not CIFAR-10H'):
        people.load_answers('cifar10h', root=str(prepared.parents[1]))
    monkeypatch.setattr(cifar10h, 'N_IMAGES', N)
    answers = people.load_answers('cifar10h', root=str(prepared.parents[1]))
    assert answers.provenance['tfds'] == 'cifar10_h/1.0.0' and answers.provenance['licence'] == 'CC BY-NC-SA 4.0'
    assert answers.ids[29] == 'cifar10/test/00029' and answers.counts[29].sum() == len(answers_of(29))


def test_answers_outside_the_classes_are_refused(prepared):
    with pytest.raises(ValueError, match='needs answers from 0 to 4'):
        tfds.read_human_labels(prepared, 'test', 5)


def test_an_unknown_source_of_answers_lists_the_known_ones():
    with pytest.raises(
        ValueError, match=r"no answers named 'cifar10hh'. Did you mean 'cifar10h'\? Known: cifar10h, cifar"
    ):
        people.load_answers('cifar10hh')
