"""The page on which people rate pairs, driven in a real browser; its table is read back and scored."""

import base64
import json
import time

import numpy as np
import pytest

from humalign_jax import data, storage
from humalign_jax.alignment.ratings import agreement_scores
from humalign_jax.data.pairs import find_pairs, sample_pairs
from humalign_jax.experiments import ratings
from humalign_jax.human import rating_page
from humalign_jax.human.ratings import read_ratings

from ..conftest import load_config

WORDING = rating_page.Wording('Shapes & sizes', 'How "similar" are they?', 'not at all', 'very')
WIDTHS = {'desktop': 1280, 'phone': 390}
ROW = "study.rows[order[answers.length]][0] + '/' + answers.length"


def _page(images, pairs, *, invert=False):
    rated = [
        rating_page.RatedPair(name, category, str(a), str(b), images.images[a], images.images[b])
        for name, category, (a, b) in zip(pairs.names.tolist(), pairs.categories.tolist(), pairs.rows.tolist())
    ]
    return rating_page.render(rated, WORDING, columns='test_idx', invert=invert)


@pytest.fixture(scope='module')
def images():
    return data.load('synthetic', 'test', n_test=80, image='grey')


@pytest.fixture(scope='module')
def pairs(images):
    return sample_pairs(images, ('animate_a1', 'inanimate_c1'), 4, seed=0)


@pytest.fixture
def page(images, pairs, tmp_path):
    path = tmp_path / 'rate.html'
    path.write_text(_page(images, pairs), encoding='utf-8')
    return path.as_uri()


def _wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'nothing happened'
        time.sleep(0.02)


def _press(browser, key):
    """One real key press, later than the page's guard against double ones."""
    time.sleep(0.25)
    code = {'key': key, 'text': key} if len(key) == 1 else {'key': key}
    browser.call('Input.dispatchKeyEvent', type='keyDown', **code)
    browser.call('Input.dispatchKeyEvent', type='keyUp', key=key)


def _open_anew(browser, page, width):
    """Pages of one folder share what a browser keeps: earlier tests are forgotten."""
    browser.open(page, width)
    browser.value('localStorage.clear()')
    browser.open(page, width)


def _start(browser, rater):
    browser.value('document.getElementById("rater").focus()')
    browser.call('Input.insertText', text=rater)
    browser.call(
        'Input.dispatchKeyEvent', type='keyDown', key='Enter', code='Enter', windowsVirtualKeyCode=13, text='\r'
    )
    _wait_for(lambda: browser.value('!document.getElementById("trial").hidden'))


def _faults(browser):
    return [
        event['params']
        for event in browser.events
        if event['method'] == 'Runtime.exceptionThrown'
        or (event['method'] == 'Log.entryAdded' and event['params']['entry']['level'] in ('error', 'warning'))
        or (
            (event['method'] == 'Network.requestWillBeSent')
            and not event['params']['request']['url'].startswith(('file:', 'data:', 'blob:'))
        )
    ]


def _shot(browser, path):
    shot = browser.call('Page.captureScreenshot', format='png', captureBeyondViewport=True)
    path.write_bytes(base64.b64decode(shot['data']))


@pytest.mark.browser
@pytest.mark.parametrize('width', WIDTHS.values(), ids=WIDTHS.keys())
def test_all_pairs_by_keyboard_with_a_reload_and_an_undo_give_a_table_that_is_scored(
    browser, page, images, pairs, tmp_path, width
):
    rater = f'Zoë "{width}", left-handed'
    browser.call('Browser.setDownloadBehavior', behavior='allow', downloadPath=str(tmp_path))
    _open_anew(browser, page, width)
    _shot(browser, tmp_path / 'start.png')
    _start(browser, rater)
    _shot(browser, tmp_path / 'trial.png')
    given = {}
    for number in range(len(pairs)):
        assert browser.value('document.documentElement.scrollWidth') <= width
        assert browser.value('document.getElementById("count").textContent') == f'{number + 1} of {len(pairs)}'
        assert browser.value('document.getElementById("progress").value') == number
        if number == 3:  # a wrong answer, taken back
            _press(browser, '1')
            _wait_for(lambda: browser.value('answers.length') == 4)
            _press(browser, 'Backspace')
            _wait_for(lambda: browser.value('answers.length') == 3)
        if number == 5:
            before = browser.value(ROW)
            _wait_for(lambda: browser.reload() or browser.value('rater'))  # a busy browser reads its store late
            assert browser.value(ROW) == before
        rating = number + 3
        given[browser.value('study.rows[order[answers.length]][0]')] = rating
        _press(browser, str(rating % 10))
        _wait_for(lambda done=number + 1: browser.value('answers.length') == done)
    assert not browser.value('document.getElementById("end").hidden')
    _shot(browser, tmp_path / 'end.png')
    browser.value('document.getElementById("download").click()')
    _wait_for(lambda: list(tmp_path.glob('ratings-*.csv')))
    assert _faults(browser) == []

    table = next(tmp_path.glob('ratings-*.csv'))
    found = read_ratings(table, dataset='synthetic')
    assert found.raters.tolist() == [rater]
    assert dict(zip(found.pairs.tolist(), found.values[0].tolist())) == given and len(given) == len(pairs)
    rows = find_pairs(images, found.ids_a, found.ids_b, found.categories, name=found.name)
    np.testing.assert_array_equal(rows, pairs.rows)
    scores = agreement_scores(found.values[0] ** 2, found, {}, n_bootstrap=50, seed=0)
    assert {score.name: score.value for score in scores}['ratings/spearman'] == pytest.approx(1.0)

    config = load_config('ratings', 'full')
    config.ratings.update(files=(str(table),), dataset='synthetic')
    config.data = {'name': 'synthetic', 'root': '', 'n_test': 80, 'image': 'grey'}
    config.update(n_bootstrap=20, measures=('cosine',))
    ratings.run(config, str(tmp_path / 'scored'))
    rows = storage.read_jsonl(tmp_path / 'scored' / 'scores.jsonl')
    pixels = [row for row in rows if row['name'] == 'ratings/pearson' and row['provenance']['baseline']]
    assert [(row['provenance']['category'], row['n']) for row in pixels] == [('animate_a1', 4), ('inanimate_c1', 4)]


@pytest.mark.browser
def test_each_rater_has_an_order_of_their_own_and_returns_to_it(browser, page):
    _open_anew(browser, page, 1280)
    orders = [browser.value(f'JSON.stringify(orderOf("{name}"))') for name in ('ann', 'bob', 'ann')]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(json.loads(orders[0])) == list(range(8))


@pytest.mark.browser
def test_every_order_is_about_as_frequent(browser, page):
    """Place of the first pair among eight, over 4,000 raters."""
    _open_anew(browser, page, 1280)
    count = '[...Array(4000).keys()].map(i => orderOf("r" + i).indexOf(0))'
    counts = np.bincount(browser.value(count), minlength=8)
    assert ((counts - 500) ** 2 / 500).sum() < 24.3  # chi-square with 7 degrees of freedom, p = 0.001


@pytest.mark.browser
def test_buttons_rate_by_touch_and_a_double_tap_rates_once(browser, page):
    _open_anew(browser, page, 390)
    _start(browser, 'toucher')
    time.sleep(0.25)
    browser.value('document.querySelector("[data-rating=\'10\']").click()')
    browser.value('document.querySelector("[data-rating=\'10\']").click()')
    assert browser.value('answers.map(one => one[1])') == [10]
    smallest = 'Math.min(...[...document.querySelectorAll("#scale button")].map(b => b.getBoundingClientRect().height))'
    assert browser.value(smallest) >= 44
    assert browser.value('document.getElementById("scale").getBoundingClientRect().bottom') < 844
    time.sleep(0.25)
    browser.value('document.querySelector("#trial .undo").click()')
    assert browser.value('answers.length') == 0
    assert browser.value('document.querySelector("#scale .chosen").dataset.rating') == '10'


@pytest.mark.browser
def test_the_next_person_starts_anew_and_the_first_ones_answers_stay(browser, page):
    _open_anew(browser, page, 1280)
    _start(browser, 'first')
    _press(browser, '4')
    _wait_for(lambda: browser.value('answers.length') == 1)
    browser.value('document.getElementById("another").click()')
    assert not browser.value('document.getElementById("start").hidden')
    _start(browser, 'second')
    assert browser.value('answers.length') == 0
    browser.value('document.getElementById("another").click()')
    _start(browser, 'first')
    assert browser.value('answers.map(one => one[1])') == [4]


def test_the_page_fetches_nothing_and_escapes_what_it_says(images, pairs):
    html = _page(images, pairs)
    assert 'http' not in html.replace('http-equiv', '') and 'Shapes &amp; sizes' in html
    assert 'How &#34;similar&#34; are they?' in html


def test_inverted_images_are_negatives(images):
    pairs = sample_pairs(images, ('animate_a1',), 1, seed=0)
    first = images.images[pairs.rows[0, 0]]
    assert rating_page.png_uri(255 - first) in _page(images, pairs, invert=True)
    assert rating_page.png_uri(first) in _page(images, pairs)


def test_the_script_is_short_enough_to_be_read():
    assert len(rating_page._template('rating_page.js').splitlines()) < 200
