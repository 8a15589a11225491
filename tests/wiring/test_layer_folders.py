"""Folders of networks that this package never saw: layers, classes and ids in other people's files."""

import contextlib
import json
import re
import sys
import types

import h5py
import numpy as np
import pytest
import scipy.io
from ml_collections import ConfigDict
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from humalign_jax import data, storage
from humalign_jax.experiments import alignment, human_rsa, latents
from humalign_jax.records import Features, Score
from humalign_jax.rsa import files
from humalign_jax.wiring import layer_folders, representations

from ..conftest import ROOT, load_config

N = 60
HERE = {'dataset': 'synthetic', 'split': 'test', 'ids_file': '', 'labels_file': ''}


@pytest.fixture(scope='module')
def images():
    return data.load('synthetic', 'test', n_test=N, seed=0, n_observers=50)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'mynet').mkdir()
    return tmp_path / 'mynet'


def config_of(folder, **stimuli):
    config = load_config('human_rsa', 'tiny')
    config.human.n_test, config.simulated.n_models = N, 0
    config.features, config.pairs, config.levels, config.baselines = (str(folder),), ('all',), ('image',), ()
    config.stimuli.update(stimuli)
    return config


def write(path, name, values):
    """An array in one of the formats, without ids."""
    if path.suffix == '.npy':
        np.save(path, values)
    elif path.suffix == '.npz':
        np.savez(path, **{name: values})
    elif path.suffix == '.mat':
        scipy.io.savemat(path, {name: values})
    elif path.suffix == '.csv':
        np.savetxt(path, values, delimiter=',')
    else:
        with h5py.File(path, 'w') as file:
            file[name] = values


@pytest.mark.parametrize('suffix', ['.npy', '.npz', '.h5', '.mat', '.csv'])
def test_a_folder_of_arrays_without_ids_is_joined_by_dataset_and_split(suffix, folder, images):
    latent = images.extras['latent'].astype(np.float64)
    write(folder / f'penultimate{suffix}', 'penultimate', latent)
    write(folder / f'labels{suffix}', 'labels', images.labels[:, None])
    comparison = representations.load_comparison(config_of(folder, dataset='synthetic', split='test'))
    layer = comparison.representations[0]
    assert (layer.model, layer.layer, comparison.data) == ('mynet', 'penultimate', 'synthetic/test')
    np.testing.assert_array_equal(comparison.labels, images.labels)
    np.testing.assert_array_equal(comparison.ids, images.ids)
    np.testing.assert_allclose(representations.features_of(layer, comparison).values, latent, rtol=1e-6)


def test_ids_of_a_file_in_any_order_join_with_answers_and_with_names_of_classes(folder, images, tmp_path):
    order = np.random.default_rng(0).permutation(N)
    np.save(folder / 'penultimate.npy', images.extras['latent'][order])
    names = [images.class_names[k] for k in images.labels[order]]
    (folder / 'labels.txt').write_text('\n'.join(names) + '\n')
    (tmp_path / 'ids.txt').write_text('\n'.join(images.ids[order]) + '\n')
    comparison = representations.load_comparison(config_of(folder, ids_file=str(tmp_path / 'ids.txt')))
    np.testing.assert_array_equal(comparison.ids, images.ids[order])
    np.testing.assert_array_equal(comparison.labels, images.labels[order])
    np.testing.assert_array_equal(comparison.answers.counts, images.extras['counts'][order])


def test_scores_of_saved_features_are_those_of_the_same_values_extracted(folder, images, tmp_path):
    def scores_of(config, out):
        out.mkdir()
        human_rsa.run(config, str(out))
        return [Score.from_json(row) for row in storage.read_jsonl(out / 'scores.jsonl')]

    values = images.extras['latent'].astype(np.float32)
    files.save_features(folder / 'penultimate.npy', Features(values, images.ids, 'mynet/penultimate'))
    np.save(folder / 'labels.npy', images.labels)
    (foreign,) = scores_of(config_of(folder, dataset='synthetic', split='test'), tmp_path / 'out')
    about = {'model': 'mynet', 'layer': 'penultimate', 'ids': images.ids, 'simulated': True}
    (tmp_path / 'ours').mkdir()
    storage.write_array(tmp_path / 'ours' / 'penultimate.npy', values, about)
    described = {'ids': images.ids, 'class_names': images.class_names, 'data': 'synthetic/test'}
    storage.write_array(tmp_path / 'ours' / 'labels.npy', images.labels, described)
    (extracted,) = scores_of(config_of(tmp_path / 'ours'), tmp_path / 'out2')
    assert foreign.value == extracted.value
    assert foreign.provenance['model'] == extracted.provenance['model'] == 'mynet'


def fails(message, config):
    with pytest.raises(ValueError, match=message) as caught:
        representations.load_comparison(config)
    assert 'extract' not in str(caught.value)


def test_what_a_foreign_folder_lacks_is_said_with_flags(folder, images):
    config = config_of(folder)
    fails('has no file of a layer: put one', config)
    np.save(folder / 'fc.npy', images.extras['latent'])
    fails(r"only fc: name the layer .* --config\.headline='\(\"fc\",\)'", config)
    config.headline = ('fc',)
    fails(r'fc\.npy has no stimulus ids.*--config\.stimuli\.dataset=cifar10.*--config\.stimuli\.ids_file=FILE', config)
    config.stimuli.update(dataset='synthetic', split='test')
    fails(r'there is no labels\.npy .*--config\.stimuli\.labels_file=FILE', config)
    np.save(folder / 'labels.npy', images.labels + 1)
    fails(
        'labels are 1 to 10, but class numbers count from 0 to 9, of 10 classes; if these count',
        config,
    )
    (folder / 'labels.npy').unlink()
    (folder / 'labels.txt').write_text('house\n' * N)
    fails("has the class 'house', which is none of", config)
    config.stimuli.split = ''
    fails(r'config\.stimuli\.dataset and config\.stimuli\.split', config)


def test_labels_in_another_order_than_the_answers_are_refused(folder, images):
    np.save(folder / 'penultimate.npy', images.extras['latent'])
    np.save(folder / 'labels.npy', images.labels[np.random.default_rng(0).permutation(N)])
    fails('labels and answers are in different orders', config_of(folder, dataset='synthetic', split='test'))


def test_two_folders_that_disagree_on_classes_are_refused(folder, images, tmp_path):
    (tmp_path / 'other').mkdir()
    for place, labels in ((folder, images.labels), (tmp_path / 'other', np.roll(images.labels, 1))):
        np.save(place / 'penultimate.npy', images.extras['latent'])
        np.save(place / 'labels.npy', labels)
    config = config_of(folder, dataset='synthetic', split='test')
    config.features = (str(folder), str(tmp_path / 'other'))
    fails(r'disagree on the class of \d+ images', config)


def test_values_that_are_nan_are_named_with_file_and_stimulus(folder, images):
    values = images.extras['latent'].copy()
    values[3, 0] = np.nan
    np.save(folder / 'penultimate.npy', values)
    np.save(folder / 'labels.npy', images.labels)
    comparison = representations.load_comparison(config_of(folder, dataset='synthetic', split='test'))
    with pytest.raises(ValueError, match=r"penultimate\.npy: 1 of 60 images .* 'synthetic/test/00003'.*config\.layers"):
        representations.features_of(comparison.representations[0], comparison)


def folder_of_layers(folder, images, orders):
    """A folder with these layers; each sidecar has the layer's place in the network, or nothing where it is None."""
    for layer, order in orders.items():
        described = {'layer': layer, 'ids': images.ids} | ({} if order is None else {'layer_order': order})
        storage.write_array(folder / f'{layer}.npy', images.extras['latent'].astype(np.float32), described)
    np.save(folder / 'labels.npy', images.labels)
    return config_of(folder, dataset='synthetic', split='test')


def layers_and_warnings(config, monkeypatch):
    said = []
    monkeypatch.setattr(representations.logging, 'warning', lambda text, *values: said.append(text % values))
    return [one.layer for one in representations.load_comparison(config).representations], said


def test_layers_stand_in_the_order_that_their_network_has(folder, images, monkeypatch):
    config = folder_of_layers(folder, images, {'zeroth': 0, 'penultimate': 2, 'conv10': 1, 'answers': 3})
    assert layers_and_warnings(config, monkeypatch) == (['zeroth', 'conv10', 'penultimate', 'answers'], [])
    config.layers = ('answers', 'zeroth')
    assert layers_and_warnings(config, monkeypatch)[0] == ['zeroth', 'penultimate', 'answers']


def test_layers_without_an_order_stand_by_name_with_a_warning_or_as_config_layers_says(folder, images, monkeypatch):
    config = folder_of_layers(folder, images, {'penultimate': 3, 'conv10': None, 'conv2': 1, 'conv1': 0})
    layers, said = layers_and_warnings(config, monkeypatch)
    assert layers == ['conv1', 'conv2', 'conv10', 'penultimate']
    assert len(said) == 1 and f'{folder} does not say in which order' in said[0] and 'conv2, conv10' in said[0]
    config.layers = ('conv10', 'conv2')
    assert layers_and_warnings(config, monkeypatch) == (['conv10', 'conv2', 'penultimate'], [])


@pytest.mark.parametrize('name', ['pixels', 'same category', 'human'])
def test_names_of_baselines_are_no_networks(name, folder, images):
    np.save(folder / 'penultimate.npy', images.extras['latent'])
    config = config_of(folder, dataset='synthetic', split='test')
    config.names = (name,)
    fails(f'cannot be named {name!r}', config)


@pytest.mark.parametrize('change', ['ids', 'sha256'])
def test_an_edited_sidecar_is_refused(change, folder, images):
    described = {'ids': images.ids, 'stimuli_sha256': storage.array_digest(images.ids)}
    storage.write_array(folder / 'penultimate.npy', images.extras['latent'], described)
    sidecar = storage.read_json(folder / 'penultimate.json')
    sidecar[change] = sidecar[change][::-1]
    (folder / 'penultimate.json').write_text(json.dumps(sidecar))
    with pytest.raises(ValueError, match=r'penultimate\.json.*(list of ids was changed|do not belong together)'):
        layer_folders.read_layer(folder / 'penultimate.npy', HERE, 'stimuli')


def test_an_edited_file_of_labels_is_refused(folder, images):
    np.save(folder / 'penultimate.npy', images.extras['latent'])
    storage.write_array(folder / 'labels.npy', images.labels, {'ids': images.ids})
    np.save(folder / 'labels.npy', np.roll(images.labels, 1))
    with pytest.raises(ValueError, match=r'labels\.npy and labels\.json do not belong together'):
        representations.load_comparison(config_of(folder, dataset='synthetic', split='test'))


def test_logits_of_a_foreign_network_are_scored(folder, images, tmp_path):
    config = load_config('alignment', 'tiny')
    config.simulated.n_test = 0
    config.human.update(n_test=N, seed=0)
    config.n_bootstrap, config.n_splits = 20, 2
    config.features, config.stimuli.dataset, config.stimuli.split = str(folder), 'synthetic', 'test'
    logits = np.log(images.extras['soft_label'] + 1e-6)
    scipy.io.savemat(folder / 'logits.mat', {'logits': logits})
    np.save(folder / 'labels.npy', images.labels)
    alignment.run(config, str(tmp_path / 'out'))
    scores = [Score.from_json(row) for row in storage.read_jsonl(tmp_path / 'out' / 'scores.jsonl')]
    (accuracy,) = [s for s in scores if s.name == 'soft_labels/accuracy']
    assert accuracy.value == (logits.argmax(axis=1) == images.labels).mean()
    assert (accuracy.provenance['model'], accuracy.provenance['data']) == ('mynet', 'synthetic/test')
    config.stimuli.split = 'train'
    with pytest.raises(ValueError, match="images of the split 'train', which the model was trained on"):
        alignment.run(config, str(tmp_path / 'out'))


class Tensor(np.ndarray):
    """As much of a torch.Tensor as docs/study.md needs."""

    def flatten(self, first):
        return self.reshape(*self.shape[:first], -1)

    def cpu(self):
        return self

    numpy = cpu


class Network:
    """As much of a torch.nn.Module: its features are its images, its logits the first ten of them."""

    def eval(self):
        return self

    @property
    def avgpool(self):
        return self

    def register_forward_hook(self, hook):
        self.hook = hook

    def __call__(self, images):
        self.hook(self, (images,), images)
        return images[:, :10, 0]


def test_the_pytorch_example_of_the_docs_leaves_a_folder_that_is_scored(tmp_path, monkeypatch):
    np_rng = np.random.default_rng(0)
    labels = np_rng.integers(0, 10, 10_000)
    counts = np.stack([np_rng.multinomial(50, 0.9 * np.eye(10)[label] + 0.01) for label in labels[:N]])
    np.save(tmp_path / 'cifar10h-counts.npy', np.resize(counts, (10_000, 10)))
    images = np.concatenate([np.eye(10)[labels[:N]], np_rng.normal(size=(N, 20))], axis=1)[:, :, None].view(Tensor)
    loader = [(images[:40], labels[:40].view(Tensor)), (images[40:], labels[40:N].view(Tensor))]
    (code,) = re.findall(r'```python\n(.*?)```', (ROOT / 'docs' / 'study.md').read_text(), re.DOTALL)
    torch = types.SimpleNamespace(no_grad=contextlib.nullcontext, cat=lambda parts: np.concatenate(parts).view(Tensor))
    monkeypatch.setitem(sys.modules, 'torch', torch)
    monkeypatch.chdir(tmp_path)
    exec(code, {'model': Network(), 'loader': loader})

    config = load_config('human_rsa', 'full')
    config.features, config.human.root = ('features/mynet/test',), str(tmp_path)
    config.layers = ('penultimate', 'logits')
    config.stimuli.update(dataset='cifar10', split='test')
    comparison = representations.load_comparison(config)
    assert [one.key for one in comparison.representations[:2]] == ['mynet/penultimate', 'mynet/logits']
    penultimate = representations.features_of(comparison.representations[0], comparison)
    np.testing.assert_array_equal(penultimate.values, images[:, :, 0])
    np.testing.assert_array_equal(comparison.answers.counts, counts)

    config = load_config('alignment', 'full')
    config.features, config.human.root, config.n_bootstrap, config.n_splits = 'features/mynet/test', '.', 20, 2
    config.stimuli.update(dataset='cifar10', split='test')
    alignment.run(config, str(tmp_path / 'out'))
    scores = [Score.from_json(row) for row in storage.read_jsonl(tmp_path / 'out' / 'scores.jsonl')]
    accuracy = {s.provenance['model']: s.value for s in scores if s.name == 'soft_labels/accuracy'}
    assert accuracy == {'mynet': 1.0}


def test_every_setting_that_the_docs_show_for_networks_from_elsewhere_is_one():
    text = (ROOT / 'docs' / 'study.md').read_text()
    section = text[text.index('## Networks from elsewhere') : text.index('## One stage alone')]
    known = {
        key
        for name in ('human_rsa', 'alignment', 'latents', 'report')
        for key in ConfigDict(load_config(name, 'full')).to_dict()
    }
    shown = {match for match in re.findall(r'--config\.(\w+)', section)}
    assert {'stimuli', 'features', 'headline', 'validation_stimuli', 'codes', 'study'} <= shown <= known


@pytest.fixture
def codes(tmp_path):
    """Folders of codes in which the first of four latents tells two classes, and a config that reads them."""
    np_rng = np.random.default_rng(0)
    for split, n in (('train', 80), ('validation', 40), ('test', 60)):
        (tmp_path / split).mkdir()
        labels = np_rng.integers(0, 2, n)
        mu = np_rng.normal(size=(n, 4)) * 0.1 + 3.0 * np.eye(4)[0] * labels[:, None]
        write(tmp_path / split / 'mu.h5', 'mu', mu)
        write(tmp_path / split / 'logvar.mat', 'logvar', np.full((n, 4), -1.0))
        np.save(tmp_path / split / 'labels.npy', labels)
    config = load_config('latents', 'full')
    config.codes.update(dataset='mine', **{split: str(tmp_path / split) for split in ('train', 'validation', 'test')})
    config.probe.strengths = (1e-3,)
    return config


def test_codes_of_a_foreign_vae_are_scored(codes, tmp_path):
    latents.run(codes, str(tmp_path / 'out'))
    scores = [Score.from_json(row) for row in storage.read_jsonl(tmp_path / 'out' / 'scores.jsonl')]
    of_mu = {s.name: s for s in scores if s.provenance['layer'] == 'mu' and s.provenance.get('measure') != 'euclidean'}
    with h5py.File(tmp_path / 'test' / 'mu.h5') as file:
        mu = file['mu'][()].astype(np.float32)
    labels = np.load(tmp_path / 'test' / 'labels.npy')
    kl = 0.5 * (np.exp(-1.0) + mu.astype(float) ** 2 - 1.0 + 1.0)
    assert of_mu['vae/kl'].value == pytest.approx(kl.sum(axis=1).mean(), rel=1e-5)
    assert of_mu['vae/active_dimensions'].value == 4
    assert of_mu['vae/active_units'].value == (mu.var(axis=0) > 0.01).sum()
    assert of_mu['vae/linear_probe_accuracy'].value == 1.0
    expected = spearmanr(pdist(mu, 'correlation'), pdist(labels[:, None], 'hamming')).statistic
    assert of_mu['vae/rsa_same_category'].value == pytest.approx(expected, abs=1e-4)
    assert of_mu['vae/kl'].provenance['data'] == 'mine/test'


def test_a_layer_whose_distances_are_not_defined_has_no_score(codes, tmp_path):
    for split, n in (('train', 80), ('validation', 40), ('test', 60)):
        (tmp_path / split / 'mu.h5').unlink()
        mu = np.random.default_rng(n).normal(size=(n, 4)) * [9.0, 0.1, 0.1, 0.1]
        np.save(tmp_path / split / 'mu.npy', mu)
        np.save(tmp_path / split / 'logvar.npy', np.zeros((n, 4)))
        (tmp_path / split / 'logvar.mat').unlink()
    latents.run(codes, str(tmp_path / 'out'))
    scores = [Score.from_json(row) for row in storage.read_jsonl(tmp_path / 'out' / 'scores.jsonl')]
    found = [(s.provenance['layer'], s.provenance['measure']) for s in scores if s.name == 'vae/rsa_same_category']
    one = 'mu, 1 informative latents'  # of which there is no correlation
    assert found == [('mu', 'correlation'), ('mu', 'euclidean'), (one, 'euclidean')]


def test_foreign_codes_without_ids_or_with_shared_images_are_refused(codes, tmp_path):
    codes.codes.dataset = ''
    with pytest.raises(ValueError, match=r'has no stimulus ids.*--config\.codes\.dataset=cifar10 .*an array named ids'):
        latents.run(codes, str(tmp_path / 'out'))
    ids = [f's{i}' for i in range(80)]
    for split, n in (('train', 80), ('validation', 40), ('test', 60)):
        (tmp_path / split / 'mu.h5').unlink()
        (tmp_path / split / 'logvar.mat').unlink()
        np.savez(tmp_path / split / 'mu.npz', mu=np.ones((n, 4)), ids=ids[:n])
        storage.write_array(tmp_path / split / 'labels.npy', np.zeros(n, int), {'ids': ids[:n]})
    with pytest.raises(ValueError, match=r'40 images are in both config\.codes\.train and config\.codes\.validation'):
        latents.run(codes, str(tmp_path / 'out'))
