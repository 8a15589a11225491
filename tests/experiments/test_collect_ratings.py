"""The page of a study of ratings, and the record of which images were drawn."""

import csv
import json

import numpy as np
import pytest

from humalign_jax import data
from humalign_jax.experiments import collect_ratings


@pytest.fixture
def config(request):
    from importlib.util import module_from_spec, spec_from_file_location

    path = request.config.rootpath / 'configs' / 'collect_ratings.py'
    spec = spec_from_file_location('config_collect_ratings', path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config('tiny')


def _rows(folder):
    with open(folder / 'pairs.csv', newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def test_the_drawn_pairs_are_recorded_so_that_a_study_can_be_replayed(config, tmp_path):
    for name in ('one', 'two'):
        collect_ratings.run(config, str(tmp_path / name))
    rows, about = _rows(tmp_path / 'one'), json.loads((tmp_path / 'one' / 'pairs.json').read_text())
    assert rows == _rows(tmp_path / 'two') and len(rows) == 6
    assert about['seed'] == 0 and about['data'] == 'synthetic/test' and about['simulated'] is True
    images = data.load('synthetic', 'test', n_test=60, image='grey')
    for row, ids in zip(rows, about['ids']):
        places = [int(row[f'test_idx_{side}']) for side in 'ab']
        assert images.ids[places].tolist() == ids
        assert {images.class_names[label] for label in images.labels[places]} == {row['digit']}
    assert (tmp_path / 'one' / 'rate.html').read_text() == (tmp_path / 'two' / 'rate.html').read_text()


def test_images_without_a_published_order_are_named_by_their_ids(config, tmp_path):
    from PIL import Image

    for name in 'ab':
        for number in range(4):
            path = tmp_path / 'images' / name / f'{number}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), number * 40, np.uint8)).save(path)
    config.data = {'name': 'image_folder', 'root': str(tmp_path / 'images'), 'size_px': 8, 'test_share': 0.5}
    config.categories, config.n_pairs = ('a',), 1
    collect_ratings.run(config, str(tmp_path / 'run'))
    assert all(row['stimulus_a'].endswith('.png') for row in _rows(tmp_path / 'run'))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'data.name': 'minst'}, "config.data.name='minst' is no data source. Did you mean 'mnist'"),
        ({'categories': ('9',)}, "synthetic has no class '9'"),
        ({'n_pairs': 4}, "4 pairs of class 'animate_a1' need 8 images"),
        ({'data.n_tests': 4}, 'config.data.n_tests is not a setting'),
        ({'wording.titel': ''}, 'config.wording.titel is not a setting'),
    ],
)
def test_settings_that_cannot_be_are_named(config, tmp_path, changes, message):
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        collect_ratings.run(config, str(tmp_path))


@pytest.mark.data
def test_mnist_digits_are_shown_black_on_white(config, real_data, tmp_path):
    config.data, config.categories, config.n_pairs, config.invert = (
        {'name': 'mnist', 'root': str(real_data)}, ('8',), 20, True
    )  # fmt: skip
    collect_ratings.run(config, str(tmp_path))
    assert len(_rows(tmp_path)) == 20 and (tmp_path / 'rate.html').stat().st_size < 100_000
