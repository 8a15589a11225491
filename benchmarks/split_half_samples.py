"""How much do split halves of CIFAR-10H depend on which 3,000 images are taken? Samples of images, three splits each.

    python benchmarks/split_half_samples.py --counts=cifar10h.npz --labels=test_jpeg.npz

Single values recorded elsewhere are of one such sample; they can be reproduced within the spread of samples only.
Writes benchmarks/results/split_half_samples.json: mean and standard deviation over samples of the mean of three splits.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.spatial.distance import pdist
from tqdm import tqdm

from humalign_jax import rsa, storage

# Split-half Spearman of one sample, as recorded in the studies' reference figures.
RECORDED = {
    'euclidean, all': 0.723,
    'cosine, all': 0.718,
    'euclidean, within': 0.586,
    'cosine, within': 0.599,
    'euclidean, between': 0.593,
    'cosine, between': 0.430,
    'euclidean, partial': 0.593,
    'cosine, partial': 0.432,
}


def split_halves(counts: np.ndarray, labels: np.ndarray, np_rng: np.random.Generator, n_splits: int) -> dict:
    """Mean split-half Spearman by distance and pairs."""
    kinds = {
        'all': {},
        'within': {'mask': rsa.within_category(labels)},
        'between': {'mask': rsa.between_category(labels)},
        'partial': {'control': rsa.category_rdm(labels)[None]},
    }
    found = {name: [] for name in RECORDED}
    for _ in range(n_splits):
        halves = rsa.split_counts(counts, np_rng)
        for measure in ('euclidean', 'cosine'):
            rdms = [pdist(half / half.sum(axis=1, keepdims=True), measure).round(12) for half in halves]
            for kind, options in kinds.items():
                found[f'{measure}, {kind}'].append(float(rsa.compare(*rdms, **options)))
    return {name: np.mean(values) for name, values in found.items()}


def main() -> None:
    """Runs all samples and writes the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--counts', required=True)
    parser.add_argument('--labels', required=True)
    parser.add_argument('--samples', type=int, default=24)
    options = parser.parse_args()
    with np.load(options.counts, allow_pickle=False) as file:
        counts = file['counts'].astype(int)
    with np.load(options.labels, allow_pickle=False) as file:
        labels = file['labels'].astype(int)
    samples = []
    for seed in tqdm(range(options.samples)):
        np_rng = np.random.default_rng(seed)
        rows = np_rng.permutation(len(counts))[:3000]
        samples.append(split_halves(counts[rows], labels[rows], np_rng, 3))
    table = {}
    for name, recorded in RECORDED.items():
        values = np.array([sample[name] for sample in samples])
        spread = values.std(ddof=1)
        table[name] = {
            'mean': round(float(values.mean()), 4),
            'standard_deviation': round(float(spread), 4),
            'smallest': round(float(values.min()), 4),
            'largest': round(float(values.max()), 4),
            'recorded': recorded,
            'recorded_in_deviations': round(float((recorded - values.mean()) / spread), 2),
        }
        print(name, table[name])
    path = Path(__file__).parent / 'results' / 'split_half_samples.json'
    storage.write_json(path, {'n_samples': options.samples, 'n_images': 3000, 'n_splits': 3, 'split_halves': table})


if __name__ == '__main__':
    main()
