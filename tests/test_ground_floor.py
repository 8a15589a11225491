"""Records, storage, settings and devices: the ground floor."""

import json
import os
import re

import ml_collections
import numpy as np
import pytest

from humalign_jax import devices, records, settings, storage


def _image_set(n=4, **changes):
    fields = {
        'images': np.zeros((n, 8, 8, 3), np.uint8),
        'labels': np.arange(n, dtype=np.int32) % 2,
        'index': np.arange(n, dtype=np.int64),
        'class_names': ('cat', 'dog'),
        'name': 'pets',
        'split': 'train',
    }
    return records.ImageSet(**{**fields, **changes})


def test_ids_carry_dataset_split_and_published_number():
    images = _image_set(index=np.array([7, 1, 99999, 3]))
    assert list(images.ids) == ['pets/train/00007', 'pets/train/00001', 'pets/train/99999', 'pets/train/00003']
    assert list(images.take(np.array([2]), split='validation').ids) == ['pets/train/99999']


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'images': np.zeros((4, 8, 8, 3), np.float32)}, 'must be uint8'),
        ({'labels': np.array([0, 1, 2, 0])}, r'image 2 has label 2, outside 0\.\.1'),
        ({'labels': np.zeros(3, int)}, '4 images but labels has shape'),
        ({'index': np.array([0, 1, 1, 2])}, 'repeat'),
        ({'extras': {'counts': np.zeros((3, 2))}}, "'counts' has 3 rows"),
        ({'stimuli': np.array(['a', 'b', 'a', 'c'])}, "'a' occur more than once"),
        ({'stimuli': np.array(['a', 'b'])}, r'4 stimuli but ids of shape \(2,\)'),
    ],
)
def test_wrong_image_sets_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        _image_set(**changes)


def test_features_and_rdms_need_unique_matching_ids():
    with pytest.raises(ValueError, match="'a' occur more than once"):
        records.Features(np.zeros((2, 3)), np.array(['a', 'a']), 'f')
    with pytest.raises(ValueError, match='needs 3 values'):
        records.Rdm(np.zeros(4), np.array(['a', 'b', 'c']), 'r', 'cosine')


def test_scores_survive_json_with_nan_as_null():
    score = records.Score('accuracy', 0.5, float('nan'), 0.6, 10, 'wilson', provenance={'seed': 0})
    row = json.loads(json.dumps(score.to_json()))
    assert row['low'] is None
    back = records.Score.from_json(row)
    assert np.isnan(back.low) and back.high == 0.6 and back.provenance == {'seed': 0}


def test_an_interrupted_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / 'a.txt'
    storage.write_text(path, 'old')
    with pytest.raises(RuntimeError), storage.atomic_file(path) as file:
        file.write(b'new')
        raise RuntimeError
    assert path.read_text() == 'old' and os.listdir(tmp_path) == ['a.txt']


def test_json_lines_forgive_a_torn_last_line_only(tmp_path):
    path = tmp_path / 'rows.jsonl'
    storage.append_jsonl(path, [{'a': 1}, {'a': np.float32(2)}])
    with open(path, 'ab') as file:
        file.write(b'{"a": 3')
    assert [row['a'] for row in storage.read_jsonl(path)] == [1, 2]
    path.write_bytes(b'{"a": 1\n{"a": 2}\n')
    with pytest.raises(ValueError, match='line 1'):
        storage.read_jsonl(path)


def test_arrays_are_written_with_a_sidecar_that_vouches_for_them(tmp_path):
    values = np.arange(6.0).reshape(2, 3)
    storage.write_array(tmp_path / 'x.npy', values, {'what': 'test'})
    sidecar = storage.read_json(tmp_path / 'x.json')
    assert sidecar['shape'] == [2, 3] and sidecar['what'] == 'test'
    assert sidecar['sha256'] == storage.array_digest(np.load(tmp_path / 'x.npy'))
    assert sidecar['sha256'] != storage.array_digest(values.astype(np.float32))
    assert storage.array_digest(np.zeros((2, 3))) != storage.array_digest(np.zeros((3, 2)))


def _configured(*, name: str, learning_rate: float, weight_decay: float = 0.0) -> tuple:
    return name, learning_rate, weight_decay


def test_a_section_is_checked_against_the_function_it_configures():
    section = ml_collections.ConfigDict({'name': 'adam', 'learning_rate': 0.1})
    assert settings.call(_configured, section, 'config.optimizer') == ('adam', 0.1, 0.0)
    section.wieght_decay = 0.1
    with pytest.raises(ValueError, match=r"config\.optimizer\.wieght_decay is not a setting\. Did you mean 'weight_d"):
        settings.call(_configured, section, 'config.optimizer')
    with pytest.raises(ValueError, match='lacks learning_rate'):
        settings.call(_configured, {'name': 'adam'}, 'config.optimizer')
    with pytest.raises(ValueError, match='name is not a setting'):
        settings.call(_configured, {'name': 'adam', 'learning_rate': 1}, 'config.optimizer', name='sgd')


def test_differing_keys_are_named_with_both_values():
    old = {'train': {'epochs': 20, 'seed': 0}, 'x': [1]}
    new = {'train': {'epochs': 30, 'seed': 0}, 'y': 2}
    assert settings.differing_keys(old, new) == [
        'config.train.epochs: 20 -> 30',
        'config.x: [1] -> absent',
        'config.y: absent -> 2',
    ]


def test_replicated_values_come_back_whole():
    used = devices.local_devices(4)
    tree = {'a': np.arange(6.0).reshape(2, 3), 'b': np.int32(7)}
    copied = devices.replicate(tree, used)
    assert copied['a'].shape == (4, 2, 3) and len(copied['a'].sharding.device_set) == 4
    back = devices.unreplicate(copied)
    np.testing.assert_array_equal(back['a'], tree['a'])
    assert back['b'] == 7 and back['b'].shape == ()


def test_more_devices_than_there_are_is_said():
    with pytest.raises(ValueError, match='99 devices were asked for, but there are 4'):
        devices.local_devices(99)


def test_file_names_are_safe_and_differ_also_without_capitals():
    names = [
        'a/b',
        'a_b',
        'A_B',
        'fc',
        'é',
        'e',
        '../../etc',
        'con',
        'nul.x',
        '..',
        'model 1',
        '模型',
        'x' * 200,
        'x' * 199,
    ]
    made = storage.file_names(names)
    assert len({name.lower() for name in made}) == len(names)
    assert all(re.fullmatch(r'[A-Za-z0-9_-][A-Za-z0-9._-]{0,110}', name) for name in made)
    assert made[3] == 'fc' and made[6] == '_.._etc' and made[7:9] == ['_con', '_nul.x'] and made[10] == 'model_1'


def test_a_file_name_does_not_depend_on_the_order_of_names():
    names = ['a/b', 'a_b', 'A_B', 'fc']
    assert storage.file_names(names[::-1]) == storage.file_names(names)[::-1]
    with pytest.raises(ValueError, match="names must differ, but 'a' occur more than once"):
        storage.file_names(['a', 'b', 'a'])


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b' <html>', 'it is a web page'),
        (b'version https://git-lfs.github.com/spec/v1', "it is a Git LFS pointer .* 'git lfs pull'"),
        (b'', 'it is empty'),
        (b'text', 'it holds Python objects, which are never opened, or it is damaged'),
        (None, 'it does not exist'),
    ],
)
@pytest.mark.parametrize('name', ['x.npy', 'x.npz'])
def test_a_file_that_is_no_array_is_named_with_what_it_seems_to_be(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f'{name} cannot be read as .np.: {message}'):
        storage.read_array(tmp_path / name, key='a' if name == 'x.npz' else None)


@pytest.mark.parametrize('damage', [slice(0, 100), slice(0, -30)])
def test_a_file_that_was_cut_short_is_named(damage, tmp_path):
    np.save(tmp_path / 'x.npy', np.arange(100.0))
    np.savez_compressed(tmp_path / 'x.npz', a=np.arange(100.0))
    for name, key in (('x.npy', None), ('x.npz', 'a')):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[damage])
        with pytest.raises(ValueError, match=rf'{name} cannot be read as .*it is damaged, cut short'):
            storage.read_array(path, key=key)


def test_values_and_ids_must_be_those_that_were_written_together(tmp_path):
    path, ids = tmp_path / 'x.npy', np.array(['a', 'b'])
    storage.write_array(path, np.arange(2.0), {'ids': ids, 'stimuli_sha256': storage.array_digest(ids)})
    values, sidecar = storage.read_described(path)
    assert values.tolist() == [0.0, 1.0] and sidecar['ids'] == ['a', 'b']
    storage.write_json(path.with_suffix('.json'), {**sidecar, 'ids': ['b', 'a']})
    with pytest.raises(ValueError, match=r'x\.json: the list of ids was changed'):
        storage.read_described(path)
    storage.write_json(path.with_suffix('.json'), sidecar)
    np.save(path, np.arange(2.0) + 1)
    for memory_mapped in (False, True):
        with pytest.raises(ValueError, match=r'x\.npy and x\.json do not belong together'):
            storage.read_described(path, memory_mapped=memory_mapped)
