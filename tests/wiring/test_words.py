"""Messages on the command line name flags, not arguments of functions."""

import re
import runpy

import numpy as np
import pytest

from humalign_jax.wiring import layer_folders, rsa_study
from humalign_jax.wiring.words import FOLDER, in_flags

from ..conftest import ROOT


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = runpy.run_path(str(ROOT / 'configs' / 'rsa.py'))['get_config']()
    config.features.files = config.reference.files = ('x.npz',)
    return config


def message_of(call) -> str:
    with pytest.raises(ValueError) as caught:
        call()
    assert not re.search(r'(?<![.\w])(key|ids_key)=|CsvFormat|nan_policy|rsa\.\w+\(', str(caught.value))
    return str(caught.value)


def test_several_arrays_are_chosen_by_a_flag(config):
    np.savez('x.npz', a=np.ones((4, 3)), b=np.ones((4, 3)))
    assert '--config.features.arrays=\'("NAME",)\'' in message_of(lambda: rsa_study.load(config))
    config.features.arrays = ('b',)
    assert '--config.reference.arrays=\'("NAME",)\'' in message_of(lambda: rsa_study.load(config))


def test_several_lists_of_ids_are_chosen_by_a_flag(config):
    np.savez('x.npz', a=np.eye(4), images=['a', 'b', 'c', 'd'], words=['e', 'f', 'g', 'h'])
    assert '--config.features.ids_key=' in message_of(lambda: rsa_study.load(config))
    config.features.ids_key, config.reference.ids_key, config.reference.kind = 'words', 'images', 'features'
    study = rsa_study.load(config)
    assert study.models[0].ids.tolist() == ['e', 'f', 'g', 'h']
    assert study.reference[0].ids.tolist() == ['a', 'b', 'c', 'd']


def test_how_a_table_is_written_is_told_by_a_flag(config, tmp_path):
    config.features.files, config.reference.kind = ('x.csv',), 'features'
    (tmp_path / 'x.csv').write_text('1,5;2,5\n3,1;4,2\n0,1;4,7\n')
    np.savez('x.npz', a=np.eye(3))
    config.features.csv.update(separator=';', decimal=',', header='False')
    np.testing.assert_array_equal(rsa_study.load(config).models[0].values, [[1.5, 2.5], [3.1, 4.2], [0.1, 4.7]])
    config.features.csv.header = 'perhaps'
    assert "config.features.csv.header='perhaps' must be" in message_of(lambda: rsa_study.load(config))


def test_files_of_a_folder_are_named_without_arguments_of_functions(tmp_path):
    np.savez(tmp_path / 'fc.npz', a=np.ones((4, 3)), b=np.ones((4, 3)))
    told = message_of(lambda: layer_folders.read_layer(tmp_path / 'fc.npz', layer_folders.NO_STIMULI, 'stimuli'))
    assert 'keep one array [n, d] in each file of the folder' in told
    np.savez(tmp_path / 'fc.npz', a=np.eye(4), images=['a', 'b', 'c', 'd'], words=['e', 'f', 'g', 'h'])
    told = message_of(lambda: layer_folders.read_layer(tmp_path / 'fc.npz', layer_folders.NO_STIMULI, 'stimuli'))
    assert told.endswith('keep the right ones alone, named ids.')


def test_an_error_without_library_words_passes_unchanged():
    error = ValueError('the file is damaged')
    with pytest.raises(ValueError, match='the file is damaged') as caught, in_flags(FOLDER):
        raise error
    assert caught.value is error
