r"""Published CIFAR-10 networks against people: two imported ResNets, and the errors of 30 models.

    python benchmarks/published_networks.py --data=DIR --features features/resnet20 features/resnet56

`--data` is a folder with cifar10h.npz, lossless_sample.npz and lossless_test_1120.npz (`test_index`: numbers of the
test images with original pixels), test_jpeg.npz (`labels`) and test_predictions_30_models.npz; see
third_party/cifar10_predictions. `--features` are folders that configs/extract.py wrote from runs of
configs/import_checkpoint.py, with the layers penultimate and probs of the CIFAR-10 test images
(docs/results/published_networks/README.md has the commands); without them only the 30 models are scored. Writes
networks.json, error_consistency.csv and error_consistency.png into docs/results/published_networks.
"""

import argparse
import pathlib

import matplotlib.figure
import numpy as np

from humalign_jax import rsa, storage
from humalign_jax.alignment import errors, intervals
from humalign_jax.human import cifar10h
from humalign_jax.records import Features, Score, stimulus_ids
from humalign_jax.report.plots import dots, style

OUT = pathlib.Path(__file__).parents[1] / 'docs' / 'results' / 'published_networks'
OBSERVERS = {'kappa': 'a random person', 'kappa_majority': "people's majority"}


def network_scores(folder: pathlib.Path, data: pathlib.Path, labels: np.ndarray) -> dict[str, float]:
    """Accuracy on lossless test images, and RSA with people on the 1,120 that people find ambiguous."""
    ambiguous, sample = (np.load(data / f'lossless_{name}.npz')['test_index'] for name in ('test_1120', 'sample'))
    layers = {name: rsa.files.load_features(folder / f'{name}.npy') for name in ('penultimate', 'probs')}
    found = {}
    of = {'sample': sample, 'ambiguous': ambiguous, 'all lossless': np.union1d(ambiguous, sample),
          'all, most as JPEG': np.arange(len(labels))}  # fmt: skip
    for name, index in of.items():
        right = rows_of(layers['probs'], index).argmax(axis=1) == labels[index]
        found |= {f'accuracy, {name}': float(right.mean()), f'n, {name}': len(index)}
    answers = cifar10h.load_answers(data)
    ids = stimulus_ids('cifar10', 'test', ambiguous)
    people = rsa.rdm(Features(answers.select(ids).probabilities, ids, 'people'), 'cosine')
    reference = rsa.Reference(people, labels=labels[ambiguous], pairs=('all', 'within', 'partial'))
    for name, layer in layers.items():
        scores = reference.values(rsa.rdm(Features(rows_of(layer, ambiguous), ids, name), 'correlation'))
        found |= {f'{name}, {pairs}': value for pairs, value in scores.items()}
    return found


def rows_of(layer: Features, index: np.ndarray) -> np.ndarray:
    """Values of these test images, found by their ids."""
    rows = {stimulus: row for row, stimulus in enumerate(layer.ids.tolist())}
    return np.asarray(layer.values)[[rows[one] for one in stimulus_ids('cifar10', 'test', index).tolist()]]


def consistency(data: pathlib.Path, labels: np.ndarray) -> tuple[dict[str, float], dict[str, dict[str, Score]]]:
    """Accuracy of each model, and its error consistency with each of `OBSERVERS`, on all test images."""
    answers = cifar10h.load_answers(data)
    observers = {
        'kappa': answers.probabilities[np.arange(len(labels)), labels],
        'kappa_majority': answers.counts.argmax(axis=1) == labels,
    }
    ceilings = errors.ceilings(answers.counts, labels)
    weights = rsa.bootstrap_weights(0, len(labels), 1000, stream=0).astype(np.float64)
    with np.load(data / 'test_predictions_30_models.npz', allow_pickle=False) as file:
        right = dict(zip(file['model'].tolist(), file['predicted'] == labels))
    right = dict(sorted(right.items(), key=lambda item: -item[1].mean()))
    scores: dict[str, dict[str, Score]] = {name: {} for name in observers}
    for model, answered in right.items():
        for name, observer in observers.items():
            value = float(errors.kappa(answered, observer))
            ends = intervals.normal_interval(value, errors.kappa(answered, observer, weights))
            kind = 'normal, standard error from 1000 bootstrap samples of images'
            scores[name][model] = Score(f'errors/{name}', value, *ends, len(labels), kind, *ceilings[name])
    return {model: float(answered.mean()) for model, answered in right.items()}, scores


def draw(accuracy: dict[str, float], scores: dict[str, dict[str, Score]]) -> matplotlib.figure.Figure:
    """A panel for each observer, a line for each model, the noise ceiling as a band."""
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(style.PAGE_INCHES, 0.17 * len(accuracy) + 0.7), layout='constrained')
        axes = figure.subplots(1, 2, sharey=True)
        for ax, (name, found) in zip(axes, scores.items()):
            ceiling = next(iter(found.values()))
            ax.axvspan(ceiling.ceiling_lower, ceiling.ceiling_upper, color=style.CEILING_GREY, linewidth=0.0, zorder=0)
            dots.plot_dots(ax, found, dict.fromkeys(found, 'model'))
            ax.set_xlim(0.0, ceiling.ceiling_upper)
            ax.set_xlabel(f'Kappa with {OBSERVERS[name]};\nnoise ceiling in grey')
        names = [f'{model}, {100 * share:.1f} %' for model, share in accuracy.items()]
        axes[0].set_yticks(range(len(names)), names)
        axes[0].set_ylim(len(names) - 0.4, -0.6)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--data', type=pathlib.Path, required=True)
    parser.add_argument('--features', type=pathlib.Path, nargs='*', default=())
    arguments = parser.parse_args()
    labels = np.load(arguments.data / 'test_jpeg.npz')['labels'].astype(np.int64)
    if arguments.features:
        found = {folder.name: network_scores(folder, arguments.data, labels) for folder in arguments.features}
        storage.write_json(OUT / 'networks.json', found)
        for name, scores in found.items():
            print(name, {key: round(value, 4) for key, value in scores.items()})

    accuracy, scores = consistency(arguments.data, labels)
    lines = ['model,accuracy,kappa,low,high,kappa_majority,low_majority,high_majority']
    for model, share in accuracy.items():
        cells = [f'{value:.4f}' for name in scores for value in (
            scores[name][model].value, scores[name][model].low, scores[name][model].high)]  # fmt: skip
        lines.append(','.join([model, f'{share:.4f}', *cells]))
    storage.write_text(OUT / 'error_consistency.csv', '\n'.join(lines) + '\n')
    style.save_figure(draw(accuracy, scores), OUT / 'error_consistency')
    shares = [*accuracy.values()]
    for name, found in scores.items():
        values = np.array([one.value for one in found.values()])
        ceiling = next(iter(found.values()))
        print(f'{name}: {values.min():.3f} to {values.max():.3f}, correlation with accuracy '
              f'{np.corrcoef(values, shares)[0, 1]:.2f}, among models above 92 % '
              f'{np.corrcoef(values[np.array(shares) > 0.92], [one for one in shares if one > 0.92])[0, 1]:.2f}; '
              f'noise ceiling {ceiling.ceiling_lower:.3f} to {ceiling.ceiling_upper:.3f}')  # fmt: skip


if __name__ == '__main__':
    main()
