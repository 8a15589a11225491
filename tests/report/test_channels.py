"""The section about decoders: networks with and without one, classes, curves, reconstructions."""

import re

import numpy as np
import pytest
from PIL import Image

from humalign_jax import storage
from humalign_jax.records import Score

CLASSES = ('knife', 'spoon')
PER_CLASS = np.array([[0.75, 0.5, 0.6, 30], [np.nan, 0.0, 0.0, 30]])


def _write_network(folder, name, accuracy, **said):
    """What a training run leaves, as far as the section reads it."""
    where = folder / 'networks' / name
    scores = [Score('accuracy', accuracy, accuracy - 0.1, accuracy + 0.1, 60, 'wilson', provenance=said)]
    scores.append(Score('loss', 1.5, 1.4, 1.6, 60, "Student's t over images", provenance={**said, 'unit': 'nats'}))
    for class_name, (_, recall, _, n) in zip(CLASSES, PER_CLASS):
        scores.append(
            Score(f'accuracy/{class_name}', recall, recall - 0.1, recall + 0.1, int(n), 'wilson', provenance=said)
        )
    if said['decoder']:
        scores.append(Score('mse', 0.083, 0.081, 0.085, 60, "Student's t over images", provenance=said))
    storage.write_jsonl(where / 'scores.jsonl', [score.to_json() for score in scores])
    rows = [{'epoch': e, 'split': split, 'loss': 2.0 - e} for e in (0.5, 1.0) for split in ('train', 'test')]
    storage.write_jsonl(where / 'metrics.jsonl', rows)
    storage.write_array(where / 'per_class.npy', PER_CLASS, {'class_names': CLASSES})


@pytest.fixture(scope='module')
def page(tmp_path_factory, make_page):
    folder = tmp_path_factory.mktemp('decoders')
    _write_network(folder, 'plain', 0.51, decoder=False)
    _write_network(folder, 'both', 0.62, decoder=True, unpool='switches')
    pictures = folder / 'networks' / 'both' / 'pictures'
    pictures.mkdir()
    for epoch, psnr in ((0, 9.0), (10, 17.0), (2, 15.0)):
        Image.fromarray(np.full((4, 4, 3), epoch, np.uint8)).save(pictures / f'reconstructions_epoch_{epoch:03}.png')
        said = {
            'epoch': float(epoch),
            'psnr': [psnr - 1, psnr + 1],
            'ids': ['a', 'b'],
            'rows': ['originals', 'clipped'],
        }
        storage.write_json(pictures / f'reconstructions_epoch_{epoch:03}.json', said)
    make_page(folder)
    return (folder / 'report' / 'report.html').read_text(encoding='utf-8'), folder / 'report'


def test_networks_with_and_without_a_decoder_stand_in_one_table(page):
    text = (page[1] / 'tables' / 'decoders.md').read_text().replace('\\', '')
    assert '| both decoder, unpools by switches | **0.62 [0.52, 0.72]** | 0.0830 [0.0810, 0.0850] |' in text
    assert '| plain no decoder | 0.51 [0.41, 0.61] | – |' in text
    assert page[0].count('The decoder of both unpools with switches') == 2  # in the section and among the sentences
    assert re.search('Accuracy with a decoder, .*: both .*without one: plain', page[0])


def test_the_classification_report_has_precision_recall_and_f1_of_each_class_and_network(page):
    rows = (page[1] / 'tables' / 'classes.md').read_text().replace('\\', '').splitlines()
    assert any(
        '| both: precision | both: recall | both: F1 | plain: precision | plain: recall | plain: F1 |' in r
        for r in rows
    )
    assert '| knife | 0.750 | 0.50 [0.40, 0.60] | 0.600 | 0.750 | 0.50 [0.40, 0.60] | 0.600 |' in rows
    (spoon,) = [row for row in rows if row.startswith('| spoon | – |')]  # it was never predicted
    assert '| 0.000 |' in spoon


def test_reconstructions_stand_in_the_order_of_their_epochs(page):
    titles = re.findall(r'both, epoch (\d+): mean PSNR ([\d.]+) dB', page[0])
    assert titles == [('0', '9.0'), ('2', '15.0'), ('10', '17.0')]


def test_the_losses_of_every_network_are_drawn(page):
    assert len(re.findall('Loss of (?:both|plain) by epoch', page[0])) == 2
    assert {path.name for path in (page[1] / 'figures').glob('loss_*.png')} == {'loss_both.png', 'loss_plain.png'}
