"""The table of sources: explicit signatures, and an error that helps for a wrong name."""

import inspect

import numpy as np
import pytest

from humalign_jax.data import SOURCES, files, load, load_synthetic


def test_every_source_has_an_explicit_keyword_only_signature():
    for name, source in SOURCES.items():
        parameters = dict(inspect.signature(source).parameters)
        assert source.__name__ == f'load_{name}'
        assert parameters.pop('split').kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        assert parameters['root'].default == ''
        assert 'name' not in parameters and 'batch_size' not in parameters  # a config's own words
        for parameter in parameters.values():
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is not parameter.empty


def test_load_passes_options_on():
    np.testing.assert_array_equal(
        load('synthetic', 'train', n_train=12, seed=3).images, load_synthetic('train', n_train=12, seed=3).images
    )


@pytest.mark.parametrize('wrong, close', [('cifar-10', 'cifar10'), ('MNIST', 'mnist'), ('synthetics', 'synthetic')])
def test_an_unknown_source_lists_all_and_the_nearest(wrong, close):
    with pytest.raises(ValueError, match=f'Did you mean {close!r}.* Known: cifar10, image_folder, mnist, synthetic'):
        load(wrong, 'train')


def test_root_is_the_argument_else_the_variable_else_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', '/home/someone')
    monkeypatch.setenv('HUMALIGN_DATA', str(tmp_path))
    assert str(files.data_root('~/x')) == '/home/someone/x'
    assert files.data_root('') == tmp_path
    monkeypatch.delenv('HUMALIGN_DATA')
    assert str(files.data_root('')) == '/home/someone/.cache/humalign_jax'
