"""The section of tuning towards the brain."""

import re

import pytest

from humalign_jax import storage
from humalign_jax.records import Score


def _run(folder, run, r, fall, *, condition='tuned', recipe='better', alpha=1.0, seed=0):
    about = {
        'model': 'resnet20', 'condition': condition, 'recipe': recipe, 'distillation_weight': alpha, 'seed': seed,
        'simulated': True, 'layer': 'layer3', 'n_voxel_images': 900, 'epochs': 4.0, 'roi': 'V4',
    }  # fmt: skip
    values = {'accuracy': 0.9 - fall, 'tuning/accuracy_before': 0.9, 'tuning/accuracy_fall': fall, 'tuning/voxel_r': r}
    scores = [
        Score(key, value, value - 0.01, value + 0.01, 100, 'x', provenance=about) for key, value in values.items()
    ]
    storage.write_jsonl(folder / 'networks' / run / 'scores.jsonl', [score.to_json() for score in scores])


@pytest.fixture
def html(tmp_path, make_page):
    _run(tmp_path, 'a', 0.31, 0.08, recipe='faithful')
    _run(tmp_path, 'b', 0.33, 0.012)
    _run(tmp_path, 'c', 0.35, 0.04, alpha=0.0)
    _run(tmp_path, 'd', 0.01, 0.02, condition='shuffled')
    make_page(tmp_path)
    return (tmp_path / 'report' / 'report.html').read_text(encoding='utf-8')


def test_the_figure_shows_percentage_points_kept_against_voxel_r(html):
    assert 'resnet20, better, α = 1, seed 0: accuracy -1.2 points, voxel r 0.330' in html.replace('−', '-')


def test_controls_stand_below_the_tuned_networks_of_the_table(html):
    table = re.search(r'<table id="table-tuning_0".*?</table>', html, re.DOTALL)[0]
    order = [table.index(name) for name in ('better, α = 0', 'better, α = 1', 'faithful, α = 1', 'shuffled responses')]
    assert order == sorted(order) and 'Voxel r, V4' in table


def test_sentences_name_the_best_fit_of_each_recipe_and_the_controls(html):
    text = re.sub(r'\s+', ' ', re.sub(r'<[^>]+>', '', html))
    assert 'resnet20 tuned by the recipe “better” fits held-out voxels best at α = 0: mean voxel r 0.350' in text
    assert 'by the recipe “faithful” fits held-out voxels best at α = 1' in text
    assert 'resnet20, shuffled responses: voxel r 0.010' in text
