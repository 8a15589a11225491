"""CIFAR-10H: counts, soft labels and single trials agree with each other and with the labels."""

import hashlib
import zipfile

import numpy as np
import pytest

from humalign_jax.human import cifar10h


def write(folder, counts):
    np.save(folder / 'cifar10h-counts.npy', counts)
    return folder


def toy_counts():
    counts = np.zeros((10_000, 10), dtype=np.int64)
    counts[:, 3] = 51
    return counts


def test_counts_survive_both_files(tmp_path):
    np.savez(tmp_path / 'cifar10h.npz', counts=toy_counts().astype(np.uint8))
    counts = cifar10h.load_counts(tmp_path)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, toy_counts())
    np.testing.assert_array_equal(cifar10h.load_counts(write(tmp_path, toy_counts().astype(float))), toy_counts())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r'holds neither cifar10h-counts.npy nor cifar10h.npz'):
        cifar10h.load_counts(tmp_path)


def test_what_is_not_cifar10h_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'must be \[10000, 10\], not \[9999, 10\]'):
        cifar10h.load_counts(write(tmp_path, toy_counts()[1:]))
    with pytest.raises(ValueError, match='may be the file of probabilities'):
        cifar10h.load_counts(write(tmp_path, toy_counts() / 51 * 0.5))
    with pytest.raises(ValueError, match='47 to 63 answers, but here they range from 51 to 102'):
        cifar10h.load_counts(write(tmp_path, np.concatenate([2 * toy_counts()[:1], toy_counts()[1:]])))
    np.savez(tmp_path / 'cifar10h.npz', probs=toy_counts())
    (tmp_path / 'cifar10h-counts.npy').unlink()
    with pytest.raises(ValueError, match="no array named 'counts'; it has probs"):
        cifar10h.load_counts(tmp_path)


@pytest.mark.parametrize('name', ['cifar10h-counts.npy', 'cifar10h.npz', 'cifar10h-probs.npy'])
@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'<!DOCTYPE html>', 'it is a web page'),
        (b'version https://git-lfs.github.com/spec/v1\n', 'it is a Git LFS pointer'),
        (b'', 'it is empty'),
        (b'PK\x03\x04 and nothing more', 'it is damaged'),
    ],
)
def test_files_that_are_no_arrays_are_named(name, content, message, tmp_path):
    if name == 'cifar10h-probs.npy':
        write(tmp_path, toy_counts())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f'{name} cannot be read.*{message}'):
        cifar10h.load_answers(tmp_path)


@pytest.mark.parametrize('dtype', [complex, str, float])
def test_counts_that_are_no_numbers_are_refused(dtype, tmp_path):
    counts = np.full((10_000, 10), np.nan) if dtype is float else toy_counts().astype(dtype)
    with pytest.raises(ValueError, match=r'cifar10h-counts\.npy.* must '):
        cifar10h.load_counts(write(tmp_path, counts))


def test_shares_that_are_nan_are_refused(tmp_path):
    write(tmp_path, toy_counts())
    np.save(tmp_path / 'cifar10h-probs.npy', np.full((10_000, 10), np.nan))
    with pytest.raises(ValueError, match=r'cifar10h-probs\.npy: soft labels must not be negative or NaN'):
        cifar10h.load_answers(tmp_path)


@pytest.mark.data
def test_real_counts_match_the_published_totals(real_data):
    counts = cifar10h.load_counts(real_data / 'cifar10')
    assert counts.sum() == 511_000
    assert (counts.max(axis=1) == counts.sum(axis=1)).mean() == pytest.approx(0.439, abs=5e-4)


def distinct_counts():
    """Counts whose rows differ, 51 answers an image."""
    counts = np.zeros((10_000, 10), dtype=np.int64)
    rows = np.arange(10_000)
    counts[rows, rows % 10] = 51 - rows % 7
    counts[rows, (rows + 1) % 10] += rows % 7
    return counts


def test_soft_labels_are_shares_and_must_be_those_of_the_counts(tmp_path):
    write(tmp_path, distinct_counts())
    np.save(tmp_path / 'cifar10h-probs.npy', distinct_counts() / 51)
    probabilities = cifar10h.load_probabilities(tmp_path)
    np.testing.assert_allclose(probabilities, distinct_counts() / 51, rtol=0, atol=1e-15)
    np.save(tmp_path / 'cifar10h-probs.npy', np.roll(distinct_counts() / 51, 1, axis=0))
    with pytest.raises(ValueError, match='disagree on 10000 images, the first of them 0'):
        cifar10h.load_probabilities(tmp_path)
    with pytest.raises(ValueError, match='disagree on 10000 images'):
        cifar10h.load_answers(tmp_path)


def test_soft_labels_alone_are_read_and_checked(tmp_path):
    np.save(tmp_path / 'cifar10h-probs.npy', distinct_counts() / 51)
    np.testing.assert_array_equal(cifar10h.load_probabilities(tmp_path), distinct_counts() / 51)
    np.save(tmp_path / 'cifar10h-probs.npy', distinct_counts())
    with pytest.raises(ValueError, match='must sum to 1'):
        cifar10h.load_probabilities(tmp_path)


def test_answers_carry_ids_hash_licence_and_citation(tmp_path):
    answers = cifar10h.load_answers(write(tmp_path, distinct_counts()))
    assert answers.ids[42] == 'cifar10/test/00042' and not answers.simulated
    assert answers.provenance['licence'] == 'CC BY-NC-SA 4.0' and 'Peterson' in answers.provenance['citation']
    digest = hashlib.sha256((tmp_path / 'cifar10h-counts.npy').read_bytes()).hexdigest()
    assert answers.provenance['sha256'] == digest


def test_all_images_must_agree_with_labels_better_than_a_part_must():
    counts, labels = distinct_counts(), np.arange(10_000) % 10
    labels[:500] = (labels[:500] + 5) % 10
    with pytest.raises(ValueError, match=r'95\.0 % of 10000 images, less than the 98 %'):
        cifar10h.check_labels(counts, labels)
    assert cifar10h.check_labels(counts[:5000], labels[:5000]) == 0.9


HEADER = (
    'annotator_id,trial_index,is_attn_check,true_category,chosen_category,true_label,chosen_label,correct_guess,'
    '{index},image_filename,subcategory,reaction_time,time_elapsed'
)


def table(trials, index='cifar10_test_test_idx'):
    """Lines of the annotator-level file: (person, trial, is_check, true, chosen, image)."""
    lines = [HEADER.format(index=index)]
    for person, trial, check, true, chosen, image in trials:
        names = f'{cifar10h.CLASS_NAMES[true]},{cifar10h.CLASS_NAMES[chosen]}'
        lines.append(
            f'{person},{trial},{check},{names},{true},{chosen},{int(true == chosen)},{image},a_s_1.png,"a, b",900.5,1e3'
        )
    return '\n'.join(lines) + '\n'


TRIALS = [
    (7, 0, 0, 3, 3, 12),
    (7, 1, 1, 4, 4, -99999),
    (7, 2, 0, 1, 9, 9999),
    (2, 0, 1, 4, 5, -99999),
    (2, 1, 1, 4, 4, -99999),
    (2, 2, 0, 3, 5, 12),
]


@pytest.mark.parametrize('index', ['cifar10_test_test_idx', 'cifar10_test_set_idx'])
@pytest.mark.parametrize('packed', [False, True])
def test_trials_are_read_and_attention_checks_set_apart(tmp_path, index, packed):
    if packed:
        with zipfile.ZipFile(tmp_path / 'cifar10h-raw.zip', 'w') as archive:
            archive.writestr('cifar10h-raw.csv', table(TRIALS, index))
            archive.writestr('__MACOSX/._cifar10h-raw.csv', b'\x00')
    else:
        (tmp_path / 'cifar10h-raw.csv').write_text(table(TRIALS, index))
    trials = cifar10h.load_trials(tmp_path)
    assert len(trials) == 3 and trials.annotator.tolist() == [7, 7, 2] and trials.index.tolist() == [12, 9999, 12]
    assert trials.chosen.tolist() == [3, 9, 5] and trials.label.tolist() == [3, 1, 3]
    assert trials.attention == {2: 0.5, 7: 1.0} and trials.reaction_time_ms.tolist() == [900.5] * 3
    assert trials.attentive(0.75).annotator.tolist() == [7, 7]
    counts = trials.counts()
    assert counts.shape == (10_000, 10) and counts.sum() == 3 and counts[12, 3] == counts[12, 5] == counts[9999, 9] == 1


def people_of(counts):
    """Trials that give these counts: the j-th answer to every image comes from person j of its group of images."""
    image, chosen = (np.repeat(axis, counts.reshape(-1)) for axis in np.divmod(np.arange(counts.size), 10))
    place = np.arange(len(image)) - np.repeat(np.cumsum(counts.sum(axis=1)) - counts.sum(axis=1), counts.sum(axis=1))
    zeros = np.zeros(len(image), np.int64)
    return cifar10h.Trials(place, zeros, image, chosen, zeros, zeros.astype(float), {})


def test_the_table_may_have_a_few_answers_more_than_the_counts_and_none_less():
    counts = distinct_counts()
    everyone = people_of(counts)
    assert cifar10h.check_trials(everyone, counts) == {'table': 510_000, 'counts': 510_000, 'only_in_table': 0}
    kept = counts.copy()
    kept[np.arange(3000), np.arange(3000) % 10] -= 1
    assert cifar10h.check_trials(everyone, kept)['only_in_table'] == 3000
    with pytest.raises(
        ValueError, match=r"answers that the annotator-level table lacks, the first of them 'automobile'"
    ):
        cifar10h.check_trials(everyone, np.roll(counts, 10, axis=0))
    with pytest.raises(ValueError, match='510000 answers and the counts 250000'):
        cifar10h.check_trials(everyone, counts // 2)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (table(TRIALS).replace('chosen_label', 'chosen'), 'lacks the columns chosen_label; it has annotator_id'),
        (table(TRIALS).replace('cifar10_test_test_idx', 'index'), 'lacks the columns cifar10_test_test_idx'),
        (table([(1, 0, 0, 3, 3, 10_000)]), 'line 2: .* test image 0 to 9999'),
        (table([*TRIALS, (1, 0, 2, 3, 3, 1)]), 'line 8: is_attn_check must be 0 or 1'),
        (table(TRIALS).replace('900.5', '', 1), 'line 2: a number is missing'),
        (table(TRIALS) + '3,1\n', 'line 8: a number is missing'),
        (table([TRIALS[0], TRIALS[0]]), 'answered the same test image twice'),
        (table([]), 'a header and no trials'),
        ('', 'lacks the columns .* it has none'),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path, content, message):
    (tmp_path / 'cifar10h-raw.csv').write_text(content)
    with pytest.raises(ValueError, match=message):
        cifar10h.load_trials(tmp_path)


def test_a_missing_or_broken_archive_is_named(tmp_path):
    with pytest.raises(ValueError, match=r'neither cifar10h-raw\.csv nor cifar10h-raw\.zip'):
        cifar10h.load_trials(tmp_path)
    (tmp_path / 'cifar10h-raw.zip').write_bytes(b'PK\x03\x04 nothing')
    with pytest.raises(ValueError, match=r'cifar10h-raw\.zip cannot be read'):
        cifar10h.load_trials(tmp_path)


@pytest.mark.data
def test_real_answers_are_in_the_order_of_the_labels(real_data):
    with np.load(real_data / 'cifar10' / 'test_jpeg.npz') as file:
        labels = file['labels'].astype(np.int64)
    counts = cifar10h.load_counts(real_data / 'cifar10')
    assert cifar10h.check_labels(counts, labels) == pytest.approx(0.9921, abs=1e-6)
    with pytest.raises(ValueError, match=r'is the label for \d+\.\d % of 10000 images'):
        cifar10h.check_labels(counts, np.random.default_rng(0).permutation(labels))


@pytest.mark.data
def test_real_soft_labels_are_those_of_the_source(real_data):
    with np.load(real_data / 'cifar10' / 'cifar10h.npz') as file:
        np.testing.assert_array_equal(cifar10h.load_probabilities(real_data / 'cifar10'), file['probs'])
