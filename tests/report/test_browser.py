"""The page in a real browser."""

import base64

import pytest

pytestmark = pytest.mark.browser
WIDTHS = {'desktop': 1280, 'phone': 390}


@pytest.mark.parametrize('width', WIDTHS.values(), ids=WIDTHS.keys())
def test_page_opens_without_errors_requests_or_sideways_scrolling(whole, browser, width):
    folder = whole[3]
    browser.open((folder / 'report.html').as_uri(), width)
    assert browser.value('innerWidth') == width
    assert browser.value('document.documentElement.scrollWidth') <= width
    requested = [e['params']['request']['url'] for e in browser.events if e['method'] == 'Network.requestWillBeSent']
    assert requested and all(url.startswith(('file:', 'data:')) for url in requested)
    faults = [
        e['params']
        for e in browser.events
        if e['method'] == 'Runtime.exceptionThrown'
        or (e['method'] == 'Runtime.consoleAPICalled' and e['params']['type'] in ('error', 'warning', 'assert'))
        or (e['method'] == 'Log.entryAdded' and e['params']['entry']['level'] in ('error', 'warning'))
    ]
    assert faults == []
    n_broken = '[...document.images].filter(image => !image.complete || image.naturalWidth === 0).length'
    assert browser.value('document.images.length') > 5 and browser.value(n_broken) == 0
    shot = browser.call('Page.captureScreenshot', format='png', captureBeyondViewport=True)
    (folder / f'screenshot_{width}.png').write_bytes(base64.b64decode(shot['data']))
    assert (folder / f'screenshot_{width}.png').stat().st_size > 20_000


def test_a_number_leads_to_its_row_which_opens(whole, browser):
    browser.open((whole[3] / 'report.html').as_uri(), 1280)
    assert browser.value("document.querySelector('#provenance details').open") is False
    target = browser.value("document.querySelector('#headline td a').hash")
    # Following a link is done in a later task of the page.
    browser.value("document.querySelector('#headline td a').click(), new Promise(done => setTimeout(done, 50, true))")
    opened = f"document.querySelector('{target}').closest('details').open"
    assert browser.value(opened) is True


def test_the_screens_say_simulated_first(whole, browser):
    browser.open((whole[3] / 'report.html').as_uri(), 390)
    size = "parseFloat(getComputedStyle(document.querySelector('.simulated h2')).fontSize)"
    assert browser.value(size) >= 26
    assert browser.value("document.querySelector('.simulated').getBoundingClientRect().top") < 100


@pytest.mark.parametrize(('width', 'height'), [(1400, 900), (390, 844)])
def test_question_answer_figure_and_four_numbers_are_on_the_first_screen(whole, browser, width, height):
    browser.open((whole[3] / 'report.html').as_uri(), width, height)
    bottom = 'Math.max(...[...document.querySelectorAll("{}")].map(e => e.getBoundingClientRect().bottom))'
    for part in ('h1', '.said', '.answer svg', '.keys > div'):
        assert 0 < browser.value(bottom.format(part)) <= height, part
    assert browser.value('document.querySelectorAll(".keys > div").length') == 4
