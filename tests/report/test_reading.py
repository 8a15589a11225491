"""Each sentence appears under its condition, and only then."""

import pathlib

import pytest

from humalign_jax.records import Score
from humalign_jax.report import reading, similarities
from humalign_jax.report.section import Options, Section
from humalign_jax.report.sections import arms, confusions, latents, rsa, soft_labels
from humalign_jax.report.sections.rsa import SAME
from humalign_jax.report.sections.soft_labels import CLASS_MEAN
from humalign_jax.report.study import Entry, Run, Study

NAN = float('nan')


def make_study(*scores, runs=()):
    entries = tuple(Entry(score, 'human_rsa', i) for i, score in enumerate(scores, start=1))
    return Study(pathlib.Path('nowhere'), entries, {run.name: run for run in runs})


def scored(model, value, half=0.02, *, pairs='all', baseline=False, layer='penultimate', level='image', ceiling=0.8):
    said = {'model': model, 'pairs': pairs, 'layer': '' if baseline else layer, 'level': level, 'human': 'cifar10h'}
    said |= {'baseline': True} if baseline else {}
    return Score('rsa/spearman', value, value - half, value + half, 100, 'some', 0.7, ceiling, said)


def difference(model, other, value, p, *, pairs='all', other_layer='penultimate'):
    said = {'model': model, 'other': other, 'layer': 'penultimate', 'other_layer': other_layer, 'pairs': pairs}
    return Score(
        'rsa/spearman/difference', value, value - 0.01, value + 0.01, 100, 'some', provenance={**said, 'p_fwer': p}
    )


def text(study, heading='', *, recipe_epochs=None, claims=()):
    """The sentences under the headings that contain `heading`."""
    options = Options(0, recipe_epochs or {}, claims, pathlib.Path('nowhere'))
    said = [rsa.passages(study, options), *(kind.passages(study) for kind in (confusions, soft_labels, arms, latents))]
    found = reading.section(study, options, [Section(0, '', '', (), passages) for passages in said])
    passages = found.blocks if found else ()
    return ' '.join(s.text for p in passages if heading in p.heading for s in p.sentences)


def test_two_models_differ_only_with_a_small_corrected_p():
    both = scored('a', 0.5), scored('b', 0.4)
    said = text(make_study(*both, difference('a', 'b', 0.1, 0.01)), 'Which models differ')
    assert 'a is above b' in said and '0.100 [0.090, 0.110]; p = 0.010' in said
    said = text(make_study(*both, difference('a', 'b', 0.1, 0.06)), 'Which models differ')
    assert said == 'All pairs: no difference was shown between a and b.'
    said = text(make_study(*both, difference('b', 'a', -0.1, 0.01)), 'Which models differ')
    assert 'a is above b (difference b − a: −0.100' in said


def test_the_category_alone_is_set_beside_the_plain_score():
    scores = scored('low', 0.5), scored('high', 0.7), scored('near', 0.62), scored(SAME, 0.633, 0.001, baseline=True)
    said = text(make_study(*scores), 'what the category alone gives')
    assert 'scores 0.6330 [0.6320, 0.6340] by the same measure' in said
    assert 'Above this baseline: high (' in said and 'Below this baseline: low (' in said
    assert 'Not shown to differ from this baseline: near (' in said
    assert 'high (layer penultimate) has the highest Spearman correlation' in said
    assert '88 % of the upper noise ceiling (0.800)' in said


def test_a_tested_difference_outranks_intervals():
    scores = scored('net', 0.6, 0.05), scored(SAME, 0.64, 0.05, baseline=True)
    assert 'Not shown to differ' in text(make_study(*scores))
    tested = difference('net', SAME, -0.04, 0.001, other_layer='')
    assert 'Below this baseline: net' in text(make_study(*scores, tested))


def test_agreement_beyond_the_category_needs_an_interval_above_zero():
    scores = (
        scored('net', 0.2, pairs='partial', ceiling=0.6),
        scored('vae', 0.01, pairs='partial', layer='mu'),
        scored('pixels', 0.03, pairs='partial', baseline=True),
    )
    said = text(make_study(*scores), 'Once the category is accounted for')
    assert 'partialled out of both sides, agreement remains for net (0.200 [0.180, 0.220]).' in said
    assert 'no agreement above zero was shown for vae (0.010 [−0.010, 0.030]).' in said
    assert 'net, is 33 % of the upper noise ceiling (0.600)' in said
    assert 'The baseline pixels scores 0.030' in said


@pytest.mark.parametrize(
    ('value', 'p', 'verdict'),
    [(0.1, 0.01, 'holds'), (-0.1, 0.01, 'does not hold; the order is the opposite'), (0.1, 0.4, 'is not supported')],
)
def test_philnet_above_resnet_is_judged_with_the_category_partialled_out(value, p, verdict):
    scores = [scored('philnet', 0.5), scored('resnet50', 0.4), difference('philnet', 'resnet50', 0.1, 0.001)]
    scores += [scored('philnet', 0.3, pairs='partial'), scored('resnet50', 0.3 - value, pairs='partial')]
    scores += [difference('resnet50', 'philnet', -value, p, pairs='partial')]
    said = text(make_study(*scores), 'philnet is above resnet50', claims=[('philnet', 'is above', 'resnet50')])
    assert f'the claim holds in the plain score and {verdict} once class separation is partialled out' in said


def test_a_claim_without_its_second_model_is_not_tested_and_without_its_first_not_mentioned():
    study = make_study(scored('philnet', 0.5), scored('resnet18', 0.4))
    said = text(study, 'philnet is above resnet50', claims=[('philnet', 'is above', 'resnet50')])
    assert said == 'Not tested: no model in this study has a name that begins with resnet50.'
    assert 'claim' not in text(study, claims=[('resnet50', 'is above', 'philnet')])
    assert 'claim' not in text(study)


@pytest.mark.parametrize(
    ('whole', 'partial', 'verdict'),
    [
        (0.3, 0.2, 'holds in the weak sense'),
        (0.3, 0.0, 'holds for the category itself only'),
        (0.0, 0.0, 'is not supported'),
    ],
)
def test_structure_is_kept_in_three_degrees(whole, partial, verdict):
    study = make_study(scored('code', whole, layer='mu'), scored('code', partial, pairs='partial', layer='mu'))
    said = text(study, 'code keeps category structure', claims=[('code', 'keeps category structure')])
    assert f'For this trained model the claim {verdict}' in said
    assert 'Over all pairs of stimuli, layer mu of code is' in said
    assert 'claim' not in text(study, claims=[('other', 'keeps category structure')])


def test_a_probe_is_held_against_guessing():
    said = {'model': 'vae', 'chance': 0.1}
    probe = Score('vae/linear_probe_accuracy', 0.4, 0.39, 0.41, 1000, 'wilson', provenance=said)
    assert 'where guessing gives 0.1: the code carries category information' in text(make_study(probe), 'latent code')
    weak = Score('vae/linear_probe_accuracy', 0.1, 0.09, 0.11, 1000, 'wilson', provenance=said)
    assert 'carries' not in text(make_study(weak), 'latent code')


@pytest.mark.parametrize(('epochs', 'is_reduced'), [(4.0, True), (50.0, False)])
def test_reduced_training_is_called_reduced(epochs, is_reduced):
    config = {'train': {'epochs': epochs}, 'model': {'name': 'philnet'}, 'data': {'name': 'cifar10'}}
    run = Run('networks/net', config, [], [{'epoch': 1.0}, {'epoch': epochs}])
    said = text(make_study(scored('net', 0.5), runs=[run]), recipe_epochs={'philnet': 50.0})
    assert (f'net was trained for {epochs:g} epochs, a reduced run: its recipe has 50.' in said) == is_reduced
    assert ('net was trained for its full recipe of 50 epochs.' in said) == (not is_reduced)


def test_a_stopped_training_counts_the_epochs_it_ran():
    config = {'train': {'epochs': 50.0}, 'model': {'name': 'philnet'}}
    run = Run('networks/net', config, [], [{'epoch': 1.0}, {'epoch': 7.0}])
    assert 'net was trained for 7 epochs' in text(
        make_study(scored('net', 0.5), runs=[run]), recipe_epochs={'philnet': 50.0}
    )


@pytest.mark.parametrize(('gap', 'words'), [(-0.2, 'are closer to people than'), (0.0, 'are not shown to differ from')])
def test_arms_are_compared_by_their_paired_difference_over_folds(gap, words):
    def score(name, value, **said):
        said = {'model': 'net', 'fold': 'all', **said}
        return Score(name, value, value - 0.05, value + 0.05, 100, 'some', provenance=said)

    name = 'soft_labels/cross_entropy'
    scores = [score(name, 0.4 + gap, arm='human'), score(name, 0.4, arm='hard')]
    scores += [score(f'{name}/difference', gap, arm='human', other='hard', resampled='folds')]
    scores += [score(name, 0.3, arm=None, model=CLASS_MEAN, baseline=True)]
    said = text(make_study(*scores), 'Training on people')
    assert f'{words} networks fine-tuned on hard labels' in said
    assert ('answers is below that of the class-mean human label' in said) == (gap < 0)


def test_limits_are_always_said_and_nothing_is_called_a_cause(whole):
    study = whole[0]
    said = text(study, 'do not show')
    assert 'Simulated data say nothing about people' in said and 'one training of each network' in said
    assert 'People answered with one of 4 classes.' in said
    everything = text(study)
    assert not any(word in everything.lower() for word in ('because', 'causes', 'due to', 'thanks to', 'proves'))


def foreign(model, value, half=0.02, **said):
    said = {'model': model, 'pairs': 'all', 'reference': ['IT of BE', 'IT of TI'], 'n_stimuli': 92, **said}
    return Score('rsa/cosine', value, value - half, value + half, 2, 'some', 0.7, 0.8, said)


def test_without_people_in_the_provenance_no_sentence_speaks_of_people_images_or_networks():
    scores = foreign('HMAX', 0.5), foreign('V1', 0.3), foreign(SAME, 0.4, baseline=True)
    said = text(make_study(*scores), claims=[('philnet', 'is above', 'resnet50')])
    for word in ('people', 'image', 'network', 'class', 'classifier', 'VAE', 'PhilNet', 'layer', 'pixel', ' ten'):
        assert word not in said, word
    assert 'Over 92 stimuli, models are compared with 2 references (IT of BE, IT of TI), and scores are means' in said
    assert 'HMAX has the highest cosine similarity with the reference, 0.500' in said


def test_one_reference_is_called_by_its_name():
    score = foreign('HMAX', 0.5, reference=['monkey IT'])
    assert 'Over 92 stimuli, models are compared with monkey IT.' in text(make_study(score))


def test_a_baseline_is_not_compared_with_itself():
    said = text(make_study(foreign('HMAX', 0.5), foreign(SAME, 0.4, baseline=True)), 'what the category')
    assert said.endswith('Above this baseline: HMAX (0.500 [0.480, 0.520]).') and f'{SAME} (' not in said


def test_limits_of_intervals_and_p_values_are_said_only_of_those_that_are_there():
    assert 'Intervals' not in text(make_study(foreign('HMAX', 0.5, NAN)))
    assert text(make_study(foreign('HMAX', 0.5))).endswith('Intervals are for one score at a time.')


def test_scores_without_intervals_are_not_called_above_or_below():
    said = text(make_study(foreign('HMAX', 0.9, NAN), foreign(SAME, 0.1, NAN, baseline=True)))
    assert 'Not shown to differ from this baseline: HMAX (0.900).' in said and 'Above' not in said


@pytest.mark.parametrize(
    ('index', 'words'),
    [
        ('spearman', 'Spearman correlation'),
        ('kendall_tau_a', 'Kendall tau a correlation'),
        ('rho_a', 'rho a correlation'),
        ('whitened_pearson', 'whitened Pearson correlation'),
        ('whitened_cosine', 'whitened cosine similarity'),
        ('bures', 'Bures similarity'),
        ('debiased_rbf_cka', 'debiased RBF CKA'),
        ('procrustes', 'Procrustes similarity'),
        ('rv', 'RV'),
    ],
)
def test_only_correlations_are_called_correlations(index, words):
    score = Score(f'rsa/{index}', 0.5, NAN, NAN, 9, 'none', provenance={'model': 'a', 'pairs': 'all'})
    assert similarities.index_text(make_study(score)) == words


def test_features_compared_directly_have_no_dissimilarities():
    about = {'model': 'a', 'pairs': 'all', 'measure': 'none'}
    score = Score('rsa/linear_cka', 0.5, NAN, NAN, 9, 'none', provenance=about)
    assert similarities.measured(make_study(score)) == 'linear CKA of features'
    assert 'Over all stimuli, a has the highest linear CKA with the reference' in text(make_study(score))
