"""Tables of learning tasks are read as they stand; what cannot be is refused with its line."""

import gzip

import numpy as np
import pytest
from scipy import stats

from humalign_jax.human import learning

CATEGORY = ('participant,trial,unique_id,image,choice,true_category', '2,1,cat,a.jpg,1,0', '2,2,dog,b.jpg,0,0')
REWARD = (
    'participant,trial,left_unique_id,right_unique_id,reward_left,reward_right,choice',
    '10,2,cup,hat,20,80,right',
    '10,1,cat,dog,55.5,10,left',
    '9,1,cat,hat,0,100,left',
)


@pytest.fixture
def write(tmp_path):
    def write(*lines, name='table.csv'):
        content = '\n'.join(lines).encode() + b'\n'
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith('.gz') else content)
        return tmp_path / name

    return write


@pytest.mark.parametrize('name', ['table.csv', 'table.csv.gz'])
def test_a_table_of_reward_learning_is_sorted_by_participant_and_trial(write, name):
    found = learning.read_choices(write(*REWARD, name=name))
    assert found.participants.tolist() == ['9', '10', '10'] and found.trials.tolist() == [1, 1, 2]
    assert found.stimuli.tolist() == [['cat', 'hat'], ['cat', 'dog'], ['cup', 'hat']]
    assert found.choices.tolist() == [0, 0, 1] and found.options == ('left', 'right')
    np.testing.assert_array_equal(found.feedback, [[0, 100], [55.5, 10], [20, 80]])
    assert found.task == 'reward' and found.name == 'table'


def test_a_table_of_category_learning_has_one_stimulus_and_the_right_option(write):
    found = learning.read_choices(write(*CATEGORY, '3,1,cat,a.jpg,1,1'), name='people')
    assert found.stimuli.tolist() == [['cat'], ['dog'], ['cat']] and found.options == ('0', '1')
    assert found.choices.tolist() == [1, 0, 1] and found.feedback.tolist() == [[0], [0], [1]]
    assert found.task == 'category' and found.name == 'people'


def test_column_names_of_the_authors_are_read_and_lines_are_trials(write):
    head = 'participant,image,choice,true_category_binary'
    found = learning.read_choices(write(head, 'a,cat/1.jpg,0,0', 'b,dog/1.jpg,1,1', 'a,cup/1.jpg,1,0'))
    assert found.stimuli[:, 0].tolist() == ['cat/1.jpg', 'cup/1.jpg', 'dog/1.jpg']


@pytest.mark.parametrize(
    ('lines', 'message'),
    [
        ((*REWARD, '9,2,cat,hat,0,100,up'), "line 5: choice is 'up', where one of left, right is expected"),
        ((*REWARD, '9,2,cat,hat,many,100,left'), "line 5: reward_left is 'many', where a number is expected"),
        ((*REWARD, '9,2.5,cat,hat,0,100,left'), "line 5: trial is '2.5', where a whole number is expected"),
        ((*REWARD, '9,2,,hat,0,100,left'), 'line 5: left_unique_id is empty'),
        ((*REWARD, '9,2,cat,hat'), 'line 5: the header has 7 cells'),
        ((*REWARD, '9,1,cup,hat,0,100,left'), 'participant 9, trial 1: the trial does not come after the one before'),
        ((REWARD[0].replace('reward_left', 'gain'), REWARD[1]), "no column 'reward_left'"),
        (('person,choice', '1,0'), "no column 'participant', only person, choice"),
        ((CATEGORY[0],), 'holds no row'),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(write, lines, message):
    with pytest.raises(ValueError, match=message):
        learning.read_choices(write(*lines))


def test_unknown_and_absent_sets_are_named(tmp_path):
    with pytest.raises(ValueError, match=r'no learning data named .decision.* Known: category_learning_2024'):
        learning.load_set('decision', tmp_path)
    with pytest.raises(ValueError, match=r'things/decisions.csv.gz and .*put decisions.csv.gz there'):
        learning.load_set('decisions', tmp_path)


@pytest.mark.data
@pytest.mark.parametrize(
    ('name', 'n_people', 'n_trials', 'share_right'),
    [
        ('category_learning_2024', 61, 120, 0.734),
        ('reward_learning_2024', 82, 60, 0.66),
        ('decisions', 25, 150, 0.743),
    ],
)
def test_real_choices_have_the_published_numbers(real_data, name, n_people, n_trials, share_right):
    found = learning.load_set(name, real_data)
    assert len(found.people) == n_people and len(found) == n_people * n_trials
    if found.task == 'category':
        right = found.choices == found.feedback[:, 0]
    else:
        right = np.take_along_axis(found.feedback, found.choices[:, None], axis=1)[:, 0] == found.feedback.max(axis=1)
    np.testing.assert_allclose(right.mean(), share_right, atol=0.001)


@pytest.mark.data
def test_feedback_of_the_real_tasks_follows_one_of_three_dimensions(real_data):
    """Category: the median split of the own stimuli on a SPoSE-49 dimension, 0 to 2; reward: a linear function."""
    concepts = learning.read_concepts(real_data)
    spose = np.load(real_data / 'things' / 'spose_49d.npz')['spose_49d'][:, :3]
    row = {concept: number for number, concept in enumerate(concepts)}
    for name in ('category_learning_2024', 'reward_learning_2024'):
        choices = learning.load_set(name, real_data)
        for person in choices.people:
            own = choices.participants == person
            shown = spose[[[row[stimulus] for stimulus in trial] for trial in choices.stimuli[own]]]  # [t, k, 3]
            flat, feedback = shown.reshape(-1, 3), choices.feedback[own].ravel()
            if choices.task == 'category':
                agreement = ((flat > np.median(flat, axis=0)) == feedback[:, None]).mean(axis=0)
                agreement = np.maximum(agreement, 1 - agreement)  # either class may be the upper half
            else:
                agreement = stats.pearsonr(flat, feedback[:, None], axis=0).statistic ** 2
            assert agreement.max() > 0.99, person
