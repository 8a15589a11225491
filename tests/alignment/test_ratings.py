"""Pair similarities against people's ratings: published figures, SciPy, and simulated raters of known reliability."""

import re

import numpy as np
import pytest
import scipy.stats
from scipy.spatial import distance

from humalign_jax.alignment import ratings as alignment
from humalign_jax.human.course_ratings import SIMILARITY, load_course_ratings
from humalign_jax.human.ratings import read_images, read_ratings
from humalign_jax.human_data import Ratings

OPTIONS = {'n_bootstrap': 10_000, 'seed': 0}


def _scores(similarity, ratings, **options):
    options = {**OPTIONS, **options}
    found = [
        *alignment.agreement_scores(similarity, ratings, {'model': 'net', 'measure': 'cosine'}, **options),
        *alignment.reliability_scores(ratings, **options),
    ]
    return {(score.name.removeprefix('ratings/'), score.provenance.get('rater')): score for score in found}


def _people(values, scale=(-1e9, 1e9)):
    n_raters, n = np.shape(values)
    names = np.array([f'p{pair}' for pair in range(n)])
    raters = np.array([f'r{rater}' for rater in range(n_raters)])
    return Ratings(names, names, names, np.full(n, '8'), raters, np.array(values, float), scale, 'people', True)


@pytest.fixture(scope='module')
def course():
    return _scores(SIMILARITY, load_course_ratings())


@pytest.mark.parametrize(
    ('name', 'rater', 'value'),
    [
        ('pearson', 'mean', -0.17075),
        ('spearman', 'mean', -0.121),
        ('pearson_rater', 'r1', -0.113),
        ('pearson_rater', 'r2', -0.204),
        ('inter_rater', None, 0.829),
        ('spearman_brown', None, 0.907),
    ],
)
def test_the_course_example_gives_its_published_figures(course, name, rater, value):
    assert course[name, rater].value == pytest.approx(value, abs=5e-4)


def test_the_course_examples_interval_covers_both_signs(course):
    score = course['pearson', 'mean']
    assert (score.low, score.high) == pytest.approx((-0.66, 0.41), abs=0.015) and score.n == 20
    assert score.interval == 'percentiles of 10000 bootstrap samples of pairs'


def test_the_course_examples_most_influential_pairs_are_15_and_13(course):
    found = alignment.influence_scores(SIMILARITY, load_course_ratings(), {}, n_pairs=2)
    assert [score.provenance['without'] for score in found] == [['15'], ['15', '13']]
    assert [score.value for score in found] == pytest.approx([0.069, 0.179], abs=5e-4)
    assert [score.n for score in found] == [19, 18]


def test_the_same_seed_gives_the_same_interval(course):
    again = _scores(SIMILARITY, load_course_ratings())['pearson', 'mean']
    other = _scores(SIMILARITY, load_course_ratings(), seed=1)['pearson', 'mean']
    assert again == course['pearson', 'mean'] and again.low != other.low


@pytest.mark.parametrize(
    ('measure', 'reference'),
    [
        ('cosine', lambda a, b: 1 - distance.cosine(a, b)),
        ('pearson', lambda a, b: scipy.stats.pearsonr(a, b).statistic),
        ('-euclidean', lambda a, b: -distance.euclidean(a, b)),
        ('dot', np.dot),
    ],
)
def test_pair_similarities_equal_scipys(measure, reference):
    a, b = np.random.default_rng(0).normal(size=(2, 9, 4, 3))
    expected = [reference(x.ravel(), y.ravel()) for x, y in zip(a, b)]
    np.testing.assert_allclose(alignment.pair_similarity(a, b, measure), expected, atol=1e-12)


def test_a_zero_vector_has_no_cosine_and_a_constant_one_no_pearson():
    a, b = np.array([[0.0, 0, 0], [0.1, 0.1, 0.1], [1, 2, 3]]), np.array([[1.0, 2, 4]] * 3)
    np.testing.assert_array_equal(np.isnan(alignment.pair_similarity(a, b, 'cosine')), [True, False, False])
    np.testing.assert_array_equal(np.isnan(alignment.pair_similarity(a, b, 'pearson')), [True, True, False])


def test_wrong_features_and_measures_are_refused():
    a = np.ones((3, 4))
    with pytest.raises(ValueError, match="no similarity 'euclidean': choose one of cosine, pearson, -euclidean, dot"):
        alignment.pair_similarity(a, a, 'euclidean')
    with pytest.raises(ValueError, match=r'\(3, 4\) and \(2, 4\)'):
        alignment.pair_similarity(a, a[:2], 'dot')
    with pytest.raises(ValueError, match='features of pair 1'):
        alignment.pair_similarity(a, np.where(np.arange(3)[:, None] == 1, np.nan, a), 'dot')


@pytest.mark.parametrize(
    ('similarity', 'values', 'reason'),
    [
        ([0.1, np.nan, 0.2, np.nan], [[1, 2, 3, 4]], 'none: 2 similarities are undefined .* first of pairs p1, p3'),
        ([0.1] * 4, [[1, 2, 3, 4]], 'none: all similarities are equal'),
        ([0.1, 0.2, 0.3, 0.4], [[5, 5, 5, 5]], 'none: all ratings are equal'),
        ([0.1, 0.2], [[1, 2]], 'none: 2 pairs are too few'),
    ],
)
def test_a_correlation_that_is_undefined_says_why(similarity, values, reason):
    people = _people(values)
    score = _scores(np.array(similarity), people)['pearson', 'mean']
    assert np.isnan([score.value, score.low, score.high]).all()
    assert re.match(reason, score.interval)
    assert alignment.influence_scores(np.array(similarity), people, {}, n_pairs=1) == []


def test_one_rater_has_no_reliability_and_no_ceiling():
    found = _scores(np.arange(9.0), _people([[1, 5, 2, 4, 7, 3, 9, 8, 6]]))
    assert found['alpha', None].interval == 'none: one rater' and np.isnan(found['inter_rater', None].value)
    assert np.isnan(found['pearson', 'mean'].ceiling_lower) and np.isnan(found['pearson', 'mean'].ceiling_upper)
    assert found['pearson', 'mean'].value == pytest.approx(found['pearson_rater', 'r0'].value)


def test_a_rater_who_gives_one_rating_to_all_pairs_is_named():
    found = _scores(np.arange(5.0), _people([[1, 2, 3, 4, 6], [5] * 5]))
    assert found['alpha', None].interval == 'none: rater r1 gave the same rating to all pairs'
    assert np.isnan(found['pearson_rater', 'r1'].value)


def test_missing_ratings_leave_pairs_out_where_they_are_missing_only():
    np_rng = np.random.default_rng(0)
    values = np_rng.integers(1, 11, (3, 12)).astype(float)
    values[0, 3] = values[1, 5] = np.nan
    similarity = np_rng.normal(size=12)
    found = _scores(similarity, _people(values))
    rated = ~np.isnan(values[0])
    expected = scipy.stats.pearsonr(similarity[rated], values[0, rated]).statistic
    assert found['pearson_rater', 'r0'].value == pytest.approx(expected) and found['pearson_rater', 'r0'].n == 11
    expected = scipy.stats.spearmanr(similarity, np.nanmean(values, axis=0)).statistic
    assert found['spearman', 'mean'].value == pytest.approx(expected)
    assert found['alpha', None].n == 10


@pytest.mark.parametrize('n_raters', [2, 5])
def test_simulated_parallel_raters_of_known_reliability_give_the_known_answer(n_raters):
    """Truth of variance 1, errors of variance 1.5: a rater's reliability is 0.4; the model knows the truth."""
    np_rng = np.random.default_rng(n_raters)
    truth = np_rng.normal(size=20_000)
    people = _people(truth + np_rng.normal(0.0, np.sqrt(1.5), (n_raters, len(truth))))
    found = _scores(truth, people, n_bootstrap=20)
    of_mean = n_raters / (n_raters + 1.5)  # by Spearman and Brown
    others = 0.4 * np.sqrt((n_raters - 1) / (1 + (n_raters - 2) * 0.4))
    expected = {'inter_rater': 0.4, 'alpha': of_mean, 'spearman_brown': of_mean, 'one_against_others': others}
    for name, value in expected.items():
        assert found[name, None].value == pytest.approx(value, abs=0.02), name
    score = found['pearson', 'mean']
    assert score.value == pytest.approx(np.sqrt(of_mean), abs=0.01)
    assert score.ceiling_upper == pytest.approx(score.value, abs=0.01)
    assert score.ceiling_lower == pytest.approx(others, abs=0.02)
    assert found['pearson_rater', 'r0'].value == pytest.approx(np.sqrt(0.4), abs=0.02)


def test_spearman_browns_correction_is_refused_for_raters_who_are_not_parallel():
    np_rng = np.random.default_rng(0)
    truth = np_rng.normal(size=200)
    people = _people(truth + np.array([[0.5], [1.0], [4.0]]) * np_rng.normal(size=(3, 200)))
    score = _scores(truth, people, n_bootstrap=20)['spearman_brown', None]
    assert np.isnan(score.value) and 'are rejected (p = ' in score.interval and score.provenance['parallel_p'] < 1e-6


def test_influence_of_each_pair_is_the_correlation_without_it():
    similarity, rating = np.random.default_rng(0).normal(size=(2, 8))
    expected = [scipy.stats.pearsonr(np.delete(similarity, i), np.delete(rating, i)).statistic for i in range(8)]
    np.testing.assert_allclose(alignment.without_each(similarity, rating), expected, atol=1e-12)


def test_ratings_of_pairs_become_an_rdm_of_each_rater_with_gaps_where_nobody_rated():
    a, b = np.array(['z', 'x', 'y', 'x']), np.array(['x', 'y', 'x', 'x'])  # x-y twice, x with itself
    values = np.array([[9.0, 2, 4, 10], [1, np.nan, 5, 10]])
    people = Ratings(np.arange(4), a, b, np.full(4, '8'), np.array(['r1', 'r2']), values, (1, 10), 'people')
    one, other = alignment.rating_rdms(people)
    assert one.ids.tolist() == ['x', 'y', 'z'] and one.name == 'people/r1'
    np.testing.assert_array_equal(one.values, [7, 1, np.nan])  # x-y, x-z, y-z
    np.testing.assert_array_equal(other.values, [5, 9, np.nan])


def test_min_max_spans_nought_to_one_and_a_constant_has_no_scale():
    np.testing.assert_allclose(alignment.min_max(np.array([2.0, 4.0, 3.0])), [0, 1, 0.5])
    assert np.isnan(alignment.min_max(np.full(3, 0.7))).all()
    assert alignment.min_max(SIMILARITY)[12] == pytest.approx(0.271, abs=5e-4)  # pair 13 of the course example


def test_scores_say_of_whom_and_of_what_they_are(course):
    said = course['pearson', 'mean'].provenance
    assert said['human'] == 'course ratings' and said['category'] == '8' and said['n_raters'] == 2
    assert said['model'] == 'net' and said['measure'] == 'cosine' and said['simulated'] is False and said['seed'] == 0


@pytest.mark.data
@pytest.mark.parametrize(
    ('digit', 'r', 'low', 'high', 'alpha', 'between', 'others'),
    [('7', 0.425, 0.09, 0.71, 0.844, 0.439, 0.606), ('8', 0.498, 0.12, 0.72, 0.802, 0.382, 0.554)],
)
def test_pixels_predict_the_real_ratings_as_published(real_data, digit, r, low, high, alpha, between, others):
    ratings = read_ratings(real_data / 'digits' / 'similarity_ratings.csv.gz')
    images = read_images(real_data / 'digits' / 'similarity_ratings.npz', ratings)
    ratings = ratings.of_category(digit)
    pixels = dict(zip(images.ids.tolist(), (images.images / 255.0 - 0.1307) / 0.3081))
    a, b = (np.stack([pixels[stimulus] for stimulus in ids.tolist()]) for ids in (ratings.ids_a, ratings.ids_b))
    found = _scores(alignment.pair_similarity(a, b, 'cosine'), ratings)
    score = found['pearson', 'mean']
    assert score.value == pytest.approx(r, abs=0.001) and (score.low, score.high) == pytest.approx(
        (low, high), abs=0.02
    )
    expected = {'alpha': alpha, 'inter_rater': between, 'one_against_others': others}
    for name, value in expected.items():
        assert found[name, None].value == pytest.approx(value, abs=0.001), name
    assert np.isnan(found['spearman_brown', None].value)
