"""Simulated images and observers: the known truth is recovered, and smaller sets are heads of larger ones."""

import dataclasses
import hashlib

import numpy as np
import pytest
import scipy.stats
from scipy.spatial import distance
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix

from humalign_jax.data import load_synthetic, simulate_annotations, simulate_triplets, synthetic, true_rdm


@pytest.fixture(scope='module')
def train():
    return load_synthetic('train', n_train=4000)


@pytest.mark.parametrize('image, shape', [('rgb', (32, 32, 3)), ('grey', (28, 28, 1))])
def test_a_smaller_set_is_the_head_of_a_larger_one(image, shape):
    small, large = (load_synthetic('test', n_test=n, image=image) for n in (103, 500))
    assert small.images.shape == (103, *shape) and small.images.dtype == np.uint8
    np.testing.assert_array_equal(small.images, large.images[:103])
    np.testing.assert_array_equal(small.labels, large.labels[:103])
    for name in ('soft_label', 'counts', 'latent'):
        np.testing.assert_array_equal(small.extras[name], large.extras[name][:103])


def test_seed_and_split_give_different_images_and_the_same_arguments_the_same():
    def digest(split, **options):
        return hashlib.sha256(load_synthetic(split, n_train=20, n_test=20, **options).images.tobytes()).hexdigest()

    digests = [digest('train'), digest('test'), digest('train', seed=1), digest('test', seed=1)]
    assert len(set(digests)) == 4 and digest('train') == digests[0]


def test_every_ten_images_hold_each_category_once(train):
    np.testing.assert_array_equal(np.sort(train.labels.reshape(-1, 10), axis=1), np.tile(np.arange(10), (400, 1)))


def test_categories_follow_the_tree():
    d = synthetic.CATEGORY_DISSIMILARITY
    np.testing.assert_allclose(d, distance.cdist(synthetic.PROTOTYPES, synthetic.PROTOTYPES))
    group = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 3])
    same_group, same_kind = group[:, None] == group, group[:, None] // 2 == group // 2
    within_group, within_kind, between = d[same_group & (d > 0)], d[same_kind & ~same_group], d[~same_kind]
    assert within_group.max() < within_kind.min() and within_kind.max() < between.min()


def test_class_means_of_latents_give_back_the_category_dissimilarities(train):
    means = np.stack([train.extras['latent'][train.labels == k].mean(axis=0) for k in range(10)])
    rho = scipy.stats.spearmanr(distance.pdist(means), distance.squareform(synthetic.CATEGORY_DISSIMILARITY)).statistic
    assert rho > 0.95


def test_pictures_carry_the_category_structure(train):
    # What a linear reader of the pixels confuses is what lies close in the tree.
    small = train.images.reshape(len(train), 16, 2, 16, 2, 3).mean(axis=(2, 4)).reshape(len(train), -1)
    reader = LinearDiscriminantAnalysis(solver='lsqr', shrinkage=0.1).fit(small[:3000], train.labels[:3000])
    predicted = reader.predict(small[3000:])
    accuracy = (predicted == train.labels[3000:]).mean()
    assert 0.3 < accuracy < 0.8  # chance is 0.1; learning more than a linear reader pays
    confusion = confusion_matrix(train.labels[3000:], predicted, normalize='true')
    group = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 3])
    same_group, same_kind = group[:, None] == group, group[:, None] // 2 == group // 2
    within_group = confusion[same_group & ~np.eye(10, dtype=bool)].mean()
    assert within_group > 2 * max(confusion[same_kind & ~same_group].mean(), confusion[~same_kind].mean())


def test_mean_colour_alone_tells_little(train):
    colours = train.images.reshape(len(train), -1, 3).mean(axis=1) / 255.0
    reader = LogisticRegression(max_iter=300).fit(colours[:3000], train.labels[:3000])
    assert reader.score(colours[3000:], train.labels[3000:]) < 0.35


def test_soft_labels_are_the_expectation_of_the_counts():
    images = load_synthetic('test', n_test=50, n_observers=200_000)
    soft, counts = images.extras['soft_label'], images.extras['counts']
    assert soft.dtype == np.float32
    np.testing.assert_allclose(soft.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(counts.sum(axis=1), 200_000)
    # Five standard errors of a proportion.
    assert (np.abs(counts / 200_000 - soft) < 5 * np.sqrt(soft * (1 - soft) / 200_000) + 1e-5).all()


def test_observer_probabilities_equal_brute_force():
    latent = np.random.default_rng(0).normal(size=(3, 4))
    expected = []
    for place in latent:
        weights = [np.exp(-sum((place - p) ** 2) / (2 * 0.3**2)) for p in synthetic.PROTOTYPES]
        expected.append(np.array(weights) / sum(weights))
    np.testing.assert_allclose(synthetic.observer_probabilities(latent), expected, rtol=1e-9)


def test_observers_mostly_agree_with_the_label_but_not_always(train):
    agreement = (train.extras['soft_label'].argmax(axis=1) == train.labels).mean()
    assert 0.9 < agreement < 0.98
    entropy = scipy.stats.entropy(train.extras['soft_label'], axis=1)
    assert (entropy < 0.1).mean() > 0.3 and (entropy > 0.5).mean() > 0.1


def test_true_rdm_is_the_distance_of_latents_with_ids(train):
    few = train.take(np.arange(20))
    rdm = true_rdm(few)
    np.testing.assert_allclose(
        distance.squareform(rdm.values)[3, 5], np.linalg.norm(np.diff(few.extras['latent'][[3, 5]], axis=0))
    )
    np.testing.assert_array_equal(rdm.ids, few.ids)
    assert rdm.measure == 'euclidean' and few.simulated


def test_annotations_sum_to_the_counts_and_every_annotator_answers_once(train):
    few = train.take(np.array([5, 3, 11]))
    table = simulate_annotations(few, seed=3)
    for row, index in enumerate(few.index):
        answers = table['label'][table['index'] == index]
        np.testing.assert_array_equal(np.bincount(answers, minlength=10), few.extras['counts'][row])
        np.testing.assert_array_equal(np.sort(table['annotator_id'][table['index'] == index]), np.arange(50))
    again, other = simulate_annotations(few, seed=3), simulate_annotations(few, seed=4)
    np.testing.assert_array_equal(table['label'], again['label'])
    assert (table['label'] != other['label']).any()


def test_triplets_are_distinct_and_uniform_and_follow_the_softmax(train):
    few = train.take(np.arange(5))
    triplets = simulate_triplets(few, 200_000, seed=0)
    assert triplets.shape == (200_000, 3) and triplets.min() == 0 and triplets.max() == 4
    ordered = np.sort(triplets, axis=1)
    assert (np.diff(ordered, axis=1) > 0).all()
    sets, number, times = np.unique(ordered, axis=0, return_inverse=True, return_counts=True)
    assert len(sets) == 10 and scipy.stats.chisquare(times).pvalue > 1e-3
    latent = few.extras['latent']
    for k, members in enumerate(sets):
        odd = triplets[number.reshape(-1) == k, 2]
        weights = []
        for i in members:
            a, b = (latent[j] for j in members if j != i)
            weights.append(np.exp(-np.sum((a - b) ** 2) / (2 * 0.8**2)))
        expected = np.array(weights) / sum(weights)
        observed = np.array([(odd == i).mean() for i in members])
        np.testing.assert_allclose(observed, expected, atol=5 * np.sqrt(0.25 / len(odd)))


def test_the_order_of_a_pair_means_nothing(train):
    triplets = simulate_triplets(train, 100_000, seed=1)
    assert abs((triplets[:, 0] < triplets[:, 1]).mean() - 0.5) < 5 * np.sqrt(0.25 / 100_000)


@pytest.mark.parametrize(
    'options, message',
    [
        ({'split': 'validation'}, "'train' and 'test', not 'validation'"),
        ({'image': 'colour'}, "'rgb' or 'grey', not 'colour'"),
        ({'n_train': 0}, 'n_train must be at least 1, not 0'),
        ({'n_observers': 0}, 'n_observers must be at least 1'),
    ],
)
def test_options_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        load_synthetic(**{'split': 'train', **options})


def test_images_without_a_known_truth_are_refused(train):
    real = dataclasses.replace(train.take(np.arange(4)), extras={})
    for function in (true_rdm, lambda s: simulate_triplets(s, 1, seed=0), lambda s: simulate_annotations(s, seed=0)):
        with pytest.raises(ValueError, match='use load_synthetic'):
            function(real)
    with pytest.raises(ValueError, match='at least 3 images'):
        simulate_triplets(train.take(np.arange(2)), 1, seed=0)
