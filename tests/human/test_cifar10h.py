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
    with pytest.raises(ValueError, match="has probs, but no array named 'counts'"):
        cifar10h.load_counts(tmp_path)


@pytest.mark.data
def test_real_counts_match_the_published_totals(real_data):
    counts = cifar10h.load_counts(real_data / 'cifar10')
    assert counts.sum() == 511_000
    assert (counts.max(axis=1) == counts.sum(axis=1)).mean() == pytest.approx(0.439, abs=5e-4)
