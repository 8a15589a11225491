"""Speed of RSA: exact Spearman of large feature sets beside arithmetic floors, and inference."""

import time

import jax
import numpy as np
import rsa as rsa_benchmark
import rsa_inference
import scipy.stats

from gpu_parts.setting import Setting
from humalign_jax import rsa as rsa_lib

N_FEATURES = 512
SIZES = (10_000, 30_000, 100_000)
BLOCKS = (None, 4000)  # rows of a tile: the package's default, and tiles of 64 MB
# A value is written as part of a tile, read to be counted and read to be ranked, 4 bytes each; its count and its rank
# lie anywhere in a table larger than the cache: 32 bytes moved for each.
BYTES_PER_VALUE = 3 * 4 + 2 * 32
SAMPLED_PAIRS = 500_000  # a standard error of 0.0014 at most


def rsa(setting: Setting) -> None:
    """Exact Spearman from features, N by N, smallest first; the larger N take the quicker block."""
    sizes = (100, 150, 200) if setting.tiny else SIZES
    blocks = (None, 64) if setting.tiny else BLOCKS
    limit = (jax.devices()[0].memory_stats() or {}).get('bytes_limit')
    memory = 0.6 * limit if limit else 0.8e9  # of a GPU, enough to keep the tiles of both sets at N = 100,000
    seconds: dict[int | None, float] = {}
    for n in sizes:
        x, y = (rsa_benchmark.features(n, N_FEATURES, seed) for seed in (1, 2))
        sampled = _sampled_spearman(x, y)
        tried = blocks if n < sizes[-1] else [min(seconds, key=lambda block: seconds[block])] if seconds else blocks[:1]
        for block in tried:
            what = f'exact Spearman, N = {n:,}, tiles of {block or "the default"}'
            with setting.trying(what):
                seconds[block] = _measure(setting, what, (x, y), sampled, block, memory)


def _measure(
    setting: Setting, what: str, both: tuple[np.ndarray, np.ndarray], sampled: float, block: int | None, memory: float
) -> float:
    """One row; returns seconds."""
    all_seconds = []
    for _ in range(3 if len(both[0]) < SIZES[-1] else 2):
        start = time.perf_counter()
        value = rsa_lib.compare_features(*both, block_size=block, memory_bytes=memory).value
        all_seconds.append(time.perf_counter() - start)
    best = min(all_seconds[1:])
    peak = (jax.devices()[0].memory_stats() or {}).get('peak_bytes_in_use')
    setting.row(
        what,
        f'{best:.2f} s (first {all_seconds[0]:.2f} s), {value:.8f}' + (f', peak {peak / 1e9:.1f} GB' if peak else ''),
        '; '.join([*_floors(setting, len(both[0])), f'random pairs {sampled:.5f}']),
        passed=abs(value - sampled) < (0.1 if setting.tiny else 0.01),
        seconds=best,
        value=value,
    )
    return best


def _floors(setting: Setting, n: int) -> list[str]:
    """Seconds of the products alone, and of the memory's traffic alone, of both sets in one pass."""
    n_values = n * (n - 1)  # pairs of both sets
    flop, rates = 2 * N_FEATURES * n_values, setting.rates
    floors = [('products', flop, rates.get('float32')), ('traffic', BYTES_PER_VALUE * n_values, rates.get('copy'))]
    return [f'floor of {name} {work / rate:.3f} s' for name, work, rate in floors if rate]


def _sampled_spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman of the correlation distances of random pairs, in NumPy."""
    rows = np.random.default_rng(0).integers(0, len(x), (min(SAMPLED_PAIRS, 100 * len(x)), 2))
    rows = rows[rows[:, 0] != rows[:, 1]]
    distances = []
    for features in (x, y):
        z = features - features.mean(axis=1, keepdims=True)
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        parts = np.array_split(rows, 50)
        distances.append(1 - np.concatenate([np.einsum('nd,nd->n', z[a], z[b]) for a, b in (p.T for p in parts)]))
    return float(scipy.stats.spearmanr(*distances).statistic)


def infer(setting: Setting) -> None:
    """Inference on RDMs and its bootstrap, as benchmarks/rsa_inference.py measures them on a CPU."""
    sizes = dict(n_stimuli=20, n_draws=20) if setting.tiny else {}
    for index in ('cosine', 'pearson', 'spearman'):
        with setting.trying(f'bootstrap, {index}'):
            models, subjects = rsa_inference.make_data(sizes.get('n_stimuli', rsa_inference.N_STIMULI))
            n_draws = sizes.get('n_draws', rsa_inference.N_DRAWS)
            first, later, of_infer, result = rsa_inference.time_ours(models, subjects, index, n_draws)
            setting.row(
                f'{n_draws} draws of {len(models)} models, {len(subjects)} subjects, {index}',
                f'{later:.2f} s (first {first:.2f} s); rsa.infer {of_infer:.2f} s',
                passed=bool(np.isfinite(result.scores).all()),
            )
