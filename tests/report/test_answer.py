"""The answer on the first screen is made from the scores."""

import math

from humalign_jax import storage
from humalign_jax.records import Score
from humalign_jax.report import answer, page
from humalign_jax.report.loading import load_study
from humalign_jax.report.section import Options


def _answer(folder, scores, name='odd_one_out/accuracy', **more):
    """The answer from scores (model, value, half of the interval, further provenance)."""
    made = []
    for model, value, half, said in scores:
        said = {'model': model, 'human': 'people', 'trials': 'all', 'chance': 1 / 3, 'over': 'trials', **said}
        ceiling = more.get('ceiling', (math.nan, math.nan))
        made.append(Score(name, value, value - half, value + half, 90, 'bootstrap', *ceiling, provenance=said))
    storage.write_jsonl(folder / 'scores.jsonl', [score.to_json() for score in made])
    study, options = load_study(folder), Options(3, {}, [], folder / 'figures')
    return answer.answer(study, options, page.find_sections(study, options))


def _said(answered):
    return ' '.join(sentence.text for sentence in answered.sentences)


def test_the_best_model_its_share_of_the_ceiling_and_the_best_baseline_are_named(tmp_path):
    scores = [('one', 0.5, 0.02, {}), ('two', 0.4, 0.02, {}), ('near', 0.49, 0.02, {})]
    scores += [('pixels', 0.35, 0.01, {'baseline': True}), ('colour', 0.34, 0.01, {'baseline': True})]
    answered = _answer(tmp_path, scores, ceiling=(0.6, 0.625))
    assert _said(answered) == (
        'one has the highest odd-one-out accuracy (people): 0.500 [0.480, 0.520], 80 % of the upper noise ceiling. '
        'It is above two, and not shown to differ from near; it is above the best baseline, '
        'pixels (0.350 [0.340, 0.360]).'
    )
    assert [key.text for key in answered.numbers] == ['0.500', '0.600 – 0.625', '0.350', '0.333']


def test_where_smaller_is_better_the_lowest_score_is_best(tmp_path):
    said = {'better': 'smaller'}
    answered = _answer(tmp_path, [('one', 0.5, 0.02, said), ('two', 0.4, 0.02, said)], name='toy/distance')
    assert _said(answered).startswith('two has the lowest toy: distance: 0.400 [0.380, 0.420]. It is below one.')


def test_one_model_without_baselines_is_compared_with_chance(tmp_path):
    answered = _answer(tmp_path, [('one', 0.5, 0.02, {})])
    assert _said(answered) == (
        'one has an odd-one-out accuracy (people) of 0.500 [0.480, 0.520]. It is above chance (0.333).'
    )
    assert [key.text for key in answered.numbers] == ['0.500', '0.333', '90', '1']


def test_the_figure_has_a_row_for_each_model_and_its_title_has_the_numbers(tmp_path):
    scores = [(f'net{i:02d}', 0.9 - 0.01 * i, 0.02, {}) for i in range(15)]
    answered = _answer(tmp_path, scores)
    texts = answered.picture.svg
    assert all(f'>net{i:02d}</text>' in texts for i in range(12)) and '>net12</text>' not in texts
    assert 'net03 0.870 [0.850, 0.890]' in answered.picture.alt and 'the first 12 of 15' in answered.caption
    assert '<title>net03: 0.870 [0.850, 0.890]</title>' in texts


def test_without_a_value_there_is_no_answer(tmp_path):
    assert _answer(tmp_path, [('one', math.nan, math.nan, {})]) is None
