"""The strip of test images with predictions, and its section."""

import numpy as np
import pytest
from PIL import Image

from humalign_jax import storage
from humalign_jax.records import Score
from humalign_jax.report.plots import pictures, predictions, style

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)
TRUE = ['cat', 'dog', 'cat', 'a_class_with_a_name_that_is_too_long']
PREDICTED = ['cat', 'cat', 'cat', 'another_class_with_a_name_that_is_too_long']


def test_a_wrong_prediction_is_crossed_above_its_true_class(drawn_texts):
    figure = predictions.draw_predictions(IMAGES, PREDICTED, TRUE, title='net')
    texts, (width, height), renderer = drawn_texts(figure)
    wrong = {text.get_text() for text in texts if text.get_color() == predictions.WRONG}
    assert {'× cat', '(dog)'} < wrong and 'cat' not in wrong and len(wrong) == 4
    boxes = [text.get_window_extent(renderer) for text in texts]
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize('channels', [1, 3])
def test_the_pixels_are_enlarged_and_not_smoothed(tmp_path, channels):
    images = np.repeat(RNG.choice([0, 255], (3, 8, 8, 1)).astype(np.uint8), channels, axis=3)
    figure = predictions.draw_predictions(images, TRUE[:3], TRUE[:3], title='net')
    (ax,) = figure.axes
    np.testing.assert_array_equal(ax.images[0].get_array(), pictures.grid([images], gap_px=1))
    _, png = style.save_figure(figure, tmp_path / 'strip')
    with Image.open(png) as picture:
        box = ax.get_position()
        left, right = (round(x * picture.width) for x in (box.x0, box.x1))
        top, bottom = (round((1 - y) * picture.height) for y in (box.y1, box.y0))
        shown = np.asarray(picture.convert('L'))[top + 3 : bottom - 3, left + 3 : right - 3]
    assert np.isin(shown, [0, 255]).mean() > 0.97  # edges of rows and columns may be mixed


def test_the_page_shows_the_strip_of_each_run_that_left_one(tmp_path, make_page):
    where = tmp_path / 'networks' / 'net'
    score = Score('accuracy', 0.5, 0.4, 0.6, 9, 'wilson', provenance={'model': 'net', 'data': 'mnist/test'})
    storage.write_jsonl(where / 'scores.jsonl', [score.to_json()])
    make_page(tmp_path)
    page = tmp_path / 'report' / 'report.html'
    assert 'predicted class' not in page.read_text(encoding='utf-8')
    pictures.save_png(where / 'figures' / 'predictions.png', IMAGES[0])
    said = {'predicted': ['3', '5'], 'true': ['3', '8'], 'data': 'mnist/test'}
    storage.write_json(where / 'figures' / 'predictions.json', said)
    make_page(tmp_path)
    text = page.read_text(encoding='utf-8')
    assert '<section id="predictions"' in text and 'net: 2 random images of mnist/test' in text
    assert 'alt="Images that net calls 3, 5 (wrong, it is 8)."' in text


def test_the_page_says_that_an_imported_network_was_trained_elsewhere(tmp_path, make_page):
    where = tmp_path / 'networks' / 'net'
    score = Score('accuracy', 0.5, 0.4, 0.6, 9, 'wilson', provenance={'model': 'net', 'data': 'mnist/test'})
    storage.write_jsonl(where / 'scores.jsonl', [score.to_json()])
    config = {'experiment': 'import_checkpoint', 'weights': {'file': 'some/net.pt'}, 'train': {'n_devices': 0}}
    storage.write_json(where / 'config.json', config)
    make_page(tmp_path)
    text = (tmp_path / 'report' / 'report.html').read_text(encoding='utf-8')
    assert 'net was trained elsewhere: its weights are those of net.pt.' in text and '>nan<' not in text
