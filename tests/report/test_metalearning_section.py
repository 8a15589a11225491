"""The sections of meta-learned features: conditions in every task, and functions learned in context."""

import re

import numpy as np
import pytest
import scipy.stats

from humalign_jax import storage
from humalign_jax.records import Score
from humalign_jax.report import conditions, learning_curves
from humalign_jax.report.loading import load_study
from humalign_jax.report.plots import conditions as plots

NAN = float('nan')
PARTS = ('odd_one_out', 'learning', 'metalearners')
F, R, T = 5, 2, 6  # functions, episodes, items
HELD_OUT = [True, True, False, False, False]


def _score(name, value, half=0.01, *, ceilings=(NAN, NAN), **said):
    low, high = (NAN, NAN) if half is None else (value - half, value + half)
    return Score(name, value, low, high, 40, 'some', *ceilings, {'simulated': False, **said})


def _odd_one_out(more=()):
    """Base, two networks of main, and four averages; static is above main, raw is not shown to differ from it."""
    about = {'human': 'people', 'trials': 'all', 'measure': 'cosine', 'chance': 1 / 3, 'layer': 'embed'}
    scores = []
    for over in ('triplets', 'participants'):
        of = {**about, 'over': over}
        off = 0.001 * (over == 'triplets')
        name, ceilings = 'odd_one_out/accuracy', (0.7, 0.8)
        scores.append(_score(name, 0.5 + off, ceilings=ceilings, **{**of, 'layer': 'base'}, model='word'))
        for seed, value in enumerate((0.59, 0.61)):
            scores.append(_score(name, value + off, model=f'main-{seed}', group='main', ceilings=ceilings, **of))
        for model, value, n in (('main', 0.6, 2), ('static', 0.62, 1), ('raw', 0.603, 1), ('static-normed', 0.57, 1)):
            networks = [f'{model}-{seed}/embed' for seed in range(n)]
            scores.append(
                _score(name, value + off, model=model, n_networks=n, networks=networks, ceilings=ceilings, **of)
            )
        of.pop('layer')
        for other, values in (('word/base', (0.1, 0.12, 0.103, 0.07)), ('main/embed', (None, 0.02, 0.003, -0.03))):
            for model, value in zip(('main', 'static', 'raw', 'static-normed'), values):
                if value is not None:
                    said = {'model': f'{model}/embed', 'other': other, 'n_networks': 1, 'networks': ['x']}
                    scores.append(_score(f'{name}/difference', value, 0.006, **of, **said))
    return [*scores, *more]


def _learning():
    """A set of choices; the average of main against base and the true rule."""
    about = {'data': 'category', 'human': 'category', 'task': 'category', 'n_participants': 40, 'n_trials': 800}
    about |= {'folds': 5, 'left_out': []}
    names = ['base', 'main', 'chance']
    pooled = {'n_networks': 2, 'networks': ['main-0', 'main-1']}
    scores = [_score('learning/mcfadden_r2', 0.08, 0.02, model='base', **about)]
    scores += [_score('learning/mcfadden_r2', v, 0.02, model=f'main-{s}', group='main', **about)
               for s, v in enumerate((0.10, 0.12))]  # fmt: skip
    scores.append(_score('learning/mcfadden_r2', 0.11, 0.02, model='main', **about, **pooled))
    scores.append(_score('learning/mcfadden_r2', 0.0, 0.0, model='chance', baseline=True, **about))
    for model, value in zip(names, (0.06, 0.93, 0.01)):
        scores.append(_score('learning/pxp', value, None, model=model, compared=names, **about))
    said = {'model': 'main', 'other': 'base', 'p': 0.02, 'pxp': 0.97}
    scores.append(_score('learning/mcfadden_r2/difference', 0.03, 0.04, **about, **pooled, **said))
    return scores


def _correct(shift):
    """Right labels of function k from item k + shift on, in both episodes: [F, R, T]."""
    return np.repeat((np.arange(T) >= np.arange(F)[:, None] + shift)[:, None], R, axis=1).astype(np.uint8)


def _write_network(folder, name, shift, *, embed=True, curves=True, magnitudes=True, **said):
    where = folder / 'metalearners' / name
    model = {'name': 'metalearner', 'embed': embed}
    storage.write_json(where / 'config.json', {'model': model, 'train': {'epochs': 8.0},
                                               'episodes': {'per_epoch': 3200}})  # fmt: skip
    storage.write_jsonl(where / 'metrics.jsonl', [{'epoch': 8.0, 'split': 'validation', 'accuracy': 0.7}])
    correct = _correct(shift)
    scores = []
    for of, mask in (('held out', np.array(HELD_OUT)), ('trained', ~np.array(HELD_OUT))):
        if curves or of == 'trained':
            scores.append(_score('functions/accuracy', float(correct[mask].mean()), of=of, model='net', **said))
            scores += [_score('functions/r2', 0.2, of=of, model='net', **said)] if magnitudes else []
    storage.write_jsonl(where / 'scores.jsonl', [score.to_json() for score in scores])
    if curves:
        sidecar = {'function_ids': [f'f{k}' for k in range(F)], 'functions_held_out': HELD_OUT, 'magnitude_sd': 2.0}
        storage.write_array(where / 'curves' / 'correct.npy', correct, sidecar)
        errors = np.full((F, R, T), 4.0 * (1 + shift), np.float32)
        errors[0, 0, 0] = np.nan  # a negative item; its other episode counts
        errors[1, :, 0] = np.nan  # no positive item at all
        storage.write_array(where / 'curves' / 'squared_error.npy', errors, sidecar)


def _write(folder, *, parts=PARTS, magnitudes=True, more=()):
    for name, scores in (('odd_one_out', _odd_one_out(more)), ('learning', _learning())):
        if name in parts:
            storage.write_jsonl(folder / name / 'scores.jsonl', [score.to_json() for score in scores])
    if 'metalearners' in parts:
        for name, shift in (('main-0', 0), ('main-1', 1), ('raw-0', 1)):
            _write_network(folder, name, shift, magnitudes=magnitudes)
        _write_network(folder, 'static-0', 0, curves=False, magnitudes=magnitudes)
        _write_network(folder, 'plain-0', 2, embed=False, magnitudes=magnitudes)
    return folder


def _html(folder, make_page, **options):
    make_page(folder, **options)
    return (folder / 'report' / 'report.html').read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def page(tmp_path_factory, make_page):
    """The page and its folder."""
    folder = _write(tmp_path_factory.mktemp('metalearned'))
    return _html(folder, make_page, recipe_epochs={'metalearner': 100.0}), folder / 'report'


def _rows(folder, table):
    return (folder / 'tables' / f'{table}.md').read_text().replace('\\', '').splitlines()


def test_a_table_of_each_task_holds_scores_differences_and_single_networks(page):
    rows = _rows(page[1], 'conditions_0')
    assert '| Condition | Odd-one-out accuracy | Less word | Less main | Networks |' in rows
    assert '| word | 0.500 [0.490, 0.510] | – | – | – |' in rows
    assert '| main | 0.600 [0.590, 0.610] | 0.1000 [0.0940, 0.1060] | – | 2 0.590, 0.610 |' in rows
    assert '| static | 0.620 [0.610, 0.630] | 0.1200 [0.1140, 0.1260] | 0.0200 [0.0140, 0.0260] | 1 |' in rows


def test_intervals_are_those_over_participants_where_they_are_known(page):
    assert '0.601' not in '\n'.join(_rows(page[1], 'conditions_0'))


def test_sentences_say_what_the_interval_of_each_difference_shows(page):
    text = re.sub('<[^>]*>', '', page[0])
    assert (
        'People: main (odd-one-out accuracy 0.600 [0.590, 0.610]; networks: 0.590, 0.610) is above word (0.500 [0.490, '
        '0.510]); difference 0.1000 [0.0940, 0.1060].'
    ) in text
    assert (
        'People: static, which learns no function in context, is above main (difference 0.0200 [0.0140, 0.0260]).'
    ) in text
    assert 'People: static-normed, which learns no function in context, is below main (difference −0.0300' in text
    assert 'People: not shown to differ from main: raw (difference 0.0030 [−0.0030, 0.0090]).' in text
    assert 'main (McFadden’s R2 0.110 [0.090, 0.130]; networks: 0.100, 0.120) is not shown to differ from base' in text
    assert 'These intervals do not cover the choice of the seed: compare the networks themselves.' in text
    assert 'difference 0.030 [−0.010, 0.070], protected exceedance probability of the two 0.97.' in text


def test_pxp_among_all_and_against_the_base_stands_at_each_condition(page, drawn_texts):
    assert re.search(r'Category, McFadden’s R2: base 0.080 \(PXP 0.06\); main 0.110 \(PXP 0.93, 0.97\)', page[0])
    assert 'of all 3 models, baselines and chance among them' in page[0]
    assert '| main | 0.110 [0.090, 0.130] | 0.030 [−0.010, 0.070] | 2 0.100, 0.120 | 0.93 | 0.97 |' in _rows(
        page[1], 'conditions_1'
    )
    marks = [
        plots.Mark('base', _score('r2', 0.1), notes=('0.06', ''), is_base=True),
        plots.Mark('main', _score('r2', 0.2), networks=(0.19, 0.21), notes=('0.93', '0.97')),
    ]
    figure = plots.draw_conditions(marks, label='R2', chance=0.0, heads=('PXP\nof all', 'PXP to\nbase'))
    texts, _, renderer = drawn_texts(figure)
    height = {text.get_text(): text.get_window_extent(renderer).y0 for text in texts}
    assert height['0.93'] == pytest.approx(height['0.97']) and height['0.93'] == pytest.approx(height['main'], abs=3)
    assert height['0.06'] > height['0.93'] and height['PXP\nof all'] > height['0.06']


def test_a_figure_has_base_chance_ceiling_intervals_and_single_networks():
    marks = [
        plots.Mark('base', _score('a', 50.0, 1.0, ceilings=(70.0, 80.0)), is_base=True),
        plots.Mark('main', _score('a', 60.0, 2.0, ceilings=(70.0, 80.0)), networks=(59.0, 61.0)),
    ]
    ax = plots.draw_conditions(marks, label='accuracy, %', chance=33.3).axes[0]
    lines = {line.get_label(): line for line in ax.lines}
    assert lines['base'].get_xdata() == [50.0, 50.0] and lines['chance'].get_xdata() == [33.3, 33.3]
    np.testing.assert_array_equal(lines['single networks'].get_xdata(), [59.0, 61.0])
    band = next(patch for patch in ax.patches if patch.get_label() == 'noise ceiling')
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((70.0, 80.0))
    ends = [container.lines[2][0].get_segments()[0][:, 0].tolist() for container in ax.containers]
    assert ends == [[49.0, 51.0], [58.0, 62.0]]


def test_differences_of_a_condition_to_itself_leave_its_row_empty():
    ax = plots.draw_differences([None, _score('d', 0.5, 0.1)], ['main', 'static'], label='difference').axes[0]
    (container,) = ax.containers
    assert container.lines[0].get_xydata().tolist() == [[0.5, 1.0]]
    assert [text.get_text() for text in ax.get_yticklabels()] == ['main', 'static']


def test_other_sections_show_averages_in_place_of_networks(page):
    html, folder = page
    odd, learning = '\n'.join(_rows(folder, 'odd_one_out_0')), '\n'.join(_rows(folder, 'learning_0'))
    assert 'main/embed, cosine' in odd and 'main-0' not in odd and 'main-0' not in learning
    assert 'Means over networks that differ by their seed: main (2), static (1), raw (1), static-normed (1).' in odd
    assert 'Means over networks that differ by their seed: main (2).' in learning
    assert '5 of 5 representations agree with people more often than chance' in html
    assert '<h1>How closely do base, main, main/embed' not in html


def test_functions_learned_are_means_over_networks_beside_each_network(page):
    rows = _rows(page[1], 'learned_functions')
    heads = 'Accuracy, held out functions | Accuracy, trained functions | R2 of magnitudes, held out functions'
    assert heads in rows[2]
    held_out = [_correct(shift)[:2].mean() for shift in (0, 1)]
    shown = f'{np.mean(held_out):.3f} {held_out[0]:.3f}, {held_out[1]:.3f}'
    assert any(row.startswith(f'| main 2 networks | {shown} |') for row in rows)
    assert any(row.startswith('| static 1 network, not in context | – |') for row in rows)


def test_curves_are_means_over_episodes_and_networks_in_units_of_the_variance(page):
    found = {one.name: one for one in learning_curves.learned(load_study(page[1].parent))}
    assert list(found) == ['main', 'raw', 'plain']  # in the order of the tasks, then by name
    np.testing.assert_allclose(found['main'].correct, (_correct(0)[:, 0] + _correct(1)[:, 0]) / 2)
    assert found['main'].n_networks == 2 and not found['plain'].has_map
    error = found['main'].error
    assert np.isnan(error[1, 0])
    np.testing.assert_allclose(np.delete(error.ravel(), T), 1.5)  # (4 + 8) / 2 over 2 squared
    np.testing.assert_allclose(found['main'].last_third(), [1.0, 1.0, 1.0, 1.0, 0.75])


def test_the_mean_over_functions_has_students_interval():
    values = np.random.default_rng(0).normal(size=(9, 3))
    values[:2, 1], values[1:, 2] = np.nan, np.nan
    mean, low, high = learning_curves.mean_and_interval(values)
    for column in (0, 1):
        x = values[np.isfinite(values[:, column]), column]
        ends = scipy.stats.t.interval(0.95, len(x) - 1, x.mean(), scipy.stats.sem(x))
        np.testing.assert_allclose((mean[column], low[column], high[column]), (x.mean(), *ends))
    assert mean[2] == values[0, 2] and np.isnan(low[2]) and np.isnan(high[2])


def test_every_function_is_listed_by_its_accuracy_with_held_out_ones_marked(page):
    rows = _rows(page[1], 'evaluation_functions')
    heads = '| Function | In training | main: accuracy | plain: accuracy | main: squared error | plain: squared error |'
    assert rows[2] == heads
    assert rows[4] == '| f0 | held out | 1.000 | 1.000 | 1.500 | 3.000 |'
    assert rows[8] == '| f4 | trained | 0.750 | 0.000 | 1.500 | 3.000 |'
    names = {path.stem for path in (page[1] / 'figures').glob('*.png')}
    assert {'in_context_correct_held-out', 'in_context_error_trained', 'functions_correct', 'functions_error',
            'functions_sorted_held-out', 'functions_sorted_trained'} <= names  # fmt: skip


def test_sentences_compare_conditions_over_the_same_functions(page):
    assert 'mean over 3 trained functions (chance 0.5): main 0.92 [0.56, 1.28]; plain 0.5 [−0.7, 1.7].' in page[0]
    assert 'On trained functions, main is not shown to differ from plain (difference 0.42 [−0.53, 1.37]).' in page[0]


def test_a_reduced_training_is_labelled(page):
    words = 'Training: main, static, raw, plain: 8 of at most 8 epochs of 3\u00a0200 examples, a reduced run (its '
    assert words in page[0] and 'Level of evidence' not in page[0]


def test_odd_one_out_alone_has_no_pxp_and_no_curves_and_says_its_level_of_evidence(tmp_path, make_page):
    more = [_score('odd_one_out/nll', 1.0, evidence='glosses and their own classes: nearly circular', human='people')]
    html = _html(_write(tmp_path, parts=('odd_one_out',), more=more), make_page)
    assert html.count('Level of evidence: glosses and their own classes: nearly circular.') == 2  # section and reading
    assert 'id="meta-learned"' in html and 'percentage points' in html
    assert not re.search('id="in-context"|PXP|learned_functions|which learns no function', html)


def test_learning_alone_has_no_ceiling_and_no_curves(tmp_path, make_page):
    html = _html(_write(tmp_path, parts=('learning',)), make_page)
    assert 'id="meta-learned"' in html and 'PXP of all' in html
    assert not re.search('id="in-context"|noise ceiling|percentage points|learned_functions', html)


def test_networks_alone_have_curves_but_no_tasks_and_no_squared_error_where_no_magnitude_was_learned(
    tmp_path, make_page
):
    html = _html(_write(tmp_path, parts=('metalearners',), magnitudes=False), make_page)
    assert 'id="in-context"' in html and 'id="table-learned_functions"' in html
    assert not re.search('id="table-conditions|PXP|Each condition beside the features|R2 of magnitudes', html)
    figures = {path.stem for path in (tmp_path / 'report' / 'figures').glob('*.png')}
    assert 'functions_correct' in figures and not [name for name in figures if 'error' in name]


def test_a_study_without_conditions_has_neither_section(tmp_path, make_page):
    scores = [score for score in _odd_one_out() if not score.provenance.get('networks')]
    storage.write_jsonl(tmp_path / 'scores.jsonl', [score.to_json() for score in scores if 'group' not in
                                                    score.provenance])  # fmt: skip
    html = _html(tmp_path, make_page)
    assert 'id="odd-one-out"' in html and 'id="meta-learned"' not in html and 'id="in-context"' not in html


def test_two_layers_of_one_condition_are_two_rows(tmp_path):
    about = {'human': 'people', 'trials': 'all', 'measure': 'cosine', 'chance': 1 / 3, 'over': 'triplets'}
    scores = [_score('odd_one_out/accuracy', 0.5, model='base', **about)]
    for layer, value in (('embed', 0.6), ('normalised', 0.7)):
        one = {'model': 'static', 'layer': layer, 'n_networks': 1, 'networks': [f'static-0/{layer}']}
        scores.append(_score('odd_one_out/accuracy', value, **about, **one))
        said = {'model': f'static/{layer}', 'other': 'base', 'n_networks': 1, 'networks': ['x']}
        scores.append(_score('odd_one_out/accuracy/difference', value - 0.5, **about, **said))
    storage.write_jsonl(tmp_path / 'scores.jsonl', [score.to_json() for score in scores])
    (task,) = conditions.tasks(load_study(tmp_path))
    assert [row.name for row in task.conditions] == ['static/embed', 'static/normalised']
    assert [row.less['base'].score.value for row in task.conditions] == pytest.approx([0.1, 0.2])


@pytest.mark.browser
@pytest.mark.parametrize('width', [1280, 390])
def test_the_page_does_not_scroll_sideways(page, browser, width):
    browser.open((page[1] / 'report.html').as_uri(), width)
    assert browser.value('document.documentElement.scrollWidth') <= width
    assert (
        browser.value("document.querySelectorAll('#meta-learned .picture svg, #in-context .picture svg').length") == 13
    )
