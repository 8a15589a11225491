"""Files of other programs as runs: their scores, how they are opened, and what is refused."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from humalign_jax import models, storage, workdir
from humalign_jax.experiments import evaluate, extract, import_checkpoint, train_soft_labels
from humalign_jax.wiring import runs

from ..conftest import load_config
from ..models.test_digitnet import float64_logits

N_TEST = 40


def tiny():
    config = load_config('import_checkpoint', 'tiny')
    config.data.update(n_train=96, n_test=N_TEST, batch_size=16, n_validation=32)
    config.train.update(n_devices=1)
    return config


def course_network(n_classes=10):
    """Random weights by the names of the course's checkpoint."""
    np_rng = np.random.default_rng(0)
    shapes = {'conv1': (10, 1, 5, 5), 'conv2': (20, 10, 5, 5), 'fc1': (50, 320), 'fc2': (n_classes, 50)}
    arrays = {}
    for name, shape in shapes.items():
        arrays[f'{name}.weight'] = np_rng.normal(0, 0.2, shape).astype(np.float32)
        arrays[f'{name}.bias'] = np_rng.normal(0, 0.2, shape[0]).astype(np.float32)
    return arrays


@pytest.fixture(scope='module')
def imported(tmp_path_factory):
    """`(run's folder, weights)` of a file with the names of the course's checkpoint."""
    folder, weights = tmp_path_factory.mktemp('imported'), course_network()
    models.write_safetensors(folder / 'net.safetensors', weights)
    config = tiny()
    config.weights.file = str(folder / 'net.safetensors')
    assert workdir.run_once(import_checkpoint.run, config, folder / 'run')
    return folder / 'run', weights


def test_extract_reads_the_logits_that_float64_gives(imported, tmp_path):
    folder, weights = imported
    config = load_config('extract', 'full')
    config.update(run=str(folder), layers=('conv2', 'logits'), batch_size=16, n_devices=1)
    extract.run(config, str(tmp_path))
    images = runs.open_run(folder).setup.images['test'].images
    expected = float64_logits(weights, ((images / 255 - 0.1307) / 0.3081)[..., 0])
    found, sidecar = storage.read_described(tmp_path / 'logits.npy')
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert sidecar['layer_order'] == 5 and np.load(tmp_path / 'conv2.npy').shape == (N_TEST, 8 * 8 * 20)
    scores = {row['name']: row for row in storage.read_jsonl(folder / 'scores.jsonl')}
    labels = runs.open_run(folder).setup.images['test'].labels
    assert scores['accuracy']['value'] == (expected.argmax(axis=1) == labels).mean()


def test_evaluate_opens_it_without_the_file_and_gives_its_scores(imported, tmp_path):
    folder, _ = imported
    shutil.copytree(folder, tmp_path / 'run')
    config = json.loads((folder / 'config.json').read_text())
    config['weights']['file'] = '/gone/net.safetensors'
    storage.write_json(tmp_path / 'run' / 'config.json', config)
    again = load_config('evaluate', 'full')
    again.run = str(tmp_path / 'run')
    evaluate.run(again, str(tmp_path / 'again'))
    before, after = (storage.read_jsonl(place / 'scores.jsonl') for place in (folder, tmp_path / 'again'))
    assert [(row['name'], row['value']) for row in after] == [(row['name'], row['value']) for row in before]


def test_it_says_which_file_it_was_and_does_nothing_when_it_is_complete(imported):
    folder, _ = imported
    config = tiny()
    config.weights.file = str(folder.parent / 'net.safetensors')
    before = (folder / 'provenance.json').read_bytes()
    assert not workdir.run_once(import_checkpoint.run, config, folder)
    assert (folder / 'provenance.json').read_bytes() == before
    said = {'weights_file': 'net.safetensors', 'weights_sha256': storage.file_digest(config.weights.file)}
    (start,) = storage.read_json(folder / 'provenance.json')
    scores = storage.read_jsonl(folder / 'scores.jsonl')
    for facts in (start, *(row['provenance'] for row in scores)):
        assert said.items() <= facts.items()


def test_the_strip_shows_ten_seeded_images_and_their_predictions(imported):
    folder, weights = imported
    said = storage.read_json(folder / 'figures' / 'predictions.json')
    images = runs.open_run(folder).setup.images['test']
    rows = [images.ids.tolist().index(shown) for shown in said['shown_ids']]
    assert len(set(rows)) == 10 and rows == np.random.default_rng((0, 0)).choice(N_TEST, 10, replace=False).tolist()
    logits = float64_logits(weights, ((images.images[rows] / 255 - 0.1307) / 0.3081)[..., 0])
    assert said['predicted'] == [images.class_names[k] for k in logits.argmax(axis=1)]
    assert said['true'] == [images.class_names[k] for k in images.labels[rows]]
    with Image.open(folder / 'figures' / 'predictions.png') as picture:
        assert picture.width == 1400


def test_it_can_be_fine_tuned_on_people(imported):
    folder, _ = imported
    config = load_config('soft_labels', 'tiny')
    config.update(run=str(folder))
    config.train.n_devices = 1
    config.human = dict(name='synthetic', root='', n_test=N_TEST)
    tuning = train_soft_labels.set_up(config)
    assert len(tuning.images) == N_TEST


@pytest.mark.parametrize(
    ('weights', 'model', 'message'),
    [
        ({'file': ''}, 'digitnet', 'config.weights.file is empty: name a .pt'),
        ({'file': 'nowhere.pt'}, 'digitnet', 'nowhere.pt is not a regular file'),
        ({}, 'philnet', r'net.safetensors as .*philnet.*only in the checkpoint: conv1.weight \(10, 1, 5, 5\).*renames'),
        ({}, 'vae', 'config.model.name=.vae. is no classifier, but synthetic has 10'),
        (
            {'renames': (('^fc', 'dense'),)},
            'digitnet',
            'only in the checkpoint: conv1.*only in the model: params/c',
        ),
        ({'renames': (('(', ''),)}, 'digitnet', "config.weights.renames: '[(]' is no regular expression"),
        ({'flatten': ('hidden', 20)}, 'digitnet', 'config.weights.flatten=.* must be a list of pairs'),
        ({'flatten': (('hidden', 3),)}, 'digitnet', 'fc1.weight takes 320 inputs, which are no map of 3 channels'),
        ({'key': 'best'}, 'digitnet', "net.safetensors cannot .* has no entry 'best'"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(imported, tmp_path, weights, model, message):
    config = tiny()
    config.weights.file = str(imported[0].parent / 'net.safetensors')
    config.weights.update(weights)
    config.model.name = model
    with pytest.raises(ValueError, match=message):
        import_checkpoint.run(config, str(tmp_path))
    assert not (tmp_path / 'checkpoints').exists()


def test_other_classes_than_those_of_the_data_are_counted(tmp_path):
    models.write_safetensors(tmp_path / 'net.safetensors', course_network(n_classes=26))
    config = tiny()
    config.weights.file = str(tmp_path / 'net.safetensors')
    with pytest.raises(ValueError, match='classifies into 26 classes, but synthetic has 10: set config'):
        import_checkpoint.run(config, str(tmp_path / 'run'))
    config.model.n_classes = 26
    with pytest.raises(ValueError, match="name='digitnet' has 26 classes, but synthetic has 10"):
        import_checkpoint.run(config, str(tmp_path / 'run'))


@pytest.mark.data
def test_the_course_checkpoint_becomes_a_run_with_9871_right_and_logits_of_float64(real_data, tmp_path):
    mnist, root = real_data / 'mnist', tmp_path / 'data'
    root.mkdir()
    names = ('train_first_14262', 'mnist_train_14262_37130', 'mnist_train_37131_59999')
    train = np.concatenate([np.load(mnist / f'{name}.npz')['images'] for name in names])
    header = np.array([0x803, 60_000, 28, 28], '>i4').tobytes()
    (root / 'train-images-idx3-ubyte').write_bytes(header + train.tobytes())
    for name in ('train-labels-idx1', 't10k-images-idx3', 't10k-labels-idx1'):
        (root / f'{name}-ubyte.gz').symlink_to(mnist / f'{name}-ubyte.gz')
    config = load_config('import_checkpoint', 'full')
    config.weights.file, config.data.root = str(mnist / 'convnet_mnist_pretrained.pt'), str(root)
    workdir.run_once(import_checkpoint.run, config, tmp_path / 'run')
    accuracy = storage.read_jsonl(tmp_path / 'run' / 'scores.jsonl')[0]
    assert accuracy['name'] == 'accuracy' and round(accuracy['value'] * accuracy['n']) == 9871
    layers = load_config('extract', 'full')
    layers.update(run=str(tmp_path / 'run'), layers=('logits',))
    extract.run(layers, str(tmp_path / 'features'))
    images = runs.open_run(tmp_path / 'run').setup.images['test'].images[:1000, ..., 0]
    state = models.read_state_dict(config.weights.file)
    expected = float64_logits(state, ((images / 255 - 0.1307) / 0.3081).astype(np.float32))
    np.testing.assert_allclose(np.load(tmp_path / 'features' / 'logits.npy')[:1000], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.data
@pytest.mark.parametrize('name', ['resnet20-12fca82f', 'resnet56-4bfd9763'])
def test_a_resnet_in_the_older_format_is_read_and_refused_by_another_architecture(real_data, tmp_path, name):
    path = real_data / 'cifar10_resnets' / f'{name}.th'
    config = tiny()
    config.weights.file, config.data.image, config.model.name = str(path), 'rgb', 'resnet18'
    config.preprocess.update(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    with pytest.raises(ValueError, match=r'as config.model.name=.resnet18.*only in the checkpoint: bn1.weight \(16,\)'):
        import_checkpoint.run(config, str(tmp_path))
