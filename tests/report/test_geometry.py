"""The section of the geometry of representations."""

import re

import numpy as np
import pytest

from humalign_jax import storage
from humalign_jax.records import Score
from humalign_jax.report.plots import dots, maps


def _score(name, value, model, half=0.01, **about):
    about = {'model': model, 'simulated': False, 'better': 'none', **about}
    return Score(f'geometry/{name}', value, value - half, value + half, 90, 'normal', provenance=about)


@pytest.fixture(scope='module')
def page(tmp_path_factory, make_page):
    folder, embedding = tmp_path_factory.mktemp('study'), {'human_embedding': 'people_3d'}
    scores = [
        _score('class_separation_coarse', 0.21, 'bear', n_zero_vectors=2),
        _score('class_separation_coarse', 0.31, 'fox-0', group='fox'),
        _score('class_separation_coarse', 0.33, 'fox', n_networks=2, networks=['fox-0', 'fox-1']),
        _score('class_separation_coarse', 0.56, 'people_3d', baseline=True),
        _score('class_separation_coarse/difference', 0.12, 'fox', other='bear'),
        _score('class_separation_coarse/difference', 0.005, 'owl', other='bear'),
        _score('cka', 0.44, 'bear', **embedding),
        _score('cka', 0.66, 'fox', **embedding),
    ]
    storage.write_jsonl(folder / 'geometry' / 'scores.jsonl', [score.to_json() for score in scores])
    about = {'categories': ['a', 'a', 'b', 'b'], 'category_names': ['a', 'b'], 'aligned_to': 'bear', 'simulated': False}
    about |= {'method': 'mds', 'stress': 0.25, 'measure': 'euclidean'}
    for number, model in enumerate(('fox', 'bear')):
        points, sidecar = np.eye(4)[:, :2] + number, {**about, 'model': model, 'number': 1 - number}
        storage.write_array(folder / 'geometry' / 'maps' / f'{model}_mds.npy', points, sidecar)
    make_page(folder)
    return (folder / 'report' / 'report.html').read_text(encoding='utf-8')


def test_table_shows_groups_in_place_of_their_networks_and_people_below(page):
    table = re.search(r'<table id="table-geometry".*?</table>', page, re.DOTALL)[0]
    assert 'fox-0' not in table and table.rindex('bear') < table.rindex('fox') < table.rindex('people_3d')
    assert 'CKA with people_3d' in table and '0.660' in table
    assert 'Means over networks that differ by their seed (up to 2)' in page
    assert 'Items whose features are all 0, left out of class separation: 2.' in page


def test_sentences_count_intervals_above_the_reference_and_name_the_closest(page):
    said = re.sub('<[^>]*>', '', page)
    assert 'coarse is larger than that of bear (0.210 [0.200, 0.220]) in 1 of 2 representations and smaller' in said
    assert 'CKA with people_3d is largest for fox: 0.660 [0.650, 0.670].' in said


def test_maps_stand_side_by_side_with_the_reference_first(page):
    assert 'Classical MDS maps of 4 items in 2 categories: bear, fox.' in page
    assert 'Stress: misfit of the map.' in page and 'closest to that of bear (Procrustes)' in page


def test_panels_of_maps_share_one_scale_and_their_text_is_inside(drawn_texts):
    points = np.random.default_rng(0).normal(size=(20, 2))
    panels = {f'net {k}\nstress 0.{k}': points * k for k in range(1, 7)}
    figure = maps.draw_maps(panels, labels=np.arange(20) % 2, class_names=['a', 'b'])
    assert len({(*ax.get_xlim(), *ax.get_ylim()) for ax in figure.axes[:6]}) == 1
    texts, (width, height), renderer = drawn_texts(figure)
    boxes = [text.get_window_extent(renderer) for text in texts]
    assert {'net 6\nstress 0.6', 'a', 'b'} <= {text.get_text() for text in texts}
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)


def test_dots_stand_at_their_values_with_intervals_and_the_reference_as_a_line(drawn_texts):
    scores = {'bear': _score('x', 0.2, 'bear'), 'fox': _score('x', 0.4, 'fox', half=0.1)}
    kinds = {'bear': 'model', 'fox': 'model', 'people_3d': 'human embedding'}
    figure = dots.draw_dots({'x': scores, 'y': {'people_3d': _score('y', 3.0, '')}}, kinds, reference='bear')
    ax = figure.axes[0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list(kinds)
    ends = [line.get_segments()[0] for line in ax.collections]
    np.testing.assert_allclose(ends, [[[0.19, 0], [0.21, 0]], [[0.3, 1], [0.5, 1]]])
    dashed = [list(line.get_xdata()) for line in ax.lines if line.get_linestyle() == '--']
    assert [0.2, 0.2] in dashed
    texts, (width, height), renderer = drawn_texts(figure)
    boxes = [text.get_window_extent(renderer) for text in texts]
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)
