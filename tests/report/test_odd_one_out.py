"""The section of odd-one-out choices."""

import re

import pytest

from humalign_jax import storage
from humalign_jax.records import Score

SAID = {
    'human': 'people',
    'simulated': False,
    'chance': 1 / 3,
    'trials': 'all',
    'measure': 'cosine',
    'better': 'larger',
}


def _score(name, value, model, *, over='triplets', ceilings=(0.6, 0.7), **said):
    about = {**SAID, 'model': model, 'over': over, 'temperature_per': 'participant', 'n_fitted': 9, 'folds': 5, **said}
    return Score(f'odd_one_out/{name}', value, value - 0.01, value + 0.01, 90, 'some', *ceilings, provenance=about)


@pytest.fixture
def page(tmp_path, make_page):
    def make(*more):
        scores = [
            _score('accuracy', 0.5, 'bear'),
            _score('accuracy', 0.505, 'bear', over='participants'),
            _score('nll', 1.01, 'bear', over='participants', better='smaller', n_left_out_few_trials=4),
            _score('mcfadden_r2', 0.08, 'bear', over='participants'),
            _score('accuracy', 0.34, 'fox', over='participants'),
            _score('accuracy', 0.65, 'lynx', over='participants', baseline=True, trained_on='odd-one-out choices'),
            *more,
        ]
        storage.write_jsonl(tmp_path / 'scores.jsonl', [score.to_json() for score in scores])
        make_page(tmp_path)
        return (tmp_path / 'report' / 'report.html').read_text(encoding='utf-8')

    return make


def test_table_and_sentences_take_intervals_over_participants_where_they_are_known(page):
    html = page()
    table = re.search(r'<table id="table-odd_one_out_0".*?</table>', html, re.DOTALL)[0]
    assert '0.505' in table and '0.500' not in table and 'lynx, cosine' in table and 'Ceiling, upper' in table
    assert '1 of 2 representations agree with people more often than chance (0.333); the most accurate is bear' in html
    assert 'It is below the lower noise ceiling of 0.600.' in html
    assert 'Embeddings trained on such choices reach lynx' in html
    assert 'Participants with too few trials for the choice model: 4.' in html
    assert 'fitted to each participant in 5-fold cross-validation' in html


def test_the_figure_says_chance_and_percent(page):
    assert (
        'Odd-one-out accuracy against people, in percent, chance 33.3: bear, cosine 50.5; fox, cosine 34.0;' in page()
    )


def test_kinds_of_trials_and_differences_have_tables_of_their_own(page):
    html = page(
        _score('accuracy', 0.8, 'bear', trials='class_border', over='participants'),
        _score('accuracy/difference', 0.16, 'bear', other='fox', over='participants'),
    )
    assert 'Class border' in re.search(r'<table id="table-odd_one_out_kinds_0".*?</table>', html, re.DOTALL)[0]
    assert (
        'bear, cosine − fox' in re.search(r'<table id="table-odd_one_out_differences".*?</table>', html, re.DOTALL)[0]
    )
