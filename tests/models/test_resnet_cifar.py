"""CIFAR ResNets with option-A shortcuts."""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from humalign_jax import models, rsa
from humalign_jax.human import cifar10h
from humalign_jax.models import resnet_cifar
from humalign_jax.records import Features, stimulus_ids


@pytest.mark.parametrize(('name', 'expected'), [('resnet20', 269_722), ('resnet56', 853_018)])
def test_number_of_parameters_is_the_published_one(name, expected):
    model, image = models.make_model(name), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params = jax.eval_shape(lambda image: model.init(jax.random.key(0), image)['params'], image)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


def test_a_shortcut_takes_every_second_pixel_and_adds_channels_of_zeros():
    block = resnet_cifar.CifarBlock(width=8, stride=2, dtype='float32', axis_name=None)
    x = np.abs(np.random.default_rng(0).normal(size=(2, 6, 6, 4))).astype(np.float32)
    variables = block.init(jax.random.key(0), x, False)
    params = flax.traverse_util.flatten_dict(variables['params'])
    silent = {path: jnp.zeros_like(leaf) for path, leaf in params.items()}  # the branch adds nothing
    out = block.apply({**variables, 'params': flax.traverse_util.unflatten_dict(silent)}, x, False)
    np.testing.assert_array_equal(out[..., 2:6], x[:, ::2, ::2])
    assert not np.asarray(out)[..., [0, 1, 6, 7]].any()


@pytest.mark.data
@pytest.mark.parametrize(
    ('name', 'file', 'accuracy', 'agreement'),
    [
        ('resnet20', 'resnet20-12fca82f.th', 91.96, (0.614, 0.230, 0.480)),
        ('resnet56', 'resnet56-4bfd9763.th', 93.62, (0.562, 0.230, 0.395)),
    ],
)
def test_published_resnets_have_the_recorded_accuracy_and_agreement_with_people(
    real_data, name, file, accuracy, agreement
):
    state = models.read_state_dict(real_data / 'cifar10_resnets' / file)
    model = models.make_model(name)
    template = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))
    variables = models.to_flax(state, {part: template[part] for part in ('params', 'batch_stats')}, **model.from_torch)
    folder = real_data / 'cifar10'
    ambiguous, sample = (np.load(folder / f'lossless_{part}.npz') for part in ('test_1120', 'sample'))
    index = np.concatenate([ambiguous['test_index'], sample['test_index']])
    index, rows = np.unique(index, return_index=True)  # 51 images are in both files
    pixels = np.concatenate([ambiguous['test_pixels'], sample['test_pixels']])[rows]
    image = (pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    apply = jax.jit(lambda image: model.apply(variables, image, mutable=['layers'])[1]['layers'])
    parts = [apply(part) for part in np.split(image.astype(np.float32), 4)]
    codes, logits = (np.concatenate([part[layer] for part in parts]) for layer in ('penultimate', 'logits'))
    labels = np.load(folder / 'test_jpeg.npz')['labels'][index]
    right = (logits.argmax(axis=1) == labels)[np.isin(index, sample['test_index'])]
    assert len(index) == 1492 and len(right) == 423 and round(100 * float(right.mean()), 2) == accuracy

    shown = np.isin(index, ambiguous['test_index'])
    ids = stimulus_ids('cifar10', 'test', index[shown])
    answers = cifar10h.load_answers(folder).select(ids)
    people = rsa.rdm(Features(answers.probabilities, ids, 'people'), 'cosine')
    reference = rsa.Reference(people, labels=labels[shown], pairs=('all', 'within', 'partial'))
    found = reference.values(rsa.rdm(Features(codes[shown], ids, name), 'correlation'))
    np.testing.assert_allclose([found[pairs] for pairs in ('all', 'within', 'partial')], agreement, atol=0.005)
