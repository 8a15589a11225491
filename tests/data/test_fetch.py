"""Fetching from a server of this machine: cut, resumed, redirected, changed, wrong and existing files, and licences."""

import dataclasses
import hashlib
import http.server
import io
import json
import pathlib
import shutil
import tarfile
import threading

import numpy as np
import pytest

from humalign_jax import storage
from humalign_jax.cli import command, fetching
from humalign_jax.data import fetch, load_mnist

CONTENT = np.random.default_rng(0).bytes(5000)
ROOT = pathlib.Path(__file__).parents[2]


class Site:
    """What the server offers, and what it was asked for.

    Attributes:
        files: Content by address.
        tag: ETag of all files; '' for none.
        ranges: Whether it answers to Range.
        cuts: After how many bytes each of the next answers is cut.
        asked: Address and headers of each request.
    """

    def __init__(self):
        self.files, self.tag, self.ranges, self.cuts, self.asked = {}, '"first"', True, [], []
        self.content_type = 'application/octet-stream'


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        site = self.server.site
        site.asked.append((self.path, dict(self.headers)))
        if self.path.startswith('/moved/'):
            self.send_response(302)
            self.send_header('Location', self.path.removeprefix('/moved'))
            self.end_headers()
            return
        if self.path not in site.files:
            self.send_error(404)
            return
        content, start = site.files[self.path], 0
        wanted = self.headers.get('Range')
        if wanted and site.ranges and self.headers.get('If-Range') == site.tag:
            start = int(wanted.removeprefix('bytes=').rstrip('-'))
            if start >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header('Content-Type', site.content_type)
        self.send_header('Content-Length', str(len(content) - start))
        if site.tag:
            self.send_header('ETag', site.tag)
        if start:
            self.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
        self.end_headers()
        end = site.cuts.pop(0) if site.cuts else len(content)
        self.wfile.write(content[start:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def site(monkeypatch):
    """A server on the loopback interface; `site.address` is where it listens."""
    monkeypatch.setenv('no_proxy', '*')
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Handler)
    server.site = site = Site()
    site.address = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def get(site, tmp_path):
    """Fetches the file `/a.bin` of the site; its SHA-256 is that of `CONTENT` unless another one is given."""
    site.files['/a.bin'] = CONTENT

    def run(place='/a.bin', **changes):
        sum_ = hashlib.sha256(CONTENT).hexdigest()
        file = fetch.Download(site.address + place, 'sub/a.bin', len(CONTENT), sum_, 'here', None)
        file = dataclasses.replace(file, **changes)
        return fetch.fetch(_dataset(file), file, tmp_path, wait_seconds=0.0)

    return run


def _dataset(*files):
    return fetch.Dataset('toy', 'a toy', 'third_party/toy', 'CC0', 'Nobody (2026)', tuple(files))


def _left(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def test_a_file_is_fetched_verified_and_recorded_with_its_licence(get, tmp_path, site):
    assert get() == 'fetched, SHA-256 as published'
    assert (tmp_path / 'sub/a.bin').read_bytes() == CONTENT and _left(tmp_path) == ['fetched.json', 'sub/a.bin']
    record = storage.read_json(tmp_path / 'fetched.json')['sub/a.bin']
    assert record['licence'] == 'CC0' and record['sha256'] == hashlib.sha256(CONTENT).hexdigest()
    assert record['url'] == site.address + '/a.bin' and record['published_sum'] == record['sha256']


def test_a_cut_connection_is_continued_from_where_it_was_cut(get, tmp_path, site):
    site.cuts = [1200, 3000]
    get()
    assert (tmp_path / 'sub/a.bin').read_bytes() == CONTENT
    assert [headers.get('Range') for _, headers in site.asked] == [None, 'bytes=1200-', 'bytes=3000-']
    assert all(headers['If-Range'] == '"first"' for _, headers in site.asked[1:])


def test_a_later_call_goes_on_with_a_part(get, tmp_path, site):
    site.cuts = [100, 200, 300, 400]
    with pytest.raises(ValueError, match=r'cut after 400 of 5000 bytes\. 400 bytes are in .*a\.bin\.part'):
        get()
    assert not (tmp_path / 'sub/a.bin').exists() and (tmp_path / 'sub/a.bin.part').stat().st_size == 400
    get()
    assert site.asked[-1][1]['Range'] == 'bytes=400-' and (tmp_path / 'sub/a.bin').read_bytes() == CONTENT
    assert _left(tmp_path) == ['fetched.json', 'sub/a.bin']


def _cut(get, site, n_bytes):
    """Leaves a part of so many bytes."""
    site.cuts = [n_bytes] * 4
    with pytest.raises(ValueError, match='cut after'):
        get()
    site.asked.clear()


@pytest.mark.parametrize('change', ['no ranges', 'another file', 'no validator', 'shorter'])
def test_a_part_that_cannot_be_continued_is_begun_again(get, tmp_path, site, change):
    if change == 'no validator':
        site.tag = ''
    _cut(get, site, 700)
    if change == 'no ranges':
        site.ranges = False
    elif change == 'another file':  # under another tag
        (tmp_path / 'sub/a.bin.part').write_bytes(bytes(700))
        site.tag = '"second"'
    elif change == 'shorter':  # 416: the part is longer than the file
        with open(tmp_path / 'sub/a.bin.part', 'ab') as file:
            file.write(bytes(6000))
    get()
    assert (tmp_path / 'sub/a.bin').read_bytes() == CONTENT
    assert site.asked[-1][1].get('Range') == (None if change in ('no validator', 'shorter') else 'bytes=700-')


def test_a_whole_part_is_verified_without_another_request(get, tmp_path, site):
    _cut(get, site, 700)
    (tmp_path / 'sub/a.bin.part').write_bytes(CONTENT)
    get()
    assert site.asked == [] and (tmp_path / 'sub/a.bin').read_bytes() == CONTENT


def test_a_redirection_is_followed_and_a_part_continued_through_it(get, tmp_path, site):
    site.cuts = [1200]
    get('/moved/a.bin')
    assert [(place, headers.get('Range')) for place, headers in site.asked] == [
        ('/moved/a.bin', None),
        ('/a.bin', None),
        ('/moved/a.bin', 'bytes=1200-'),
        ('/a.bin', 'bytes=1200-'),
    ]
    assert (tmp_path / 'sub/a.bin').read_bytes() == CONTENT


def test_an_encrypted_address_that_leads_to_an_open_one_is_refused(get, tmp_path, monkeypatch):
    answer = io.BytesIO(CONTENT)
    answer.url, answer.status, answer.headers = 'http://elsewhere/a.bin', 200, {}
    monkeypatch.setattr(fetch.urllib.request, 'urlopen', lambda *_, **__: answer)
    with pytest.raises(ValueError, match=r'http://elsewhere/a\.bin, which is not encrypted'):
        get(url='https://here/a.bin')
    assert _left(tmp_path) == []


def test_a_file_that_is_there_and_right_is_not_fetched(get, tmp_path, site):
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'sub/a.bin').write_bytes(CONTENT)
    assert get() == 'already there, SHA-256 as expected' and site.asked == []


def test_another_file_in_its_place_is_neither_replaced_nor_lost(get, tmp_path, site):
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'sub/a.bin').write_bytes(b'mine')
    with pytest.raises(ValueError, match=r'a\.bin is there, but is not the published file.*move it away'):
        get()
    assert (tmp_path / 'sub/a.bin').read_bytes() == b'mine' and site.asked == []


@pytest.mark.parametrize('change', ['content', 'length'])
def test_wrong_content_is_set_aside_and_nothing_else_is_lost(get, tmp_path, site, change):
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'sub/other.bin').write_bytes(b'mine')
    site.files['/a.bin'] = wrong = bytes(5000) if change == 'content' else CONTENT[:-1]
    with pytest.raises(ValueError, match=r'is not the expected file: .* set aside as .*a\.bin\.refused'):
        get()
    assert _left(tmp_path) == ['sub/a.bin.refused', 'sub/other.bin']
    assert (tmp_path / 'sub/a.bin.refused').read_bytes() == wrong
    site.files['/a.bin'] = CONTENT
    assert get() == 'fetched, SHA-256 as published'


def test_without_a_published_sum_the_first_download_is_trusted_and_later_ones_must_equal_it(get, tmp_path, site):
    sum_ = hashlib.sha256(CONTENT).hexdigest()
    assert get(sha256=None, bytes=None) == f'fetched, no SHA-256 is published; it is {sum_}'
    assert storage.read_json(tmp_path / 'fetched.json')['sub/a.bin']['published_sum'] is None
    (tmp_path / 'sub/a.bin').unlink()
    site.files['/a.bin'] = bytes(5000)
    with pytest.raises(ValueError, match=rf'expected any number of bytes with {sum_}.*fetched\.json remembers'):
        get(sha256=None, bytes=None)
    (tmp_path / 'sub/a.bin').write_bytes(b'changed later')
    with pytest.raises(ValueError, match='is not the published file'):
        get(sha256=None, bytes=None)


def test_of_a_sum_only_the_published_digits_are_compared_and_then_those_of_the_first_download(get, tmp_path, site):
    digits = hashlib.sha256(CONTENT).hexdigest()[:8]
    assert get(sha256=digits) == 'fetched, first 8 digits of SHA-256 as published'
    assert get(sha256=digits) == 'already there, SHA-256 as expected'
    (tmp_path / 'sub/a.bin').unlink()
    site.files['/a.bin'] = bytes(5000)
    with pytest.raises(ValueError, match=r'fetched\.json remembers'):
        get(sha256=digits)


def test_a_web_page_in_place_of_a_file_without_a_sum_is_refused(get, tmp_path, site):
    site.content_type = 'text/html; charset=utf-8'
    with pytest.raises(ValueError, match=r'is a web page in place of sub/a\.bin'):
        get(sha256=None, bytes=None)
    assert _left(tmp_path) == []


def test_a_missing_address_and_an_absent_server_are_told(get, site, tmp_path):
    with pytest.raises(ValueError, match=r'/none answered 404 \(Not Found\)'):
        get('/none')
    with pytest.raises(ValueError, match=r'Connection refused.*needs internet, which compute nodes rarely have'):
        get(url='http://127.0.0.1:9/a.bin')


def test_too_little_space_is_told_before_anything_is_asked(get, site, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: type('Usage', (), {'free': 4999}))
    with pytest.raises(ValueError, match='make space, or choose another --root'):
        get()
    assert site.asked == []


def _archive(**members):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode='w:gz') as tar:
        for name, value in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(value)
            tar.addfile(info, io.BytesIO(value))
    return content.getvalue()


def _get_archive(site, root, content):
    site.files['/a.tar.gz'] = content
    sum_ = hashlib.sha256(content).hexdigest()
    file = fetch.Download(site.address + '/a.tar.gz', 'a.tar.gz', len(content), sum_, 'here', 'batches')
    return fetch.fetch(_dataset(file), file, root)


def test_an_archive_is_unpacked_where_loaders_look(site, tmp_path):
    content = _archive(**{'batches/one': b'1', 'batches/two': b'22'})
    assert 'unpacked to' in _get_archive(site, tmp_path, content)
    assert _left(tmp_path) == ['a.tar.gz', 'batches/one', 'batches/two', 'fetched.json']
    assert 'is as in the archive' in _get_archive(site, tmp_path, content)
    (tmp_path / 'batches/two').write_bytes(b'other')
    with pytest.raises(ValueError, match=r'differs from a\.tar\.gz in two.*Move it away'):
        _get_archive(site, tmp_path, content)
    assert (tmp_path / 'batches/two').read_bytes() == b'other'


@pytest.mark.parametrize('name', ['../evil', '/evil', 'batches/../../evil'])
def test_an_archive_that_leaves_its_folder_is_not_unpacked(site, tmp_path, name):
    root = tmp_path / 'root'
    content = _archive(**{'batches/one': b'1', name: b'evil'})
    if name == '/evil':  # the filter of tarfile makes it relative
        _get_archive(site, root, content)
        assert not pathlib.Path('/evil').exists()
        return
    with pytest.raises(ValueError, match='cannot be unpacked safely'):
        _get_archive(site, root, content)
    assert _left(tmp_path) == ['root/a.tar.gz', 'root/fetched.json']


@pytest.fixture
def call(site, tmp_path, capsys, monkeypatch):
    """Carries out `humalign fetch` on a table with one dataset of the site; gives status and what it printed."""
    site.files['/a.bin'] = CONTENT
    file = fetch.Download(site.address + '/a.bin', 'a.bin', 5000, hashlib.sha256(CONTENT).hexdigest(), 'here', None)
    monkeypatch.setattr(fetch, 'read_table', lambda: ({'toy': _dataset(file)}, {'nsd': 'only after agreeing'}))
    monkeypatch.setattr(command.interrupts, 'end_at_once', lambda: None)

    def run(*arguments):
        status = 0
        try:
            command.main(['fetch', *arguments, '--root', str(tmp_path)])
        except SystemExit as leaving:
            status = leaving.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_a_licence_that_is_not_acknowledged_stops_before_any_request(call, site, tmp_path):
    status, out, err = call('toy')
    assert status == 2 and 'licence: CC0' in out and 'cite: Nobody (2026)' in out
    assert 'Add --accept-licence toy' in err and site.asked == [] and _left(tmp_path) == []


def test_an_acknowledged_licence_is_enough_once(call, site, tmp_path):
    status, out, err = call('toy', '--accept-licence', 'toy')
    assert status == 0 and f'{tmp_path}/a.bin: fetched, SHA-256 as published' in out, err
    status, out, _ = call('toy')
    assert status == 0 and out == f'{tmp_path}/a.bin: already there, SHA-256 as expected\n' and len(site.asked) == 1


@pytest.mark.parametrize('answer', ['y', 'Yes', 'n', ''])
def test_on_a_terminal_the_licence_is_asked_for(call, tmp_path, answer):
    asked = []

    def ask(question):
        asked.append(question)
        return answer

    def get():
        fetching.get(['toy'], root=str(tmp_path), accepted=[], ask=ask)

    if answer.lower() in ('y', 'yes'):
        get()
    else:
        with pytest.raises(ValueError, match='was not acknowledged'):
            get()
    assert (tmp_path / 'a.bin').exists() == (answer.lower() in ('y', 'yes')) and len(asked) == 1


def test_what_cannot_be_fetched_is_told_with_the_reason(call):
    assert 'nsd is not fetched: only after agreeing (third_party/nsd/README.md)' in call('nsd')[2]
    assert "nothing to fetch named 'tpy'. Did you mean 'toy'?" in call('tpy')[2]


def test_without_a_name_everything_is_listed_with_size_and_licence(call):
    status, out, _ = call()
    assert status == 0 and 'toy  a toy; 0.005 MB; licence: CC0' in out and 'nsd  only after agreeing' in out


def test_the_table_and_the_folders_of_third_party_agree():
    datasets, by_hand = fetch.read_table()
    folders = {path.parent.name for path in (ROOT / 'third_party').glob('*/README.md')}
    assert {pathlib.Path(dataset.folder).name for dataset in datasets.values()} | set(by_hand) == folders
    for dataset in datasets.values():
        text = (ROOT / dataset.folder / 'README.md').read_text()
        assert f'humalign fetch {dataset.name}' in text
        for file in dataset.files:
            assert file.url.startswith('https://') and not pathlib.PurePath(file.path).is_absolute()
            assert pathlib.PurePath(file.path).name in text
            assert file.sha256 is None or file.sha256 in text, file.path


@pytest.mark.data
def test_real_files_have_the_sums_of_the_table_and_are_found_by_loaders(site, real_data, tmp_path):
    datasets, _ = fetch.read_table()
    places = {path.name: path for path in real_data.rglob('*') if path.is_file()}
    n_got = 0
    for name in ('mnist', 'cifar10_resnets', 'digitnet'):
        for file in datasets[name].files:
            if (path := places.get(pathlib.PurePath(file.path).name)) is not None:
                site.files[f'/{path.name}'] = path.read_bytes()
                served = dataclasses.replace(file, url=f'{site.address}/{path.name}')
                assert fetch.fetch(datasets[name], served, tmp_path) == 'fetched, SHA-256 as published'
                n_got += 1
    assert n_got == 6  # the training images of MNIST are there in another form
    assert load_mnist('test', root=str(tmp_path)).images.shape == (10_000, 28, 28, 1)
    assert len(json.loads((tmp_path / fetch.RECORDS).read_text())) == 6
