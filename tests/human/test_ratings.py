"""Tables of similarity ratings: what they say is read, and what cannot be is refused with its line."""

import gzip

import numpy as np
import pytest

from humalign_jax.human.course_ratings import load_course_ratings
from humalign_jax.human.ratings import read_images, read_ratings, write_ratings

HEADER = 'pair_id,digit,test_idx_a,test_idx_b,rater_id,rating'
ROWS = ('8-01,8,61,84,ann,3', '8-02,8,110,128,ann,10', '8-01,8,61,84,bob,4', '8-02,8,110,128,bob,')


@pytest.fixture
def write(tmp_path):
    def write(*lines, name='table.csv'):
        path = tmp_path / name
        content = '\n'.join(lines).encode() + b'\n'
        path.write_bytes(gzip.compress(content) if name.endswith('.gz') else content)
        return path

    return write


@pytest.mark.parametrize('name', ['table.csv', 'table.csv.gz'])
def test_a_table_is_read_as_it_stands(write, name):
    found = read_ratings(write(HEADER, *ROWS, name=name))
    assert found.pairs.tolist() == ['8-01', '8-02'] and found.raters.tolist() == ['ann', 'bob']
    assert found.ids_a.tolist() == ['mnist/test/00061', 'mnist/test/00110']
    assert found.ids_b.tolist() == ['mnist/test/00084', 'mnist/test/00128']
    assert found.categories.tolist() == ['8', '8'] and found.name == 'table'
    np.testing.assert_array_equal(found.values, [[3, 10], [4, np.nan]])


def test_tables_of_several_raters_are_one_set_whatever_their_order(write):
    one, other = write(HEADER, *ROWS[:2], name='ann.csv'), write(HEADER, ROWS[3], ROWS[2], name='bob.csv')
    whole = read_ratings(write(HEADER, *ROWS), name='people')
    for paths in ([one, other], [other, one]):
        found = read_ratings(paths, name='people')
        np.testing.assert_array_equal(found.values, whole.values)
        assert found.pairs.tolist() == whole.pairs.tolist() and found.raters.tolist() == whole.raters.tolist()


def test_pairs_and_raters_are_sorted_as_people_count(write):
    lines = [f'p{pair},8,{pair},{pair + 50},r{rater},5' for pair in (10, 2) for rater in (11, 9)]
    found = read_ratings(write(HEADER, *lines))
    assert found.pairs.tolist() == ['p2', 'p10'] and found.raters.tolist() == ['r9', 'r11']


@pytest.mark.parametrize(
    'lines',
    [
        (HEADER.replace(',', ';'), *(row.replace(',', ';') for row in ROWS)),
        (HEADER.replace(',', '\t'), *(row.replace(',', '\t') for row in ROWS)),
        ('\ufeff' + HEADER, '', *ROWS, ',,,,,'),
        (f'note,{HEADER}', *(f'"one, two",{row}' for row in ROWS)),
        (HEADER, *(row.replace('61,', '61.0,') for row in ROWS)),
    ],
    ids=['semicolons', 'tabs', 'mark and blank lines', 'further column', 'numbers of pandas'],
)
def test_the_same_table_written_otherwise_reads_the_same(write, lines):
    plain, other = read_ratings(write(HEADER, *ROWS)), read_ratings(write(*lines, name='other.csv'))
    np.testing.assert_array_equal(other.values, plain.values)
    assert other.ids_a.tolist() == plain.ids_a.tolist()


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('8-03,8,5,6,ann,11', "line 6: rating is '11', where a whole number from 1 to 10 is expected"),
        ('8-03,8,5,6,ann,0', "line 6: rating is '0'"),
        ('8-03,8,5,6,ann,3.5', "line 6: rating is '3.5'"),
        ('8-03,8,5,6,ann,often', "line 6: rating is 'often'"),
        ('8-03,8,5.5,6,ann,3', "line 6: test_idx_a is '5.5', where a whole number, 0 or more is expected"),
        ('8-03,8,5,-6,ann,3', "line 6: test_idx_b is '-6'"),
        ('8-03,8,5,,ann,3', 'line 6: test_idx_b is empty'),
        ('8-03,8,5,6,,3', 'line 6: rater_id is empty'),
        ('8-03,8,5,6,ann', 'line 6 has 5 cells where the header has 6'),
        ('8-01,8,61,84,ann,3', "line 6: rater 'ann' rates pair '8-01' twice, first in .*table.csv, line 2"),
        ('8-01,8,61,85,cat,3', r"line 6: pair '8-01' is 8 \(mnist/test/00061, mnist/test/00085\) here, but .* line 2"),
        ('8-01,7,61,84,cat,3', "line 6: pair '8-01' is 7 .* here, but 8 .* line 2"),
        ('8-03,8,5,6,"ann,3', 'line 6, is no line of a table'),
    ],
)
def test_a_bad_line_is_named(write, line, message):
    with pytest.raises(ValueError, match=message):
        read_ratings(write(HEADER, *ROWS, line))


@pytest.mark.parametrize(
    ('header', 'message'),
    [
        ('pair_id,digit,test_idx_a,rater,rating', 'lacks the columns rater_id, test_idx_a, test_idx_b; it has pair_id'),
        ('', 'lacks the columns'),
        (f'{HEADER},rating', "has two columns 'rating'"),
        (f'{HEADER},stimulus_a,stimulus_b', 'names the images in two ways, test_idx_a and stimulus_a'),
    ],
)
def test_a_header_that_does_not_fit_is_named(write, header, message):
    with pytest.raises(ValueError, match=message):
        read_ratings(write(header, *ROWS))


def test_an_unknown_encoding_is_named_and_can_be_told(tmp_path):
    path = tmp_path / 'table.csv'
    path.write_bytes(f'{HEADER}\n8-01,8,61,84,Zoë,3\n'.encode('latin-1'))
    with pytest.raises(ValueError, match=r'line 2, is not utf-8 text .* encoding='):
        read_ratings(path)
    assert read_ratings(path, encoding='latin-1').raters.tolist() == ['Zoë']


@pytest.mark.parametrize(('content', 'message'), [(b'', 'lacks the columns'), (b'\x1f\x8b rest', 'cannot be read')])
def test_an_empty_or_damaged_file_is_named(tmp_path, content, message):
    path = tmp_path / 'table.csv.gz'
    path.write_bytes(content or gzip.compress(b''))
    with pytest.raises(ValueError, match=message):
        read_ratings(path)


def test_a_table_without_ratings_is_refused(write):
    with pytest.raises(ValueError, match='holds no rating'):
        read_ratings(write(HEADER, '8-01,8,61,84,ann,'))


@pytest.mark.parametrize('name', ['back.csv', 'back.csv.gz'])
def test_what_is_written_reads_back(tmp_path, write, name):
    lines = (HEADER, '8-01,8,61,84,"a, ""b""",3', '8-02,8,110,128,c,4')
    for ratings in (read_ratings(write(*lines)), load_course_ratings()):
        write_ratings(tmp_path / name, ratings)
        back = read_ratings(tmp_path / name)
        np.testing.assert_array_equal(back.values, ratings.values)
        for field in ('pairs', 'ids_a', 'ids_b', 'categories', 'raters'):
            assert getattr(back, field).tolist() == getattr(ratings, field).tolist()


def _own(tmp_path, write, **changes):
    table = write(
        'pair_id,digit,source_index_a,source_index_b,rater_id,rating', '1,7,900,30,r1,3', '2,8,40,70,r1,4', name='o.csv'
    )
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 5, 5), np.uint8)
    arrays = {'image_a': images[:2], 'image_b': images[2:], 'source_index': np.array([[40, 70], [900, 30]])}
    path = tmp_path / 'own.npz'
    np.savez(path, **{**arrays, **changes})
    return path, read_ratings(table)


def test_images_of_their_own_join_by_number_and_not_by_place(tmp_path, write):
    images = read_images(*_own(tmp_path, write))
    assert images.ids.tolist() == ['o/source/00900', 'o/source/00040', 'o/source/00030', 'o/source/00070']
    assert images.images[:, 0, 0, 0].tolist() == [1, 0, 3, 2]
    assert [images.class_names[label] for label in images.labels] == ['7', '8', '7', '8']


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'source_index': np.array([[40, 70], [900, 31]])},
            "lacks 1 of 4 rated images, .* 'o/source/00030'",
        ),
        ({'source_index': np.array([[40, 40], [900, 30]])}, 'image 40 is there twice, with different pixels'),
        ({'source_index': np.array([40, 70])}, r'source_index must be whole numbers \[..., 2\]|image_a must be'),
        ({'image_b': np.zeros((2, 5, 5))}, 'image_b must be uint8'),
    ],
)
def test_images_that_are_not_those_of_the_ratings_are_refused(tmp_path, write, changes, message):
    path, ratings = _own(tmp_path, write, **changes)
    with pytest.raises(ValueError, match=message):
        read_images(path, ratings)


@pytest.mark.data
def test_the_real_ratings_are_read_whole(real_data):
    ratings = read_ratings(real_data / 'digits' / 'similarity_ratings.csv.gz')
    with np.load(real_data / 'digits' / 'similarity_ratings.npz') as arrays:
        np.testing.assert_array_equal(ratings.values, arrays['rating'].reshape(7, 60))
        first = arrays['image_b'][1, 0]
    images = read_images(real_data / 'digits' / 'similarity_ratings.npz', ratings)
    place = images.ids.tolist().index(ratings.of_category('8').ids_b[0])
    np.testing.assert_array_equal(images.images[place, ..., 0], first)
