"""docs/howto/bring_a_model.md: the block for PyTorch runs as it stands there, and its file is what RSA reads."""

import pathlib
import re

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from humalign_jax import rsa
from humalign_jax.rsa import files

torch = pytest.importorskip('torch')

PAGE = pathlib.Path(__file__).parents[1] / 'docs' / 'howto' / 'bring_a_model.md'


def test_the_block_for_pytorch_writes_features_whose_rdms_are_scipys_of_the_layers(tmp_path, monkeypatch):
    (block,) = (text for text in re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.S) if 'forward_hook' in text)
    torch.manual_seed(0)
    images, ids = torch.rand(7, 3, 8, 8), [f'cifar10/test/{i:05d}' for i in (4, 2, 9, 0, 7, 3, 8)]
    parts = {'layer3': torch.nn.Conv2d(3, 5, 3), 'norm': torch.nn.BatchNorm2d(5), 'avgpool': torch.nn.AvgPool2d(6)}
    model = torch.nn.Sequential()
    for name, part in parts.items():
        model.add_module(name, part)
    monkeypatch.chdir(tmp_path)
    loader = [(images[:4], ids[:4]), (images[4:], ids[4:])]  # the last batch is smaller
    exec(compile(block, str(PAGE), 'exec'), {'model': model, 'loader': loader})
    with torch.no_grad():
        maps = torch.nn.functional.conv2d(images, parts['layer3'].weight, parts['layer3'].bias)
        expected = {'layer3': maps.flatten(1), 'avgpool': (maps / (1.0 + 1e-5) ** 0.5).mean((2, 3))}
    for layer, values in expected.items():
        found = files.load_features('net.h5', key=layer)
        assert found.ids.tolist() == ids and found.provenance['ids'] == 'file'
        np.testing.assert_allclose(found.values, values.numpy(), rtol=1e-5, atol=1e-6)
        distances = pdist(values.numpy().astype(np.float64), 'correlation')
        np.testing.assert_allclose(rsa.rdm(found, 'correlation').values, distances, rtol=1e-4, atol=1e-5)
