import numpy as np
import pytest

from humalign_jax.rsa import files
from humalign_jax.rsa.formats.csv_file import CsvFormat, read_csv

X = np.random.default_rng(0).normal(size=(5, 4))
WORDS = ['im3', 'im1', 'im0', 'im2', 'im4']
NUMBERS = ['1003', '1001', '1000', '1002', '1004']
ROWS = ['0', '1', '2', '3', '4']
MADE_UP = None


def table(values=X, index=None, corner='', names=None, separator=',', decimal='.', end='\n'):
    """What pandas' to_csv writes: names of columns unless None, an index unless None."""
    lines = [] if names is None else [[*([] if index is None else [corner]), *names]]
    for i, row in enumerate(values):
        numbers = ['' if np.isnan(x) else repr(float(x)).replace('.', decimal) for x in row]
        lines.append([*([] if index is None else [index[i]]), *numbers])
    return end.join([*(separator.join(line) for line in lines), ''])


def read(tmp_path, content, encoding='utf-8', **options):
    path = tmp_path / 'a.csv'
    path.write_bytes(content.encode(encoding))
    return read_csv(path, **options)


@pytest.mark.parametrize(
    ('index', 'corner', 'ids'),
    [
        (ROWS, '', MADE_UP),
        (ROWS, 'index', MADE_UP),
        (ROWS, 'image_id', ROWS),
        (WORDS, '', WORDS),
        (WORDS, 'anything', WORDS),
        (NUMBERS, '', NUMBERS),
        (NUMBERS, 'stimulus', NUMBERS),
        (['01_08', '02_09', '03_10', '04_11', '05_12'], 'image_id', ['01_08', '02_09', '03_10', '04_11', '05_12']),
        (['007', '070', '700', '08', '9'], 'id', ['007', '070', '700', '08', '9']),
        (['7.0', '3.0', '5.0', '1.0', '9.0'], 'id', ['7', '3', '5', '1', '9']),
    ],
)
@pytest.mark.parametrize('names', [list('abcd'), list('0123')], ids=['text', 'numbers'])
def test_values_and_ids_of_tables_as_pandas_writes_them(tmp_path, index, corner, ids, names):
    found = read(tmp_path, table(index=index, corner=corner, names=names))
    np.testing.assert_array_equal(found.values, X)
    assert found.ids is None if ids is None else list(found.ids) == ids


def test_a_table_without_ids_has_none(tmp_path):
    found = read(tmp_path, table(index=None, corner='', names=list('abcd')))
    np.testing.assert_array_equal(found.values, X)
    assert found.ids is None


def test_a_line_of_numbers_above_a_table_without_ids_is_refused_until_told(tmp_path):
    content = table(index=None, corner='', names=list('0123'))
    with pytest.raises(
        ValueError, match=r'line 1, .*may name the columns or be a stimulus: .*CsvFormat\(header=True\)'
    ):
        read(tmp_path, content)
    np.testing.assert_array_equal(read(tmp_path, content, told=CsvFormat(header=True)).values, X)


@pytest.mark.parametrize(('separator', 'decimal'), [(s, d) for s in ',;\t| ' for d in '.,' if s != d])
@pytest.mark.parametrize('index', [None, WORDS])
def test_separator_and_decimal_mark_are_found(tmp_path, separator, decimal, index):
    content = table(index=index, corner='id', names=list('abcd'), separator=separator, decimal=decimal)
    found = read(tmp_path, content)
    np.testing.assert_array_equal(found.values, X)
    assert (found.found['separator'], found.found['decimal'], found.found['header']) == (separator, decimal, True)
    np.testing.assert_array_equal(read(tmp_path, content.partition('\n')[2]).values, X)  # without the header


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_encoding_and_line_ends_are_found(tmp_path, encoding, end):
    index = [f'é{i}' for i in range(5)]
    found = read(tmp_path, table(index=index, names=list('abcd'), end=end), encoding)
    np.testing.assert_array_equal(found.values, X)
    assert list(found.ids) == index
    assert found.found['encoding'] == encoding


@pytest.mark.parametrize(
    ('content', 'values', 'ids'),
    [
        ('id,a\n"im, 1","0.5"\n"im ""2""",1\n', [[0.5], [1]], ['im, 1', 'im "2"']),  # quoted cells
        ('id,a\nx,"1,5"\ny,"2,25"\n', [[1.5], [2.25]], ['x', 'y']),
        ('a,b\nx,1.5,2\ny,2.5,3\n', [[1.5, 2], [2.5, 3]], ['x', 'y']),  # R leaves the corner out
        ('sep=;\nid;a\nx;1,5\ny;2,5\n', [[1.5], [2.5]], ['x', 'y']),  # Excel
        ('# by hand\n# 1 2\nid,a\nx,1.5\ny,2.5\n# end\n', [[1.5], [2.5]], ['x', 'y']),
        ('# a,b\n1.5e0,2e-1\n.5,-inf\n', [[1.5, 0.2], [0.5, -np.inf]], MADE_UP),  # np.savetxt
        ('a,b,stimulus\n1.5,2,x\n2.5,3,y\n', [[1.5, 2], [2.5, 3]], ['x', 'y']),  # ids stand last
        (',stimulus,0,1\n0,x,1.5,2\n1,y,2.5,3\n', [[1.5, 2], [2.5, 3]], ['x', 'y']),  # beside pandas' index
        ('stimulus,category,a\nx,cat,1.5\ny,cat,2.5\n', [[1.5], [2.5]], ['x', 'y']),
        ('id, a\nx, 1.5\n\ny, 2.5\n', [[1.5], [2.5]], ['x', 'y']),
        ('a,b\n0.5,\nNA,2\nnan,3\n', [[0.5, np.nan], [np.nan, 2], [np.nan, 3]], MADE_UP),
        ('a,b\n,0.5\n1,2\n', [[np.nan, 0.5], [1, 2]], MADE_UP),  # a missing first value
    ],
)
def test_other_programs_tables_are_read(tmp_path, content, values, ids):
    found = read(tmp_path, content)
    np.testing.assert_array_equal(found.values, values)
    assert found.ids is None if ids is None else list(found.ids) == ids


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('a,b,c\n1,2,3\n4,5\n6,7,8\n', r'a\.csv, line 3, has 2 columns where others have 3'),
        ('a,b,c\n1,2,3\n4,x,6\n', r"line 3, column 2 \('b'\): 'x' is no number"),
        ('1.5,2\nx,5\n4,6\n', r"line 2, column 1: 'x' is no number \(ids_key=... says which column holds ids\)"),
        ('id,a,b\nx,1,2\nid,a,b\ny,1,2\n', r"line 3, column 2 \('a'\): 'a' is no number"),
        ('id;a\nx;1.500,5\ny;2.500,1\n', r"line 2, column 2 \('a'\): '1.500,5' is no number"),
        ('id;a\nx;1.5\ny;2,5\n', r"line 3, column 2 \('a'\): '2,5' is no number where others have '.' as decimal"),
        ('id;a\nx;1,500\ny;2,500\n', r"line 2, .*'1,500' may be a fraction or thousands: .*decimal=','"),
        ('id,a\nx,12%\ny,13%\n', "'12%' is no number"),
        ('id,a\nx,1\n,2\n', r"line 3, column 1 \('id'\): the stimulus id is empty"),
        ('id,a\n0.5,1\n1.5,2\n', "'0.5' is no stimulus id"),
        ('id,a\nx,1\n,\n', r'line 3, column 1 .*holds separators only'),
        ('a,b,\n1.5,2,\n2.5,3,\n', 'line 2, column 3: the column is empty'),
        ('a,b\n"1.5,2\n2.5,3\n', 'line 3: unexpected end of data; see its quotation marks'),
        ('id,a\n#1,1.5\ny,2.5\n', 'line 2, begins with #'),
        ('id,a\n', 'has a header, but no line of numbers'),
        ('', 'holds no line of numbers'),
        ('id\nx\ny\n', 'has no column of numbers beside the ids'),
        # Ambiguous: each message names the option that settles it.
        ('0,1\n3,4\n5,6\n', r'line 1, .*may name the columns or be a stimulus: .*CsvFormat\(header=True\)'),
        (',0.5\n1.5,2\n', r'line 1, .*may name the columns or be a stimulus'),
        ('1001,1003\n0.5,0.25\n1.5,0.75\n', r'line 1, .*may name the columns or be a stimulus'),
        ('0.5,x\n1.5,2\n', r"line 1, column 2: 'x' is no number, but other cells of the line are"),
        ('nr,a\n7,0.5\n3,1.5\n5,2.5\n', r"column 1 \('nr'\) holds a different whole .*ids_key='nr'.*ids_key='none'"),
        ('7,0.5\n3,1.5\n5,2.5\n', "column 1 holds a different whole number .*ids_key='1'"),
        ('a,b,c\nx,u,1\ny,v,2\n', r"column 1 \('a'\), column 2 \('b'\) may hold stimulus ids"),
        ('kind,a\ncat,1\ncat,2\n', r"column 1 \('kind'\) holds text that occurs more than once"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_line_and_column(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, content)
    assert 'a.csv' in str(caught.value)


def test_another_encoding_is_refused_with_its_line(tmp_path):
    content = table(index=['a', 'b', 'é', 'd', 'e'], names=list('abcd'))
    with pytest.raises(ValueError, match=r'a\.csv, line 4, is not utf-8'):
        read(tmp_path, content, 'latin-1')
    assert read(tmp_path, content, 'latin-1', told=CsvFormat(encoding='latin-1')).ids[2] == 'é'


def test_what_is_told_is_not_looked_for(tmp_path):
    for told, values in ((True, [[3, 4], [5, 6]]), (False, [[0, 1], [3, 4], [5, 6]])):
        np.testing.assert_array_equal(read(tmp_path, '0,1\n3,4\n5,6\n', told=CsvFormat(header=told)).values, values)
    content = 'nr,a\n7,0.5\n3,1.5\n5,2.5\n'
    for key in ('nr', '1'):
        assert list(read(tmp_path, content, ids_key=key).ids) == ['7', '3', '5']
    np.testing.assert_array_equal(read(tmp_path, content, ids_key='none').values, [[7, 0.5], [3, 1.5], [5, 2.5]])
    found = read(tmp_path, 'a,b,c\nx,u,1\ny,v,2\n', ids_key='b')
    assert (list(found.ids), found.found['left_out']) == (['u', 'v'], ["column 1 ('a')"])
    assert read(tmp_path, 'id;a\nx;1,500\ny;2,500\n', told=CsvFormat(decimal=',')).values[0] == 1.5
    with pytest.raises(ValueError, match=r"no column 'z' for ids; its columns have 'a', 'b'"):
        read(tmp_path, 'a,b\n1.5,2\n', ids_key='z')
    with pytest.raises(ValueError, match="separator must be one of ',', ';'"):
        CsvFormat(separator=':')
    with pytest.raises(ValueError, match=r"decimal must be '\.' or ','"):
        CsvFormat(decimal=';')


SQUARE = np.array([[0, 0.5, 0.25], [0.5, 0, 2], [0.25, 2, 0]])


@pytest.mark.parametrize(
    ('index', 'names', 'ids'),
    [
        (None, None, MADE_UP),
        (None, ['0', '1', '2'], MADE_UP),
        (['0', '1', '2'], ['0', '1', '2'], MADE_UP),
        (['0', '1', '2'], None, MADE_UP),
        (None, ['V1', 'V2', 'V3'], MADE_UP),
        (['u', 'v', 'w'], ['u', 'v', 'w'], ['u', 'v', 'w']),
        (['u', 'v', 'w'], ['V1', 'V2', 'V3'], ['u', 'v', 'w']),
        (['u', 'v', 'w'], None, ['u', 'v', 'w']),
        (None, ['u', 'v', 'w'], ['u', 'v', 'w']),
        (['9', '4', '7'], ['9', '4', '7'], ['9', '4', '7']),
        (['9', '4', '7'], None, ['9', '4', '7']),
    ],
)
def test_square_rdms_know_header_and_ids_by_their_shape(tmp_path, index, names, ids):
    (tmp_path / 'a.csv').write_text(table(SQUARE, index=index, names=names))
    rdm = files.load_rdm(tmp_path / 'a.csv')
    np.testing.assert_array_equal(rdm.values, [0.5, 0.25, 2])
    assert rdm.provenance['ids'] == ('made up' if ids is None else 'file')
    assert ids is None or list(rdm.ids) == ids


def test_rdms_with_rows_and_columns_in_different_orders_are_refused(tmp_path):
    (tmp_path / 'a.csv').write_text(table(np.zeros((3, 3)), index=['u', 'v', 'w'], names=['v', 'u', 'w']))
    with pytest.raises(ValueError, match=r"line 2, column 2 \('v'\): rows and columns are in different orders: 'u'"):
        files.load_rdm(tmp_path / 'a.csv')


def test_records_say_how_their_table_was_written(tmp_path):
    (tmp_path / 'a.csv').write_text(table(index=WORDS, corner='image', names=list('abcd'), separator=';', decimal=','))
    said = files.load_features(tmp_path / 'a.csv').provenance
    assert (said['ids'], said['ids_key']) == ('file', "column 1 ('image')")
    assert said['csv'] == {
        'separator': ';',
        'decimal': ',',
        'header': True,
        'encoding': 'utf-8',
        'ids': "column 1 ('image')",
        'left_out': [],
    }
