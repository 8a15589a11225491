"""THINGS: both numberings of the concepts and the three forms of its choices."""

import gzip

import numpy as np
import pytest

from humalign_jax import rsa
from humalign_jax.alignment import odd_one_out
from humalign_jax.human import things
from humalign_jax.records import Features, Rdm

# In unique_id order 'camera_lens' precedes 'camera1'; in the order of file names it follows.
CONCEPTS = (
    'index\tunique_id\tword\ttriplet_source_index\n'
    '0\tbed\tbed\t0\n1\tcamera_lens\tlens\t2\n2\tcamera1\tcamera\t1\n3\tdog\tdog\t3\n'
)
ORIGINAL = 'image1\timage2\timage3\tchoice\tRT\tsubject_id\n1\t2\t3\t3\t900\tp1\n4\t3\t1\t1\t\tp2\n'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'concepts.tsv').write_text(CONCEPTS)
    return tmp_path


def test_numbers_by_file_name_become_rows_in_the_published_order(folder):
    (folder / 'old.txt').write_text('0 1 2\n3 2 0\n')
    raw = things.load_triplets(folder, file='old.txt', numbering='file_names')
    assert raw.ids[raw.items].tolist() == [['bed', 'camera1', 'camera_lens'], ['dog', 'camera_lens', 'bed']]
    plain = things.load_triplets(folder, file='old.txt', numbering='unique_id')
    assert plain.ids[plain.items].tolist() == [['bed', 'camera_lens', 'camera1'], ['dog', 'camera1', 'bed']]
    assert raw.odd.tolist() == [2, 2] and not raw.in_order and raw.participants is None


def test_a_text_file_without_a_numbering_is_refused(folder):
    (folder / 'old.txt').write_text('0 1 2\n')
    with pytest.raises(ValueError, match='does not tell how it numbers the concepts: give numbering=file_names'):
        things.load_triplets(folder, file='old.txt')


@pytest.mark.parametrize('compressed', [False, True])
def test_the_original_table_has_participants_and_the_order_of_presentation(folder, compressed):
    if compressed:
        (folder / f'{things.ORIGINAL_FILE}.gz').write_bytes(gzip.compress(ORIGINAL.encode()))
    else:
        (folder / things.ORIGINAL_FILE).write_text(ORIGINAL)
    made = things.load_triplets(folder)
    assert made.ids[made.items].tolist() == [['bed', 'camera_lens', 'camera1'], ['dog', 'camera1', 'bed']]
    assert made.ids[made.chosen].tolist() == ['camera1', 'dog']
    assert made.participants.tolist() == ['p1', 'p2'] and made.in_order


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (ORIGINAL.replace('choice', 'answer'), 'lacks the columns choice: a tab-separated table'),
        (ORIGINAL.replace('\t3\t900', '\t4\t900'), 'trial 0 .* has choice 4, which must be 1, 2 or 3'),
        (ORIGINAL.replace('4\t3\t1', '5\t3\t1'), r'trial 1 .* has the concept 5, but the 4 concepts are 1 to 4 there'),
        (ORIGINAL.replace('4\t3\t1', '0\t3\t1'), r'trial 1 .* has the concept 0'),
        (ORIGINAL.replace('4\t3\t1', 'x\t3\t1'), 'must be whole numbers'),
        (ORIGINAL.replace('4\t3\t1', '3\t3\t1'), 'shows a stimulus twice, camera1, camera1, bed'),
        (ORIGINAL.partition('\n')[0] + '\n', 'has a header and no trials'),
    ],
)
def test_a_damaged_table_is_named(folder, text, message):
    (folder / things.ORIGINAL_FILE).write_text(text)
    with pytest.raises(ValueError, match=message):
        things.load_triplets(folder)


def test_a_folder_without_concepts_or_choices_says_what_to_get(folder, tmp_path):
    with pytest.raises(ValueError, match=r'holds no triplets_large.* or triplets\.npz'):
        things.load_triplets(folder)
    (folder / 'concepts.tsv').write_text(CONCEPTS.replace('\t3\n', '\t2\n'))
    with pytest.raises(ValueError, match='triplet_source_index must hold each of 0 to 3 once'):
        things.load_concepts(folder)
    with pytest.raises(ValueError, match=r'holds no concepts\.tsv'):
        things.load_concepts(tmp_path / 'nowhere')


def test_an_embedding_has_a_row_for_each_concept(folder):
    np.savez(folder / 'made.npz', good=np.ones((4, 2)), short=np.ones((3, 2)), labels=np.array(['a'] * 4))
    assert things.load_embedding(folder, 'good').ids.tolist() == ['bed', 'camera_lens', 'camera1', 'dog']
    with pytest.raises(ValueError, match="no embedding 'short' with a row for each of the 4 concepts; there are good"):
        things.load_embedding(folder, 'short')


ACCURACIES = {  # percent, of the data's description
    ('vice_42d', 'dot'): 64.7,
    ('spose_66d_rescaled', 'dot'): 65.7,
    ('spose_82d', 'dot'): 64.6,
    ('spose_14d', 'dot'): 63.8,
    ('spose_49d', 'dot'): 66.5,
    ('glove6b_50d', 'cosine'): 43.94,
    ('minilm_word', 'cosine'): 41.77,
    ('minilm_word_gloss', 'cosine'): 49.20,
}


@pytest.fixture(scope='module')
def real(real_data):
    folder = real_data / 'things'
    return folder, things.load_triplets(folder)


@pytest.mark.data
@pytest.mark.parametrize(('name', 'measure'), list(ACCURACIES))
def test_accuracy_on_73084_choices_is_the_published_one(real, name, measure):
    folder, triplets = real
    credit = odd_one_out.predict(things.load_embedding(folder, name).values, triplets, measure).credit
    expected = ACCURACIES[name, measure]
    assert abs(100 * credit.mean(dtype=np.float64) - expected) < (0.051 if measure == 'dot' else 0.006)


@pytest.mark.data
def test_numbers_by_file_name_make_choices_about_renumbered_concepts_worse(real):
    """52.7 % against 65.1 % on the 2,500 of these choices that show one of the 21 concepts."""
    folder, triplets = real
    concepts = things.load_concepts(folder)
    moved = (concepts.source_index != np.arange(len(concepts.ids)))[triplets.items].any(axis=1)
    values = things.load_embedding(folder, 'spose_66d_rescaled').values
    right = odd_one_out.predict(values, triplets, 'dot').credit[moved].mean()
    wrong = odd_one_out.predict(values[np.argsort(concepts.source_index)], triplets, 'dot').credit[moved].mean()
    assert 0.63 < right < 0.67 and 0.50 < wrong < 0.56


@pytest.mark.data
@pytest.mark.parametrize(
    ('name', 'temperature', 'expected'),
    [('spose_66d_rescaled', 1 / 0.0285**2, 0.906), ('vice_42d', 1.0, 0.891), ('spose_82d', 1.0, 0.886)],
)
def test_predicted_rdm_of_48_objects_correlates_as_published(real, name, temperature, expected):
    folder, _ = real
    with np.load(folder / 'rdm48.npz') as stored:
        ids, square = stored['unique_id'].astype(np.str_), stored['rdm']
    people = Rdm(square[np.triu_indices(48, 1)], ids, 'people', 'odd one out')
    whole = things.load_embedding(folder, name)
    rows = [whole.ids.tolist().index(stimulus) for stimulus in ids]
    model = odd_one_out.choice_rdm(Features(whole.values[rows], ids, name), 'dot', temperature=temperature)
    assert rsa.compare([model], [people], 'pearson')[0, 0] == pytest.approx(expected, abs=0.0006)
