"""The odd-one-out experiment: simulated observers come back, files join by id, bad input is named or counted."""

import pickle

import numpy as np
import pytest

from humalign_jax import storage
from humalign_jax.alignment.triplet_scores import POSITION_BIAS
from humalign_jax.experiments import odd_one_out
from humalign_jax.records import Score
from humalign_jax.wiring import triplets as wiring

from ..conftest import load_config

IDS = [f'n0_{k}' for k in range(8)]


def _run(config, folder):
    odd_one_out.run(config, str(folder))
    return [Score.from_json(row) for row in storage.read_jsonl(folder / 'scores.jsonl')]


def _one(scores, name, model, **where):
    found = [
        s for s in scores
        if s.name == f'odd_one_out/{name}' and s.provenance['model'] == model
        and {'trials': 'all', 'over': 'triplets', **where}.items() <= s.provenance.items()
    ]  # fmt: skip
    return found[0]


@pytest.fixture(scope='module')
def simulated(tmp_path_factory):
    config = load_config('odd_one_out', 'tiny')
    config.n_devices = 1
    return config, _run(config, tmp_path_factory.mktemp('simulated'))


def test_simulated_observers_are_predicted_as_well_as_their_own_probabilities_allow(simulated):
    config, scores = simulated
    triplets, sources = wiring.simulate(config)
    latent = sources[0].features.values
    a, b, c = (latent[triplets.items[:, k]] for k in range(3))
    logits = np.stack([(b * c).sum(1), (a * c).sum(1), (a * b).sum(1)], axis=1) / wiring.TEMPERATURE
    p = np.exp(logits + wiring.PLACE_BIAS)
    p /= p.sum(axis=1, keepdims=True)
    entropy = -(p * np.log(p)).sum(axis=1).mean()
    found = _one(scores, 'accuracy', wiring.TRUTH, measure='cosine')
    expected = p[np.arange(len(p)), logits.argmax(axis=1)].mean()
    assert found.low < expected < found.high and found.provenance['simulated']
    found = _one(scores, 'nll', wiring.TRUTH, measure='cosine')
    assert found.low < entropy + 0.01 < found.high  # three parameters fitted to 160 trials of a person cost 0.009
    assert found.provenance['temperature'] == pytest.approx(wiring.TEMPERATURE, rel=0.1)
    assert found.ceiling_lower < entropy < found.high


def test_worse_representations_are_worse_and_noise_is_at_chance(simulated):
    _, scores = simulated
    order = [_one(scores, 'accuracy', name, measure='dot') for name in (wiring.TRUTH, wiring.NOISY, wiring.UNRELATED)]
    assert order[0].low > order[1].high and order[1].low > order[2].high and order[2].low < 1 / 3 + 0.01
    gain = _one(scores, 'accuracy/difference', wiring.NOISY, measure='dot', over='participants')
    assert gain.value == pytest.approx(order[1].value - order[2].value) and gain.low > 0
    bias, noise = (_one(scores, 'mcfadden_r2', name) for name in (POSITION_BIAS, wiring.UNRELATED))
    assert bias.low > 0 and noise.value == pytest.approx(bias.value, abs=0.01) and bias.provenance['baseline']


@pytest.fixture
def levels_study(tmp_path):
    """Choices of three people about eight images, and features of these images with ids."""
    np_rng, people = np.random.default_rng(0), {}
    for person in ('ann', 'bob', 'cy'):
        people[person] = []
        for _ in range(30):
            shown = [f'{name}.JPEG' for name in np_rng.choice(IDS, 3, replace=False)]
            trial = {f'image{k + 1}Path': name for k, name in enumerate(shown)}
            trial |= {'selected_image': shown[int(np_rng.integers(3))], 'exp_trial_type': 'exp_trial'}
            people[person].append({**trial, 'triplet_type': ('within_class', 'class_border')[int(np_rng.integers(2))]})
    for trial in people['bob']:
        trial['selected_image'] = trial['image2Path']
    people['cy'] = people['cy'][:2]
    (tmp_path / 'levels.pkl').write_bytes(pickle.dumps(people))
    np.savez(tmp_path / 'net.npz', features=np_rng.normal(size=(8, 4)), ids=np.array(IDS[::-1]))
    config = load_config('odd_one_out', 'full')
    config.update(features=(str(tmp_path / 'net.npz'),), n_bootstrap=20, n_devices=1)
    config.human.update(name='levels', root=str(tmp_path))
    return config, tmp_path


def test_people_with_two_trials_or_one_place_are_counted_exclusions_of_the_choice_model(levels_study):
    config, folder = levels_study
    scores = _run(config, folder / 'out')
    fitted = _one(scores, 'nll', 'net')
    said = fitted.provenance
    assert (said['n_fitted'], said['n_left_out_few_trials'], said['n_left_out_one_place']) == (1, 1, 1)
    assert said['n_trials'] == 30 and _one(scores, 'accuracy', 'net').provenance['n_trials'] == 62
    kinds = {s.provenance['trials'] for s in scores}
    assert kinds == {'all', 'within_class', 'class_border'}


def test_trials_with_stimuli_that_features_lack_are_an_error_or_counted(levels_study):
    config, folder = levels_study
    np.savez(folder / 'net.npz', features=np.tri(7), ids=np.array(IDS[:7]))
    with pytest.raises(ValueError, match="net lacks 1 of the 8 stimuli of 'Levels', the first of them 'n0_7'"):
        odd_one_out.run(config, str(folder / 'out'))
    config.join = 'shared'
    scores = _run(config, folder / 'out')
    said = _one(scores, 'accuracy', 'net').provenance
    assert said['n_trials'] + said['n_trials_unknown_stimuli'] == 62 and said['n_trials_unknown_stimuli'] > 0


def test_rows_without_ids_join_nothing_unless_the_config_says_so(levels_study):
    config, folder = levels_study
    np.savez(folder / 'net.npz', a=np.eye(8), b=np.tri(8))
    config.arrays = ('a', 'b')
    with pytest.raises(ValueError, match=r'has no stimulus ids.*--config\.join=position'):
        odd_one_out.run(config, str(folder / 'out'))
    config.join = 'position'
    scores = _run(config, folder / 'out')
    assert _one(scores, 'accuracy', 'b').provenance['join'] == 'position'
    assert _one(scores, 'accuracy', 'a').value == pytest.approx(1 / 3)  # all similarities are equal: no choice model
    assert {s.provenance['model'] for s in scores if s.name == 'odd_one_out/nll'} == {'b', POSITION_BIAS}
    (folder / 'ids.txt').write_text('\n'.join(IDS))
    config.join, config.stimuli.ids_file = 'exact', str(folder / 'ids.txt')
    assert _one(_run(config, folder / 'out'), 'accuracy', 'b').provenance['join'] == 'id'


def test_layers_of_a_folder_are_representations(levels_study):
    config, folder = levels_study
    for layer in ('conv', 'fc'):
        values = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)
        storage.write_array(folder / 'net' / f'{layer}.npy', values, {'ids': IDS, 'model': 'net', 'layer': layer})
    config.features, config.measures = (str(folder / 'net'),), ('cosine', 'dot')
    config.reference = 'net/fc'
    scores = _run(config, folder / 'out')
    assert {(s.provenance.get('layer'), s.provenance.get('measure')) for s in scores} >= {
        ('conv', 'dot'),
        ('fc', 'cosine'),
    }
    assert _one(scores, 'accuracy/difference', 'net/conv', measure='dot').provenance['other'] == 'net/fc'


def test_networks_of_one_group_are_scored_on_average_and_compared_with_the_first_group(levels_study):
    config, folder = levels_study
    np_rng = np.random.default_rng(2)
    for name in ('a', 'b', 'c'):
        np.savez(folder / f'{name}.npz', features=np_rng.normal(size=(8, 4)), ids=np.array(IDS))
    config.features = tuple(str(folder / f'{name}.npz') for name in ('net', 'a', 'b', 'c'))
    config.names, config.groups = ('base', 'main-0', 'main-1', 'other-0'), ('', 'main', 'main', 'other')
    config.reference = 'base'
    scores = _run(config, folder / 'out')
    for name in ('accuracy', 'nll', 'mcfadden_r2'):
        members = [_one(scores, name, one) for one in ('main-0', 'main-1')]
        pooled = _one(scores, name, 'main')
        assert pooled.value == pytest.approx(np.mean([one.value for one in members]))
        assert pooled.provenance['networks'] == ['main-0', 'main-1'] and members[0].provenance['group'] == 'main'
    differences = {
        (s.provenance['model'], s.provenance['other']): s.provenance.get('n_networks')
        for s in scores if s.name == 'odd_one_out/accuracy/difference'
    }  # fmt: skip
    assert differences == {
        ('main-0', 'base'): None, ('main-1', 'base'): None, ('other-0', 'base'): None, ('main', 'base'): 2,
        ('other', 'base'): 1, ('other', 'main'): 1,
    }  # fmt: skip
    config.groups = ('', 'base', 'base', 'other')
    with pytest.raises(ValueError, match=r"config\.groups: 'base' is the name of a representation too"):
        odd_one_out.run(config, str(folder / 'out'))


def test_trials_of_some_stimuli_alone_can_be_chosen(levels_study):
    config, folder = levels_study
    (folder / 'ids.txt').write_text('\n'.join(IDS[:7]))
    config.human.stimuli_file = str(folder / 'ids.txt')
    said = _one(_run(config, folder / 'out'), 'accuracy', 'net').provenance
    assert 0 < said['n_trials'] < 62 and said['n_trials'] + said['human_n_trials_with_other_stimuli'] == 62
    (folder / 'ids.txt').write_text('zebra')
    with pytest.raises(ValueError, match=r'ids\.txt: none of 62 trials of Levels has these stimuli alone'):
        odd_one_out.run(config, str(folder / 'out'))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'join': 'place'}, r"config\.join='place' must be one of exact, shared, position"),
        ({'measures': ('euclidean',)}, r"config\.measures=\('euclidean',\) must be some of cosine, dot"),
        ({'features': ()}, r'config\.features names no representation'),
        ({'names': ('a', 'b')}, r'config\.names has 2 entries for 1 of config\.features'),
        ({'reference': 'other'}, r"config\.reference='other' is no representation here, but net"),
    ],
)
def test_a_config_that_cannot_be_is_named(levels_study, changes, message):
    config, folder = levels_study
    config.update(changes)
    with pytest.raises(ValueError, match=message):
        odd_one_out.run(config, str(folder / 'out'))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'name': 'thing'}, r"no triplets named 'thing'\. Did you mean 'things'"),
        ({'name': 'levels', 'numbering': 'unique_id'}, 'levels has no numbering; leave it empty'),
        ({'name': 'cifar10h', 'file': 'x'}, 'cifar10h has no file; leave it empty'),
        ({'name': 'cifar10h'}, r'config\.human\.n_triplets must be 1 or more for cifar10h'),
    ],
)
def test_a_source_that_cannot_be_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        wiring.load_triplets(**{'root': '', 'file': '', 'numbering': '', 'n_triplets': 0, 'seed': 0, **options})


@pytest.mark.data
def test_choices_of_cifar10h_follow_from_its_soft_labels(real_data, tmp_path):
    (tmp_path / 'cifar10h.npz').symlink_to(real_data / 'cifar10' / 'cifar10h.npz')
    made = wiring.load_triplets('cifar10h', root=str(tmp_path), file='', numbering='', n_triplets=1000, seed=0)
    assert len(made) == 1000 and made.ids[0] == 'cifar10/test/00000' and not made.simulated
