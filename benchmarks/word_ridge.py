r"""A plain ridge map from word embeddings to WordNet functions, and how often it names people's odd one out.

    python benchmarks/word_ridge.py --root=DIR    # folder with things/, see third_party/things

The static control of docs/results/metalign that needs no training: features of the 1,854 THINGS concepts are mapped
to the hypernyms with 20 concepts or more, and triplets are answered by the cosine of the mapped features. Concepts
are held out in ten folds.
"""

import argparse
import pathlib

import numpy as np
import scipy.sparse

from humalign_jax.alignment import odd_one_out
from humalign_jax.human import things

ARRAYS = ('minilm_word', 'glove6b_50d', 'wink_sg_100d')


def ridge_map(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of x, mean of y, and the map of centred values."""
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    x, y = x - mean_x, y - mean_y
    return mean_x, mean_y, np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)


def mapped(x: np.ndarray, y: np.ndarray, penalty: float, fold: np.ndarray) -> np.ndarray:
    """Centred predictions of each row from the other folds; of one fold alone, from all rows."""
    found = np.empty(y.shape)
    for part in np.unique(fold):
        rows = fold == part
        mean_x, _, weights = ridge_map(x[~rows] if not rows.all() else x, y[~rows] if not rows.all() else y, penalty)
        found[rows] = (x[rows] - mean_x) @ weights
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--root', type=pathlib.Path, required=True)
    parser.add_argument('--penalty', type=float, default=1.0)
    folder = parser.parse_args().root / 'things'
    penalty = parser.parse_args().penalty
    triplets = things.load_triplets(folder)
    with np.load(folder / 'word_embeddings.npz') as words:
        row, column, shape = (words[f'wordnet_{name}'] for name in ('row', 'col', 'shape'))
        hypernyms = scipy.sparse.coo_array((np.ones(len(row)), (row, column)), shape=tuple(shape)).toarray()
        embeddings = {name: words[name].astype(np.float64) for name in ARRAYS}
    n = hypernyms.sum(axis=0)
    functions = hypernyms[:, (n >= 20) & (n < len(hypernyms))]
    fold = np.random.default_rng(0).permutation(np.arange(len(functions)) % 10)
    print(f'{functions.shape[1]} functions, penalty {penalty:g}; accuracy in %')
    print(f'{"features":14} {"as they are":>12} {"mapped":>8} {"mapped, concepts held out":>26}')
    for name, x in embeddings.items():
        kinds = (x, mapped(x, functions, penalty, np.zeros(len(x))), mapped(x, functions, penalty, fold))
        found = [100 * odd_one_out.predict(values, triplets).credit.mean() for values in kinds]
        print(f'{name:14} {found[0]:12.2f} {found[1]:8.2f} {found[2]:26.2f}')


if __name__ == '__main__':
    main()
