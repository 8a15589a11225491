"""Images behind the cells of figures."""

import re

import numpy as np
import pytest

from humalign_jax import storage
from humalign_jax.report import stimuli
from humalign_jax.report.figures import picture_of_strip
from humalign_jax.report.loading import load_study
from humalign_jax.report.sections import confusions


@pytest.fixture
def study(tmp_path, fake_study):
    """A study of four images of two classes, with the answers of people and of a model."""

    def make(*, simulated):
        fake_study.write_study(tmp_path, parts=('alignment',), classifiers=('net',), simulated=simulated)
        ids, names = [f's/test/{i}' for i in range(4)], ['cat', 'dog']
        columns = ['kl', 'label', *(f'{whose}/{name}' for whose in ('model', 'human') for name in names)]
        model, people = np.array([0.8, 0.2, 0.45, 0.0]), np.array([1.0, 1.0, 0.8, 0.0])
        values = np.c_[np.zeros(4), [0, 0, 0, 1], model, 1 - model, people, 1 - people]
        about = {'ids': ids, 'columns': columns, 'class_names': names}
        storage.write_array(tmp_path / 'alignment' / 'net' / 'per_image.npy', values, about)
        where, said = tmp_path / 'features' / 'net' / 'test', {'ids': ids, 'class_names': names}
        storage.write_array(where / 'labels.npy', np.array([0, 0, 0, 1]), said)
        storage.write_array(where / 'pixels.npy', np.linspace(0, 1, 4 * 12).reshape(4, 12), said)
        return load_study(tmp_path)

    return make


def test_behind_a_confusion_are_the_images_that_take_most_of_the_chosen_class_first(study):
    found = confusions._images(study(simulated=True))
    assert found['net'][0, 1].stimuli == ('s/test/1', 's/test/2', 's/test/0')  # P(dog) 0.8, 0.55, 0.2
    assert found['simulated observers'][0, 1].stimuli == ('s/test/2',)
    assert found['net'][0, 1].text == 'cat that net calls dog most'
    assert (1, 0) not in found['net']  # no dog is called a cat


def test_pixels_are_embedded_only_where_a_program_made_them(study):
    assert confusions._images(study(simulated=True))['net'][0, 1].picture is not None
    assert confusions._images(study(simulated=False))['net'][0, 1].picture is None


def test_images_of_a_class_are_those_with_its_label(study):
    assert stimuli.by_class(study(simulated=True)) == {'cat': ['s/test/0', 's/test/1', 's/test/2'], 'dog': ['s/test/3']}


@pytest.mark.parametrize(('size', 'shape'), [(12, (2, 2, 3)), (9, (3, 3, 1)), (7, None)])
def test_a_row_of_pixels_is_a_square_image_or_none(size, shape):
    image = stimuli.pixels(np.full(size, 0.5))
    assert (None if image is None else image.shape) == shape
    assert image is None or np.unique(image).tolist() == [128]


def test_a_strip_says_which_stimuli_it_shows():
    assert picture_of_strip(np.zeros((2, 5, 1), np.uint8), 'cat: s/test/0').alt == 'cat: s/test/0'


def test_every_cell_of_a_figure_that_shows_images_leads_to_some(whole):
    shown = {part for parts in re.findall(r'data-show="([^"]*)"', whole[2]) for part in parts.split()}
    assert len(shown) > 4 and shown <= set(re.findall(r'class="behind" id="([^"]*)"', whole[2]))
