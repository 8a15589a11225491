import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import pdist

from humalign_jax.human.cifar10h import load_counts
from humalign_jax.rsa.pairs import between_category, category_rdm, within_category
from humalign_jax.rsa.similarity import ceiling
from humalign_jax.rsa.similarity.compare import compare
from humalign_jax.rsa.similarity.indices import INDICES


def make_subjects(n_subjects=5, n=9, noise=1.0, seed=0):
    np_rng = np.random.default_rng(seed)
    shared = np_rng.normal(size=(n, 4))
    points = shared + noise * np_rng.normal(size=(n_subjects, n, 4))
    rows, columns = np.triu_indices(n, 1)
    return ((points[:, rows] - points[:, columns]) ** 2).sum(axis=-1)


def test_pearson_ceiling_equals_the_definition_spelt_out():
    subjects = make_subjects()
    z = scipy.stats.zscore(subjects, axis=1)
    lower = [scipy.stats.pearsonr(np.delete(z, s, 0).mean(0), subjects[s]).statistic for s in range(5)]
    upper = [scipy.stats.pearsonr(z.mean(0), subjects[s]).statistic for s in range(5)]
    assert ceiling.noise_ceiling(subjects, 'pearson') == pytest.approx((np.mean(lower), np.mean(upper)), rel=1e-12)


@pytest.mark.parametrize('index', ['pearson', 'cosine'])
def test_no_rdm_scores_above_the_upper_ceiling(index):
    subjects, np_rng = make_subjects(), np.random.default_rng(0)
    upper = ceiling.noise_ceiling(subjects, index).upper
    best = ceiling.pool(subjects, index)
    nearby = best + 0.1 * best.std() * np_rng.normal(size=(500, len(best)))
    assert compare(nearby, subjects, index).mean(axis=1).max() < upper


@pytest.mark.filterwarnings('ignore:Noise ceiling for tau')
@pytest.mark.parametrize('index', [index for index in INDICES if index != 'bures'])
def test_ceiling_equals_rsatoolbox(index):
    toolbox = pytest.importorskip('rsatoolbox')
    theirs = dict(pearson='corr', rho_a='rho-a', kendall_tau_a='tau-a', kendall_tau_b='tau-b')
    theirs |= dict(whitened_pearson='corr_cov', whitened_cosine='cosine_cov')
    subjects = make_subjects()
    expected = toolbox.inference.boot_noise_ceiling(toolbox.rdm.RDMs(subjects), method=theirs.get(index, index))
    assert ceiling.noise_ceiling(subjects, index) == pytest.approx(expected, rel=1e-9)


def test_one_subject_has_no_ceiling():
    with pytest.raises(ValueError, match='at least two subjects, not 1'):
        ceiling.noise_ceiling(make_subjects(1))


def test_a_constant_subject_is_named():
    subjects = make_subjects()
    subjects[2] = 1.0
    with pytest.raises(ValueError, match=r'RDMs \[2\] of .* are constant'):
        ceiling.noise_ceiling(subjects, 'pearson')


def test_halves_sum_to_the_counts_and_differ_by_at_most_one():
    counts = np.random.default_rng(0).integers(0, 9, size=(50, 6)) + 1
    halves = ceiling.split_counts(counts, np.random.default_rng(1), n_splits=20)
    assert halves.shape == (20, 2, 50, 6)
    assert halves.min() >= 0
    np.testing.assert_array_equal(halves.sum(axis=1), np.broadcast_to(counts, (20, 50, 6)))
    totals = halves.sum(axis=-1)
    np.testing.assert_array_equal(totals[:, 1] - totals[:, 0], np.broadcast_to(counts.sum(axis=1) % 2, (20, 50)))


def test_split_has_the_moments_of_the_multivariate_hypergeometric_distribution():
    counts, n_splits = np.array([[7, 3, 0, 5], [1, 20, 4, 2]]), 40_000
    halves = ceiling.split_counts(counts, np.random.default_rng(0), n_splits)[:, 0]
    for image in range(2):
        expected = scipy.stats.multivariate_hypergeom(counts[image], counts[image].sum() // 2)
        covariance = expected.cov()
        error = np.sqrt(np.diag(covariance) / n_splits) + 1e-12
        assert np.all(np.abs(halves[:, image].mean(axis=0) - expected.mean()) < 4 * error)
        np.testing.assert_allclose(np.cov(halves[:, image].T), covariance, atol=0.05)


def test_split_half_is_one_for_unanimous_answers_and_needs_labels_for_classes():
    counts = 50 * np.eye(4, dtype=int)[np.arange(12) % 4]
    result = ceiling.split_half(counts, n_splits=3)
    np.testing.assert_allclose(result.halves, np.ones(3), rtol=1e-12)
    assert (result.reliability, result.ceiling) == pytest.approx((1.0, 1.0))
    with pytest.raises(ValueError, match='pass labels'):
        ceiling.split_half(counts, level='class')
    with pytest.raises(ValueError, match="pairs must be 'all'"):
        ceiling.split_half(counts, labels=np.arange(12) % 4, level='class', pairs='within')
    with pytest.raises(ValueError, match='probabilities cannot be split'):
        ceiling.split_half(counts / 50)
    with pytest.raises(ValueError, match='stimulus 1 has 1 answers'):
        ceiling.split_half(np.array([[2, 0], [1, 0], [4, 4]]))


def test_corrected_split_half_predicts_the_agreement_of_two_full_samples():
    np_rng = np.random.default_rng(0)
    truth = np_rng.dirichlet(np.full(5, 0.3), size=60)
    first, second = (np_rng.multinomial(50, truth) for _ in range(2))
    reliability = ceiling.split_half(first, 'euclidean', n_splits=30).reliability
    full = [x / 50 for x in (first, second)]
    rdms = [pdist(x) for x in full]
    assert reliability == pytest.approx(scipy.stats.spearmanr(*rdms).statistic, abs=0.01)


def test_length_is_extrapolated_from_quarters_up_to_the_correction():
    odds = np.array([1.0, 2.0, 4.0]) / 8  # the correction doubles r / (1 - r)
    quarter, half, whole = odds / (1 + odds)
    assert ceiling.twice_as_long(half, quarter) == pytest.approx(whole) == pytest.approx(ceiling.spearman_brown(half))
    split = ceiling.SplitHalf([half, half], [quarter, quarter])
    assert (split.reliability, split.ceiling) == pytest.approx((whole, np.sqrt(whole)))
    falling = ceiling.SplitHalf([0.72], [0.76])
    odds = (0.72 / 0.28) ** 2 / (0.76 / 0.24)
    assert falling.reliability == pytest.approx(odds / (1 + odds))
    assert falling.reliability < 0.72 < falling.spearman_brown
    steep = ceiling.SplitHalf([0.5], [0.1])  # by chance, as likely as not
    assert steep.reliability == steep.spearman_brown
    for half, quarter in ((1.0, 0.9), (0.3, -0.1), (-0.2, 0.1)):  # no odds
        assert ceiling.twice_as_long(half, quarter) == ceiling.spearman_brown(half)
    assert ceiling.SplitHalf([-0.2], [0.1]).ceiling == 0.0


def test_quarters_need_four_answers_and_leave_the_halves_as_they_are():
    counts = np.random.default_rng(0).integers(1, 9, size=(20, 4))
    result = ceiling.split_half(counts, n_splits=3)
    assert len(result.quarters) == len(result.halves) == 3
    few = counts.copy()
    few[7] = [0, 2, 1, 0]
    assert len(ceiling.split_half(few, n_splits=3).quarters) == 0
    first = next(ceiling.halves_and_quarters(counts, 1, 5))
    np.testing.assert_array_equal(first[0], ceiling.split_counts(counts, np.random.default_rng(5)))
    np.testing.assert_array_equal(first[1].sum(axis=0), first[0][0])


@pytest.fixture(scope='module')
def cifar10h(real_data):
    """Counts and true labels of 3,000 random test images, and of all."""
    counts = load_counts(real_data / 'cifar10')
    with np.load(real_data / 'cifar10' / 'test_jpeg.npz', allow_pickle=False) as file:
        labels = file['labels'].astype(int)
    rows = np.random.default_rng(0).permutation(10_000)[:3000]
    return counts, labels, rows


# Over samples of 3,000 images r has a standard deviation of 0.003 to 0.009; the class level uses all images.
@pytest.mark.data
@pytest.mark.parametrize(
    ('measure', 'image', 'corrected', 'by_class'),
    [
        ('euclidean', 0.723, 0.839, 0.995),
        ('cosine', 0.718, 0.836, 0.989),
        ('correlation', 0.641, 0.781, 0.996),
        ('jensenshannon', 0.717, 0.836, 0.994),  # recorded as 0.583, 0.737: see the next test
    ],
)
def test_split_half_reproduces_cifar10h(cifar10h, measure, image, corrected, by_class):
    counts, labels, rows = cifar10h
    result = ceiling.split_half(counts[rows], measure, n_splits=1)
    assert result.half == pytest.approx(image, abs=0.015)
    assert result.spearman_brown == pytest.approx(corrected, abs=0.012)
    result = ceiling.split_half(counts, measure, labels=labels, level='class', n_splits=10)
    assert result.half == pytest.approx(by_class, abs=0.003)


@pytest.mark.data
def test_recorded_jensen_shannon_figure_rests_on_ties_broken_by_rounding(cifar10h):
    counts, _, rows = cifar10h
    halves = ceiling.split_counts(counts[rows], np.random.default_rng(0))
    broken = [pdist(half / half.sum(axis=1, keepdims=True), 'jensenshannon') for half in halves]
    # 77 % of the pairs share no answer and are sqrt(ln 2) apart, each to another last bit.
    assert np.mean(np.abs(broken[0] - np.sqrt(np.log(2))) < 1e-9) == pytest.approx(0.77, abs=0.01)
    assert compare(*broken) == pytest.approx(0.583, abs=0.015)
    assert compare(*(rdm.round(10) for rdm in broken)) == pytest.approx(0.717, abs=0.015)


# The recorded values are of one sample of 3,000 images. Over 24 samples (benchmarks/split_half_samples.py, three splits
# each) r has a mean of 0.609, 0.621, 0.616, 0.449, 0.616, 0.451 in the order below and a standard deviation of 0.013,
# for cosine between classes and category-partialled 0.008, and the six move as one: a few images of high entropy make
# them. The recorded ones lie 1.6 to 2.5 deviations below the mean, within the range of those samples. Other definitions
# are ruled out: ranks of all pairs kept within classes (0.60 to 0.73, another for every sample), each answer split for
# itself (0.645). So ranks are made anew among the pairs that count.
@pytest.mark.data
@pytest.mark.parametrize(
    ('measure', 'pairs', 'r', 'corrected'),
    [
        ('euclidean', 'within', 0.586, 0.739),
        ('cosine', 'within', 0.599, 0.749),
        ('euclidean', 'between', 0.593, 0.745),
        ('cosine', 'between', 0.430, 0.602),
        ('euclidean', 'partial', 0.593, 0.745),
        ('cosine', 'partial', 0.432, 0.604),
    ],
)
def test_restricted_split_half_reproduces_cifar10h(cifar10h, measure, pairs, r, corrected):
    counts, labels, rows = cifar10h
    result = ceiling.split_half(counts[rows], measure, labels=labels[rows], pairs=pairs, n_splits=1)
    assert result.half == pytest.approx(r, abs=0.03)
    assert result.spearman_brown == pytest.approx(corrected, abs=0.025)


@pytest.mark.data
@pytest.mark.parametrize(
    ('pairs', 'index', 'error', 'of_the_correction'),
    [('all', 'spearman', 0.03, 0.13), ('within', 'spearman', 0.04, 0.05), ('all', 'pearson', 0.002, 0.0)],
)
def test_agreement_of_twice_as_many_answers_is_foretold(cifar10h, pairs, index, error, of_the_correction):
    counts, labels, rows = cifar10h
    counts, labels = counts[rows[:1000]], labels[rows[:1000]]
    mask = None if pairs == 'all' else within_category(labels)
    foretold, corrected, found = [], [], []
    for seed in range(3):
        halves = ceiling.split_counts(counts, np.random.default_rng(seed))
        for half in halves:
            split = ceiling.split_half(half, labels=labels, pairs=pairs, index=index, n_splits=1, seed=seed)
            foretold.append(split.reliability)
            corrected.append(split.spearman_brown)
        rdms = [pdist(half / half.sum(axis=1, keepdims=True), 'cosine').astype(np.float32) for half in halves]
        found.append(compare(*rdms, index, mask=mask))
    assert np.mean(foretold) == pytest.approx(np.mean(found), abs=error)
    assert np.mean(corrected) - np.mean(found) >= of_the_correction - 0.002


@pytest.mark.data
def test_restrictions_differ_from_each_other_as_recorded(cifar10h):
    counts, labels, rows = cifar10h
    r = {}
    for measure in ('euclidean', 'cosine'):
        for pairs in ('within', 'between'):
            split = ceiling.split_half(counts[rows], measure, labels=labels[rows], pairs=pairs, n_splits=1)
            r[measure, pairs] = split.half
    # What moves all figures as one is gone; over eleven samples and splits the gaps had a standard deviation of 0.003.
    assert r['cosine', 'within'] - r['euclidean', 'within'] == pytest.approx(0.599 - 0.586, abs=0.006)
    assert r['euclidean', 'between'] - r['euclidean', 'within'] == pytest.approx(0.593 - 0.586, abs=0.009)
    assert r['euclidean', 'between'] - r['cosine', 'between'] == pytest.approx(0.593 - 0.430, abs=0.012)


@pytest.mark.data
@pytest.mark.parametrize(('measure', 'same', 'by_class'), [('euclidean', 0.521, 0.453), ('cosine', 0.633, 0.602)])
def test_baselines_reproduce_cifar10h(cifar10h, measure, same, by_class):
    counts, labels, rows = cifar10h
    probabilities = counts / counts.sum(axis=1, keepdims=True)
    human = pdist(probabilities[rows], measure)
    class_means = np.stack([probabilities[labels == k].mean(axis=0) for k in range(10)])[labels[rows]]
    assert compare(category_rdm(labels[rows]), human) == pytest.approx(same, abs=0.006)
    assert compare(pdist(class_means, measure), human) == pytest.approx(by_class, abs=0.012)
    assert np.isnan(compare(category_rdm(labels[rows]), human, mask=within_category(labels[rows])))
    assert np.isnan(compare(category_rdm(labels[rows]), human, mask=between_category(labels[rows])))
