"""The section of encoding models."""

import re

import matplotlib.figure
import pytest

from humalign_jax import storage
from humalign_jax.records import Score
from humalign_jax.report.plots import regions

SAID = {
    'human': 'NSD',
    'simulated': False,
    'held_out': 'session',
    'n_voxels': 40,
    'n_voxels_all': 50,
    'min_ceiling': 0.05,
}


def _score(name, value, model, roi, subject='all subjects', **said):
    about = {**SAID, 'model': model, 'roi': roi, 'subject': subject, **said}
    ceiling = {'r': 0.45, 'normalised_r2': 1.0}.get(name, float('nan'))
    ends, how = (value - 0.05, value + 0.05), "Student's t over subjects"
    return Score(f'encoding/{name}', value, *ends, 3, how, ceiling_upper=ceiling, provenance=about)


@pytest.fixture
def page(tmp_path, make_page):
    def make(*more):
        scores = [
            _score('r', 0.31, 'bear', 'hV4', q=0.004, left_out={'n_low_ceiling': 10, 'n_constant': 0}),
            _score('r', 0.99, 'bear', 'hV4', subject='s1'),
            _score('r', 0.02, 'fox', 'hV4', q=0.6),
            _score('r', 0.01, 'bear', 'EBA', q=0.4),
            _score('normalised_r2', 0.62, 'bear', 'hV4'),
            _score('ceiling', 0.135, 'noise ceiling', 'hV4', baseline=True),
            *more,
        ]
        storage.write_jsonl(tmp_path / 'scores.jsonl', [score.to_json() for score in scores])
        make_page(tmp_path)
        return (tmp_path / 'report' / 'report.html').read_text(encoding='utf-8')

    return make


def test_scores_over_all_subjects_stand_beside_the_ceiling_of_their_region(page):
    html = page()
    table = re.search(r'<table id="table-encoding_r_0".*?</table>', html, re.DOTALL)[0]
    assert '0.310' in table and '0.99' not in table and '0.135' in table
    assert 'ceiling 0.450, q = 0.004' in table and '40 voxels of 50' in table
    assert 'noise ceiling below 0.05 10.' in html and 'constant 0.' not in html
    assert 'In 1 of 2 regions of NSD a model predicts held-out responses' in html
    assert 'that of bear in hV4' in html
    assert 'held-out trials, NSD: hV4: bear 0.310, fox 0.020; EBA: bear 0.010.' in html


def test_identification_and_differences_have_tables_of_their_own(page):
    html = page(
        _score('identification', 0.66, 'bear', 'hV4', measure='correlation', chance=0.125, q=0.001),
        _score('r/difference', 0.29, 'bear', 'hV4', other='fox', p=0.01, q=0.02),
    )
    assert (
        'bear, correlation' in re.search(r'<table id="table-encoding_identification_0".*?</table>', html, re.DOTALL)[0]
    )
    assert 'Chance: 0.125' in html
    assert 'bear − fox' in re.search(r'<table id="table-encoding_differences".*?</table>', html, re.DOTALL)[0]


def test_a_line_marks_the_ceiling_of_each_region_and_a_missing_score_is_a_gap():
    scores = {m: {roi: _score('r', v, m, roi) for roi, v in of.items()} for m, of in (
        ('bear', {'V1': 0.2, 'V4': 0.3}), ('fox', {'V4': 0.1}),
    )}  # fmt: skip
    ax = regions.plot_regions(matplotlib.figure.Figure().subplots(), ['V1', 'V4'], scores, label='r')
    assert sorted(round(bar.get_height(), 3) for bar in ax.patches) == [0.1, 0.2, 0.3]
    ceilings = [line.get_ydata()[0] for line in ax.lines if len(line.get_xdata()) == 2 and line.get_ydata()[0] == 0.45]
    assert len(ceilings) == 2
