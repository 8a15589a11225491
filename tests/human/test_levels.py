"""Levels: the pickle is read without being run, and becomes triplets with kinds and participants."""

import os
import pickle

import pytest

from humalign_jax import pickles
from humalign_jax.human import levels


def _trial(images=('n01/n01_1.JPEG', 'n01/n01_2.JPEG', 'n02/n02_7.JPEG'), selected=2, **changes):
    trial = {f'image{k + 1}Path': image for k, image in enumerate(images)}
    trial |= {'selected_image': images[selected], 'triplet_type': 'class_border', 'exp_trial_type': 'exp_trial'}
    return {**trial, 'rt': 812.5, **changes}


def _write(folder, people, protocol=4):
    path = folder / levels.FILE
    path.write_bytes(pickle.dumps(people, protocol=protocol))
    return path


@pytest.mark.parametrize('protocol', [2, 4, 5])
def test_experimental_trials_become_triplets_with_ids_of_images(tmp_path, protocol):
    people = {
        'ann': [_trial(exp_trial_type='practice'), _trial(), _trial(selected=0)],
        'bob': [_trial(('n03_1.JPEG', 'n02_7.JPEG', 'n01_1.JPEG'), 1, triplet_type='between_class')],
    }
    made = levels.load_triplets(_write(tmp_path, people, protocol))
    assert made.ids.tolist() == ['n01_1', 'n01_2', 'n02_7', 'n03_1']
    assert made.ids[made.chosen].tolist() == ['n02_7', 'n01_1', 'n02_7'] and made.odd.tolist() == [2, 0, 1]
    assert made.participants.tolist() == ['ann', 'ann', 'bob'] and made.in_order
    assert made.kinds.tolist() == ['class_border', 'class_border', 'between_class']
    assert made.provenance['n_practice_trials'] == 1


@pytest.mark.parametrize(
    ('trial', 'message'),
    [
        (_trial(selected_image='n09.JPEG'), "'ann', trial 0 .*: selected_image 'n09' must be one of the three"),
        (_trial(triplet_type='easy'), "triplet_type 'easy' must be one of between_class"),
        (_trial(image2Path=None), 'lacks image2Path as text'),
        (_trial(('a.JPEG', 'a.JPEG', 'b.JPEG')), 'shows a stimulus twice, a, a, b'),
        (7, 'a dict is expected, not a int'),
        (_trial(exp_trial_type='practice'), "no trial whose exp_trial_type is 'exp_trial', of 1 trials"),
    ],
)
def test_a_wrong_trial_is_named(tmp_path, trial, message):
    with pytest.raises(ValueError, match=message):
        levels.load_triplets(_write(tmp_path, {'ann': [trial]}))


class _Hostile:
    def __reduce__(self):
        return os.mkdir, ('ran',)


def test_a_pickle_that_would_run_something_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r'is not a pickle of plain arrays.*mkdir'):
        levels.load_triplets(_write(tmp_path, {'ann': [_trial(rt=_Hostile())]}))
    assert not (tmp_path / 'ran').exists()


def test_only_levels_may_have_more_opcodes_than_other_pickles(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, 'MAX_OPCODES', 100)
    path = _write(tmp_path, {'ann': [_trial() for _ in range(20)]})
    assert len(levels.load_triplets(path)) == 20
    with pytest.raises(ValueError, match='more than 100 opcodes'):
        pickles.read_pickle(path.read_bytes(), path)
    monkeypatch.setattr(levels, 'MAX_OPCODES', 200)
    with pytest.raises(ValueError, match='more than 200 opcodes'):
        levels.load_triplets(path)
