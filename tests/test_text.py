import gzip

import pytest

from humalign_jax import text

NAMES = ['café', 'im 02', '日本']


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_lists_read_the_same_in_every_marked_encoding_and_with_every_line_end(tmp_path, encoding, end):
    (tmp_path / 'a.txt').write_bytes(end.join(NAMES).encode(encoding))
    assert text.read_list(tmp_path / 'a.txt', 'id') == NAMES


def test_blanks_around_entries_blank_lines_at_the_end_and_comments_are_left_out(tmp_path):
    (tmp_path / 'a.txt').write_text('# made by hand\nim1 \n\tim2\n#im3\nim4 #1\u00a0\n\n  \n')
    assert text.read_list(tmp_path / 'a.txt', 'id') == ['im1', 'im2', 'im4 #1']


def test_characters_that_end_no_line_do_not_split_entries(tmp_path):
    (tmp_path / 'a.txt').write_text('a\x0bb\nc\u2028d\n', encoding='utf-8')
    assert text.read_list(tmp_path / 'a.txt', 'id') == ['a\x0bb', 'c\u2028d']


@pytest.mark.parametrize(
    ('raw', 'message'),
    [
        (b'a\n\nb\n', r'a\.txt, line 2, is blank, but each line should hold one label'),
        (b'\n# nothing\n', 'line 1, is blank'),
        (b'# nothing\n\n', 'holds no label'),
        (b'', 'holds no label'),
        ('a\ncaf\u00e9\n'.encode('latin-1'), r"line 2, is not utf-8 text .*encoding='latin-1'"),
        ('a\nb\n'.encode('utf-16-le'), r'line 1, holds a zero byte'),
        ('a\nb\n'.encode('utf-16')[:-1], r'is not utf-16 text'),
    ],
)
def test_lists_that_may_lack_an_entry_are_refused_with_the_line(tmp_path, raw, message):
    (tmp_path / 'a.txt').write_bytes(raw)
    with pytest.raises(ValueError, match=message):
        text.read_list(tmp_path / 'a.txt', 'label')


def test_another_encoding_can_be_named(tmp_path):
    (tmp_path / 'a.txt').write_bytes('café\n'.encode('latin-1'))
    assert text.read_list(tmp_path / 'a.txt', 'id', encoding='latin-1') == ['café']
    with pytest.raises(ValueError, match="'klingon' is no encoding"):
        text.read_list(tmp_path / 'a.txt', 'id', encoding='klingon')
    with pytest.raises(ValueError, match=r'none\.txt does not exist: it should hold one label a line'):
        text.read_list(tmp_path / 'none.txt', 'label')


def test_a_compressed_file_is_read_up_to_a_limit(tmp_path, monkeypatch):
    (tmp_path / 'a.csv.gz').write_bytes(gzip.compress(b'a,b\n' * 10))
    assert text.read_text(tmp_path / 'a.csv.gz') == ('a,b\n' * 10, 'utf-8')
    monkeypatch.setattr(text, '_MAX_BYTES', 39)
    with pytest.raises(ValueError, match=r'a\.csv\.gz inflates to more than 39 bytes'):
        text.read_text(tmp_path / 'a.csv.gz')


def test_a_compressed_file_that_is_cut_short_is_named(tmp_path):
    (tmp_path / 'a.csv.gz').write_bytes(gzip.compress(b'a,b\n' * 10)[:-9])
    with pytest.raises(ValueError, match=r'a\.csv\.gz cannot be read'):
        text.read_text(tmp_path / 'a.csv.gz')
