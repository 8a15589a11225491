"""The section about ratings of pairs: what its tables, sentences and figures say."""

import re

import numpy as np
import pytest

from humalign_jax.experiments import ratings
from humalign_jax.report.plots import ratings as plots

from ..conftest import load_config


@pytest.fixture(scope='module')
def page(tmp_path_factory, make_page):
    """The page of the published example."""
    folder = tmp_path_factory.mktemp('ratings')
    config = load_config('ratings', 'tiny')
    config.n_bootstrap = 2000
    ratings.run(config, str(folder))
    make_page(folder)
    return (folder / 'report' / 'report.html').read_text(encoding='utf-8'), folder / 'report'


def _text(html):
    return ' '.join(re.sub('<[^>]*>', '', html).split())


def test_sentences_name_correlation_interval_and_the_pairs_that_decide_it(page):
    text = _text(page[0])
    assert re.search(r'Category 8: cosine in layer fc1 of course network has r = −0.17 \[−0.6\d, 0.\d\d\] with', text)
    assert 'with the mean rating of 2 people. The interval covers both signs.' in text
    assert 'Without pair 15 r is 0.0689; without 15 and 13 it is 0.179.' in text
    assert re.search(r'reliability of their mean \(alpha\) 0.8\d', text)


def test_tables_of_layers_raters_and_reliability_are_written(page):
    tables = page[1] / 'tables'
    assert {path.stem for path in tables.iterdir()} == {'ratings_cosine', 'ratings_raters', 'ratings_reliability'}
    layers = (tables / 'ratings_cosine.md').read_text()
    assert '| Layer | 8: r ↑ | 8: ρ ↑ |' in layers and '| course network, fc1 | −0.17' in layers
    assert '| Ceiling, upper | 0.94' in layers
    raters = (tables / 'ratings_raters.md').read_text()
    assert re.search(r'\| r1 \| −0.11 [^|]* \| 0.83 \|', raters) and '| r2 | −0.20' in raters


def test_the_figure_is_on_the_page_with_interval_and_ceiling(page):
    assert re.search(r'<title>Category 8: r = −0.17 \[[^]]*\]\s*noise ceiling 0.829 – 0.9\d+, n = 20 pairs', page[0])
    assert (page[1] / 'figures' / 'ratings_course_network.pdf').exists()


def test_texts_of_many_pairs_stay_inside_the_figure(drawn_texts):
    image = np.zeros((28, 28, 1), np.uint8)
    titles, below = ['net 0.12, human 0.34'] * 30, ['pair a_long_name_of_a_category-01'] * 30
    figure = plots.draw_pairs([(image, image)] * 30, titles, below, title='network, layer: cosine ' * 9)
    texts, (width, height), renderer = drawn_texts(figure)
    assert len(texts) >= 60
    for text in texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text.get_text()


def test_names_of_influential_pairs_point_inside_the_axes(drawn_texts):
    panel = plots.Panel('category', np.array([0.1, 0.5, 0.9]), np.array([1.0, 3, 2]), {'first-01': 0, 'last-02': 2})
    figure = plots.draw_scatters([panel], xlabel='similarity', ylabel='rating')
    texts, _, renderer = drawn_texts(figure)
    frame = figure.axes[0].get_window_extent(renderer)
    named = [text for text in texts if text.get_text() in panel.named]
    assert len(named) == 2
    for text in named:
        assert frame.x0 <= text.get_window_extent(renderer).x0 and text.get_window_extent(renderer).x1 <= frame.x1
