import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from humalign_jax import rsa
from humalign_jax.rsa.ranks import average, counting, products
from humalign_jax.rsa.ranks.counting import RankTables, Values, rank_table, rank_unit
from humalign_jax.rsa.ranks.products import rank_products, sorted_products


def spearmanr(a, b):
    """SciPy's, in float64: since 1.18 it ranks float32 values in float32."""
    return stats.spearmanr(np.asarray(a, np.float64), np.asarray(b, np.float64))


def rankdata(values):
    """SciPy's, in float64: since 1.18 it ranks float32 values in float32."""
    return stats.rankdata(np.asarray(values, np.float64))


P = 100_000


@pytest.fixture
def counted(monkeypatch):
    """Counts where values this few would be sorted."""
    monkeypatch.setattr(average, '_SMALL', 1000)


SHAPES = {
    'both signs': lambda rng: np.round(rng.normal(size=P) * 64) / 64,
    'distances': lambda rng: rng.uniform(0.4, 1.4, size=P),
    'rounded': lambda rng: np.round(rng.normal(size=P), 1),
    'counts': lambda rng: rng.poisson(2.0, size=P),
    'mostly one value': lambda rng: np.where(rng.random(P) < 0.9, 0.25, rng.random(P)),
    'zeros of both signs': lambda rng: np.where(rng.random(P) < 0.5, 0.0, -0.0) + rng.integers(0, 2, P),
    'wide': lambda rng: 10.0 ** rng.integers(-30, 30, size=P) * rng.choice([-1, 1], P),
    'infinite': lambda rng: np.where(rng.random(P) < 0.1, np.inf, np.round(rng.normal(size=P))),
}


def values(shape, seed=0):
    return SHAPES[shape](np.random.default_rng(seed)).astype(np.float32)


@pytest.mark.parametrize('shape', SHAPES)
def test_average_ranks_equal_scipy(shape, counted):
    np.testing.assert_array_equal(rsa.average_ranks(values(shape)), rankdata(values(shape)))


@pytest.mark.parametrize('shape', [shape for shape in SHAPES if shape != 'infinite'])
def test_spearman_equals_scipy_with_ties(shape, counted):
    a = values(shape)
    b = (np.round(np.sign(a) * np.abs(a) ** 0.1, 2) + values('counts', seed=1)).astype(np.float32)
    assert rsa.spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


def test_double_precision_values_are_ranked_in_double_precision(counted):
    a = 1 + 1e-12 * np.random.default_rng(0).permutation(P)
    np.testing.assert_array_equal(rsa.average_ranks(a), rankdata(a))
    assert rsa.spearman(a, -a) == pytest.approx(-1, abs=1e-12)


def test_short_arrays_equal_scipy():
    a, b = np.array([3, 1, 1, 2]), np.array([0.1, 0.2, 0.2, -4])
    assert rsa.spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-15)


@pytest.mark.parametrize('p', [5, P])
def test_constant_and_nan_values_have_no_correlation(p, counted):
    a, b = np.arange(p, dtype=np.float32), np.ones(p, np.float32)
    assert math.isnan(rsa.spearman(a, b))
    b[2] = np.nan
    assert math.isnan(rsa.spearman(a, b))


def test_messages_say_what_was_expected():
    with pytest.raises(ValueError, match=r'two arrays \[p\] of one length .* not \(3,\) and \(4,\)'):
        rsa.spearman(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match='1 of 3 values are NaN'):
        rsa.average_ranks(np.array([1, np.nan, 2]))


def test_keys_on_the_grid_are_lossless_and_in_order():
    """Tested on the keys themselves: merged neighbours would move rho by 1e-13 only."""
    grid = 2.0**-24
    top = np.arange(2**24 - 5000, 2**24 + 5001)
    steps = np.unique(np.concatenate([np.arange(5000), top, 2 * np.arange(2**24 - 5000, 2**24 + 1)]))
    distances = (steps * grid).astype(np.float32)
    kept = np.unique(distances)  # above 1 the odd steps are no float32
    addresses = np.asarray(counting._addresses(jnp.asarray(kept), grid=grid)).astype(np.int64)
    assert np.all(np.diff(addresses) > 0)
    assert addresses[0] == 0 and addresses[-1] == counting.GRID_SIZE - 1
    # Every float32 between 1/2 and 2 that is a distance has its own address: no gaps either.
    assert addresses[-1] - addresses[kept == 1][0] == 2**23


def test_keys_of_bit_patterns_are_in_order():
    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32).view(np.float32)
    numbers = np.unique(bits[np.isfinite(bits)])
    addresses = np.asarray(counting._addresses(jnp.asarray(numbers), grid=0.0)).astype(np.int64)
    assert np.all(np.diff(addresses) > 0)
    both = np.asarray(counting._addresses(jnp.asarray(np.array([0.0, -0.0], np.float32)), grid=0.0))
    assert both[0] == both[1]
    assert [counting._host_address(x) for x in (-1.5, -0.0, 0.0, 2.5)] == np.asarray(
        counting._addresses(jnp.asarray(np.array([-1.5, -0.0, 0.0, 2.5], np.float32)), grid=0.0)
    ).tolist()


def in_tiles(array, n_tiles=7):
    size = -(-len(array) // n_tiles)
    padded = np.pad(array, (0, n_tiles * size - len(array)), constant_values=np.nan).reshape(n_tiles, size)
    devices = jax.local_devices()
    return lambda n: Values(lambda d, t: jax.device_put(padded[t], devices[d % n]), n_tiles, len(array))


@pytest.mark.parametrize('n_devices', [1, 4])
@pytest.mark.parametrize('keep', [(0, 0), (7, 3), (7, 7)])
@pytest.mark.parametrize('table_bytes', [1 << 22, 1 << 26])  # many windows, and one
def test_windows_devices_and_memory_do_not_change_the_result(n_devices, keep, table_bytes):
    a = values('both signs')[:20_000]
    b = np.round(a + values('rounded', seed=1)[:20_000])
    devices = jax.local_devices()[:n_devices]
    found = rank_products(in_tiles(a)(n_devices), in_tiles(b)(n_devices), devices, table_bytes=table_bytes, keep=keep)
    assert found.spearman() == pytest.approx(spearmanr(a, b).statistic, abs=1e-13)


def test_rank_tables_hold_for_five_billion_pairs():
    n_pairs = 100_000 * 99_999 // 2
    counts = np.array([3_000_000_000, 1, n_pairs - 3_000_000_003, 2], np.int64)
    table, ties, n_counted = rank_table(counts, 0, n_pairs)
    assert n_counted == n_pairs
    below = [0, *np.cumsum(counts)[:-1].tolist()]
    exact = [2 * s + c - n_pairs for s, c in zip(below, counts.tolist())]
    unit = rank_unit(n_pairs)
    assert np.max(np.abs(table * float(unit) - [*exact, 0])) <= unit / 2
    assert ties == pytest.approx(sum(c**3 - c for c in counts.tolist()), rel=1e-12)


def test_counts_move_to_64_bits_before_they_overflow(monkeypatch):
    monkeypatch.setattr(counting, '_INT32_MAX', 5000)  # a few thousand pairs then already "overflow"
    a = values('counts')[:20_000]
    tables = RankTables(in_tiles(a)(1), jax.local_devices()[:1], table_bytes=1 << 26)
    tables.load(0)
    ranks = np.concatenate([np.asarray(tables.ranks(t)) for t in range(7)])[:20_000]
    np.testing.assert_allclose((ranks + 20_001) / 2, rankdata(a), rtol=1e-6)


@pytest.mark.parametrize('n_equal', [255, 256, 257, 512, 1 << 16])
@pytest.mark.parametrize('n_devices', [1, 2])
def test_as_many_equal_values_as_a_byte_can_and_cannot_count(n_equal, n_devices):
    rng = np.random.default_rng(n_equal)
    a = rng.permutation(np.concatenate([np.full(n_equal, 0.5), rng.uniform(size=5000)]).astype(np.float32))
    tables = RankTables(in_tiles(a)(n_devices), jax.local_devices()[:n_devices], table_bytes=1 << 27)
    assert tables.n_windows == 1
    tables.load(0)
    ranks = np.concatenate([np.asarray(tables.ranks(t)) for t in range(7)])[: len(a)]
    np.testing.assert_array_equal(ranks, 2 * rankdata(a) - (len(a) + 1))
    counts = np.unique(a, return_counts=True)[1].astype(float)
    assert tables.ties == pytest.approx(float((counts**3 - counts).sum()), rel=1e-14)


@pytest.mark.parametrize('n_equal', [65_535, 65_536, 65_537])
def test_as_many_equal_values_as_16_bits_can_and_cannot_count(n_equal):
    rng = np.random.default_rng(n_equal)
    near_one = 1 + rng.integers(0, 2000, 300_000 - n_equal) * 2.0**-23  # few addresses: many values for each
    a = rng.permutation(np.concatenate([np.full(n_equal, 1 + 2.0**-13), near_one]).astype(np.float32))
    devices = jax.local_devices()[:1]
    assert counting.count_dtype(devices, len(a), 1 << 14) == np.uint16
    tables = RankTables(in_tiles(a)(1), devices, table_bytes=1 << 27)
    tables.load(0)
    ranks = np.concatenate([np.asarray(tables.ranks(t)) for t in range(7)])[: len(a)]
    np.testing.assert_array_equal(ranks, 2 * rankdata(a) - (len(a) + 1))


def test_ranks_beyond_32_bits_are_rounded_to_a_multiple_of_a_power_of_two(monkeypatch, counted):
    monkeypatch.setattr(counting, 'rank_unit', lambda n_pairs: 8)
    monkeypatch.setattr(products, 'rank_unit', lambda n_pairs: 8)
    a, b = values('distances'), values('both signs', seed=1)
    b = a + b / 8
    assert np.max(np.abs(rsa.average_ranks(a) - rankdata(a))) == 2.0  # half of 8, of twice the rank
    # 1e5 ranks with errors of up to 2, as if drawn at random: 1e-5 of a rank's size, 1e-7 of all.
    assert rsa.spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-7)


@pytest.mark.parametrize(('n_pairs', 'unit'), [(2**31 - 1, 1), (2**31, 2), (100_000 * 99_999 // 2, 4)])
def test_ranks_of_billions_of_values_fit_32_bits(n_pairs, unit):
    assert rank_unit(n_pairs) == unit
    assert (n_pairs - 1) // unit <= 2**31 - 1


@pytest.mark.parametrize('shape', SHAPES)
def test_sorted_products_equal_scipy(shape):
    a = values(shape)
    b = a + values('rounded', seed=1)
    found = sorted_products(a, b)
    assert found.spearman() == pytest.approx(spearmanr(a, b).statistic, abs=1e-13)
    counts = np.unique(a, return_counts=True)[1].astype(float)
    assert found.ties_a == pytest.approx(float((counts**3 - counts).sum()), rel=1e-14)


@pytest.mark.parametrize('decimals', [None, 1, 0], ids=['distinct', 'tied', 'much tied'])
@pytest.mark.parametrize('p', [2, 5, 130])
def test_concordance_counts_all_pairs_of_values(p, decimals):
    x, y = np.random.default_rng(p).normal(size=(2, p))
    x, y = (x, y) if decimals is None else (x.round(decimals), y.round(decimals))
    expected = (np.sign(x[:, None] - x) * np.sign(y[:, None] - y)).sum(axis=1) / (p - 1)
    np.testing.assert_allclose(average.concordance(x, y), expected, atol=1e-12)
    np.testing.assert_array_equal(average.concordance(x, np.zeros(p)), np.zeros(p))
    if decimals is None:
        assert average.concordance(x, y).mean() == pytest.approx(stats.kendalltau(x, y).statistic)
