"""The page in a real browser."""

import base64
import json

import pytest

pytestmark = pytest.mark.browser
SIZES = {'desktop': (1400, 900), 'phone': (390, 844)}
SCHEMES = ('light', 'dark')
NUMBER = '#headline td a.n'


@pytest.fixture
def opened(whole, browser):
    """`(width, height) -> the browser` with the page in a window of that size, whose faults and requests are kept."""

    def open_page(width=1400, height=900):
        browser.open((whole[3] / 'report.html').as_uri(), width, height)
        return browser

    yield open_page
    browser.call('Emulation.setEmulatedMedia', features=[])
    browser.call('Emulation.setScriptExecutionDisabled', value=False)


def _faults(browser):
    return [
        e['params']
        for e in browser.events
        if e['method'] == 'Runtime.exceptionThrown'
        or (e['method'] == 'Runtime.consoleAPICalled' and e['params']['type'] in ('error', 'warning', 'assert'))
        or (e['method'] == 'Log.entryAdded' and e['params']['entry']['level'] in ('error', 'warning'))
    ]


def _press(browser, key, code):
    text = {'text': '\r'} if key == 'Enter' else {}
    for kind in ('keyDown', 'keyUp'):
        more = text if kind == 'keyDown' else {}
        browser.call('Input.dispatchKeyEvent', type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more)


def _column(browser, table, column):
    rows = f"[...document.querySelectorAll('{table} tbody tr:not(.ceiling)')]"
    return browser.value(f'{rows}.map(row => row.cells[{column}].firstChild.textContent.trim())')


@pytest.mark.parametrize('scheme', SCHEMES)
@pytest.mark.parametrize('size', SIZES.values(), ids=SIZES.keys())
def test_page_opens_without_errors_requests_or_sideways_scrolling(whole, opened, browser, size, scheme):
    browser.call('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}])
    opened(*size)
    assert browser.value('innerWidth') == size[0]
    assert browser.value('document.documentElement.scrollWidth') <= size[0]
    requested = [e['params']['request']['url'] for e in browser.events if e['method'] == 'Network.requestWillBeSent']
    assert requested and all(url.startswith(('file:', 'data:')) for url in requested)
    assert _faults(browser) == []
    n_broken = '[...document.images].filter(image => !image.complete || image.naturalWidth === 0).length'
    assert browser.value('document.images.length') > 5 and browser.value(n_broken) == 0
    paper = browser.value('getComputedStyle(document.body).backgroundColor')
    text = browser.value("getComputedStyle(document.querySelector('.answer svg text')).fill")
    levels = [sum(int(part) for part in colour.strip('rgba()').split(',')[:3]) for colour in (paper, text)]
    assert (levels[0] > 700 and levels[1] < 150) if scheme == 'light' else (levels[0] < 150 and levels[1] > 600)
    shot = browser.call('Page.captureScreenshot', format='png')
    (whole[3] / f'screenshot_{size[0]}_{scheme}.png').write_bytes(base64.b64decode(shot['data']))


@pytest.mark.parametrize('size', SIZES.values(), ids=SIZES.keys())
def test_question_answer_figure_and_four_numbers_are_on_the_first_screen(opened, size):
    browser = opened(*size)
    bottom = 'Math.max(...[...document.querySelectorAll("{}")].map(e => e.getBoundingClientRect().bottom))'
    for part in ('h1', '.said', '.answer svg', '.keys > div'):
        assert 0 < browser.value(bottom.format(part)) <= size[1], part
    assert browser.value('document.querySelectorAll(".keys > div").length') == 4


@pytest.mark.parametrize('size', SIZES.values(), ids=SIZES.keys())
def test_a_click_on_a_number_opens_a_card_that_escape_closes(whole, opened, size):
    browser = opened(*size)
    number = browser.value(f"document.querySelector('{NUMBER}').hash.slice(2)")
    entry = next(entry for entry in whole[0].entries if entry.number == int(number))
    browser.value(f"document.querySelector('{NUMBER}').focus()")
    _press(browser, 'Enter', 13)
    assert browser.value("document.querySelector('#card').matches(':popover-open')") is True
    text = browser.value("document.querySelector('#card').textContent")
    assert f'{entry.model}: {entry.score.name}' in text and entry.score.interval in text
    assert browser.value("document.querySelector('#card').getBoundingClientRect().right") <= size[0]
    assert browser.value('document.activeElement.className') == 'close'
    _press(browser, 'Escape', 27)
    assert browser.value("document.querySelector('#card').matches(':popover-open')") is False
    assert browser.value('document.activeElement.hash') == f'#s{number}'
    assert _faults(browser) == []


def test_a_link_of_a_card_unfolds_the_row_in_the_table(opened):
    browser = opened()
    assert browser.value("document.querySelector('#provenance details').open") is False
    browser.value(f"document.querySelector('{NUMBER}').click()")
    target = browser.value("document.querySelector('#card a').hash")
    # Following a link is done in a later task of the page.
    browser.value("document.querySelector('#card a').click(), new Promise(done => setTimeout(done, 50, true))")
    assert browser.value(f"document.querySelector('{target}').closest('details').open") is True


def test_a_click_on_a_head_sorts_and_a_second_one_turns_the_order_round(opened):
    browser = opened()
    before = _column(browser, '#table-headline', 1)
    browser.value("document.querySelector('#table-headline th:nth-child(2) button').click()")
    down = _column(browser, '#table-headline', 1)
    known = [float(text.replace('−', '-')) for text in down if text != '–']
    assert sorted(down) == sorted(before) and known == sorted(known, reverse=True) and len(known) > 3
    assert '–' not in down[: len(known)]  # what is missing comes last
    browser.value("document.querySelector('#table-headline th:nth-child(2) button').click()")
    up = _column(browser, '#table-headline', 1)
    assert [float(text.replace('−', '-')) for text in up[: len(known)]] == sorted(known)
    assert browser.value("document.querySelector('#table-headline tbody tr:last-child').className").startswith(
        'ceiling'
    )


def test_the_filter_leaves_the_rows_with_its_words(opened):
    browser = opened()
    browser.value("field = document.querySelector('#headline input'), field.value = 'philnet', "
                  "field.dispatchEvent(new Event('input'))")  # fmt: skip
    shown = "[...document.querySelectorAll('#table-headline tbody tr')].filter(row => !row.hidden).length"
    assert browser.value(shown) == 1


def test_the_keyboard_reaches_every_control(opened):
    browser = opened()
    shown = 'e.checkVisibility() && !e.closest("#card") && !e.closest("details:not([open]) > :not(summary)")'
    controls = browser.value(
        "window.wanted = new Set([...document.querySelectorAll('a[href], button, input, summary')]"
        f'.filter(e => {shown})), window.wanted.size'
    )
    assert controls > 100
    browser.value('document.body.tabIndex = -1, document.body.focus()')
    for _ in range(controls + 200):  # scrollable regions and contents take the focus as well
        _press(browser, 'Tab', 9)
        if browser.value('window.wanted.delete(document.activeElement), window.wanted.size') == 0:
            break
    assert browser.value('[...window.wanted].map(e => e.outerHTML)') == []


def test_the_embedded_data_can_be_downloaded(whole, opened, tmp_path):
    browser = opened()
    saved = browser.value(
        'new Promise(done => { URL.createObjectURL = blob => { blob.text().then(done); return "#"; }; '
        'document.getElementById("download").click(); })'
    )
    assert json.loads(saved) == json.loads((whole[3] / 'scores.json').read_text(encoding='utf-8'))


@pytest.mark.parametrize('size', SIZES.values(), ids=SIZES.keys())
def test_without_javascript_everything_can_still_be_read(whole, opened, browser, size):
    browser.call('Emulation.setScriptExecutionDisabled', value=True)
    opened(*size)
    page = browser.call('DOM.getDocument')['root']['nodeId']
    heads = browser.call('DOM.querySelectorAll', nodeId=page, selector='.answer svg text, .said, #headline td a.n')
    assert len(heads['nodeIds']) > 20
    for selector, count in (('#card, thead button, input, #download', 0), ('tr[id^=s]', len(whole[0].entries))):
        assert len(browser.call('DOM.querySelectorAll', nodeId=page, selector=selector)['nodeIds']) == count
    box = browser.call('DOM.getBoxModel', nodeId=heads['nodeIds'][0])['model']
    assert box['height'] > 5 and browser.call('Page.getLayoutMetrics')['cssContentSize']['width'] <= size[0]


def test_the_printed_page_has_no_controls_and_the_whole_headline_table(opened):
    browser = opened()
    browser.call('Emulation.setEmulatedMedia', media='print')
    browser.value("dispatchEvent(new Event('beforeprint'))")
    visible = "[...document.querySelectorAll('{}')].filter(e => e.checkVisibility()).length"
    assert browser.value(visible.format('nav, input, #download, .tools, #card')) == 0
    assert browser.value(visible.format('#table-headline-more')) == 1
    browser.call('Emulation.setEmulatedMedia', media='')


def test_the_screens_say_simulated_first(opened):
    browser = opened(390, 844)
    size = "parseFloat(getComputedStyle(document.querySelector('.simulated h2')).fontSize)"
    assert browser.value(size) >= 26
    assert browser.value("document.querySelector('.simulated').getBoundingClientRect().top") < 100


def test_a_click_on_a_block_of_an_rdm_shows_images_of_both_categories(opened):
    browser = opened()
    cell = "[...document.querySelectorAll('#rdms [data-show]')].find(e => e.dataset.show.includes(' '))"
    browser.value(f"{cell}.querySelector('path').dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
    assert browser.value("document.querySelectorAll('#card img').length") == 2
    names = browser.value(f"{cell}.querySelector('title').textContent").split(':')[0].split(' and ')
    assert all(name in browser.value("document.querySelector('#card').textContent") for name in names)
