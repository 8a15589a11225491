import matplotlib.figure
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from scipy.spatial.distance import pdist, squareform

from humalign_jax.records import Rdm, Score
from humalign_jax.report.plots import bars, rdms, style, trends


def make_rdm(n=12, name='net', seed=0):
    points = np.random.default_rng(seed).normal(size=(n, 3))
    return Rdm(pdist(points), np.array([f'toy/test/{i:05d}' for i in range(n)]), name, 'euclidean')


def make_scores(values, ceiling=(0.6, 0.7)):
    return [
        Score('rsa/spearman', v, v - 0.1, v + 0.2, 30, 'bootstrap over stimuli, 99 draws', *ceiling) for v in values
    ]


def axes():
    return matplotlib.figure.Figure(figsize=(3, 3), layout='constrained').subplots()


def test_block_average_is_the_mean_of_the_pairs_in_each_cell():
    order, n_cells = np.random.default_rng(1).permutation(13), 4
    rdm = pdist(np.random.default_rng(0).normal(size=(13, 3)))
    square = squareform(rdm)[np.ix_(order, order)]
    np.fill_diagonal(square, np.nan)
    cells = np.arange(13) * n_cells // 13
    expected = [[np.nanmean(square[np.ix_(cells == a, cells == b)]) for b in range(n_cells)] for a in range(n_cells)]
    np.testing.assert_allclose(rdms.block_average(rdm, order, n_cells), expected)


def test_small_rdms_are_drawn_cell_by_cell_without_their_diagonal():
    rdm = make_rdm()
    picture = rdms.block_average(rdm.values, np.arange(12), 400)
    assert np.isnan(np.diag(picture)).all()
    np.testing.assert_allclose(np.nan_to_num(picture), squareform(rdm.values))


def test_panels_share_limits_and_say_when_values_are_ranks():
    small, large = make_rdm(), make_rdm(name='large', seed=1)
    large = Rdm(10 * large.values, large.ids, 'large', 'euclidean')
    figure = rdms.draw_rdms([small, large], ranks=True)
    limits = {ax.images[0].get_clim() for ax in figure.axes if ax.images}
    assert limits == {(small.values.min(), large.values.max())}
    assert figure.axes[-1].get_ylabel() == 'rank of dissimilarity'
    assert rdms.draw_rdms([small], unit='1 - r').axes[-1].get_ylabel() == '1 - r'


def test_heat_map_is_ordered_by_category():
    rdm, labels = make_rdm(), np.arange(12) % 3
    ax = rdms.plot_rdm(axes(), rdm, labels=labels, class_names=('cat', 'dog', 'owl'))
    order = np.argsort(labels, kind='stable')
    np.testing.assert_allclose(np.nan_to_num(ax.images[0].get_array()), squareform(rdm.values)[np.ix_(order, order)])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ['cat', 'dog', 'owl']
    np.testing.assert_array_equal(ax.get_yticks(), [2, 6, 10])


def test_bars_show_values_intervals_ceiling_and_subjects():
    values = [0.5, 0.3, -0.1]
    ax = bars.plot_scores(
        axes(), make_scores(values), ['a', 'b', 'c'], label='rho', by_subject=np.arange(12.0).reshape(3, 4) / 20
    )
    heights = [patch.get_height() for patch in ax.containers[0]]
    assert heights == pytest.approx(values)
    segments = ax.containers[1].lines[2][0].get_segments()
    np.testing.assert_allclose([s[:, 1] for s in segments], [(v - 0.1, v + 0.2) for v in values])
    band = next(patch for patch in ax.patches if patch.get_facecolor()[:3] == to_rgb(style.CEILING_GREY))
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.6, 0.7))
    assert [len(line.get_xdata()) for line in ax.lines if line.get_marker() == '.'] == [4, 4, 4]
    assert ax.get_ylabel() == 'rho'


def test_scores_without_interval_or_ceiling_are_drawn_plain():
    nan = float('nan')
    ax = bars.plot_scores(axes(), [Score('accuracy', 0.5, nan, nan, 3, 'none', nan, nan)], ['a'], label='accuracy')
    assert not any(patch.get_facecolor()[:3] == to_rgb(style.CEILING_GREY) for patch in ax.patches)


def marks(figure):
    """Points of the rows of marks by what they say, as (column, row)."""
    drawn = {line.get_label(): line.get_xydata() for line in figure.axes[0].lines}
    return {what: {tuple(map(int, point)) for point in points} for what, points in drawn.items()}


@pytest.mark.parametrize('m', [2, 8, 30])  # 30 models: 435 comparisons
def test_every_comparison_has_its_mark(m):
    p = np.random.default_rng(0).uniform(0.0, 0.1, size=(m, m))
    p = (p + p.T) / 2.0
    figure = bars.draw_scores(
        make_scores(np.linspace(0.5, 0.2, m)), [f'n{i}' for i in range(m)], label='r', p_differences=p
    )
    off = ~np.eye(m, dtype=bool)
    found = marks(figure)
    rows_of_models = {what: {(x, y - 1) for x, y in points if y > 0} for what, points in found.items()}
    assert rows_of_models['shown'] == {(j, i) for i, j in np.argwhere(off & (p < 0.05))}
    assert rows_of_models['not shown'] == {(j, i) for i, j in np.argwhere(off & (p >= 0.05))}
    assert rows_of_models['own'] == {(i, i) for i in range(m)}


def test_a_comparison_that_was_not_made_has_no_mark():
    p = np.array([[1.0, 0.01, np.nan], [0.01, 1.0, 0.5], [np.nan, 0.5, 1.0]])
    found = marks(bars.draw_scores(make_scores([0.5, 0.4, 0.3]), ['a', 'b', 'c'], label='r', p_differences=p))
    assert {(x, y) for x, y in found['shown'] | found['not shown'] if y > 0} == {(1, 1), (0, 2), (2, 2), (1, 3)}


def test_marks_stand_outside_the_axis_of_the_scores():
    scores = make_scores([0.5, 0.4, 0.3])
    plain, marked = (
        bars.draw_scores(scores, ['a', 'b', 'c'], label='r', p_differences=p) for p in (None, np.zeros((3, 3)))
    )
    top, ax = marked.axes
    assert ax.get_ylim() == plain.axes[-1].get_ylim()
    FigureCanvasAgg(marked).draw()
    assert top.get_window_extent().y0 > ax.get_window_extent().y1
    assert len(plain.axes) == 2 and marks(plain).keys() == {'shown', 'not shown'}


def test_a_mark_above_zero_and_the_interval_are_one_statement():
    # Permutation p values over stimuli say nothing here: only the interval that is drawn does.
    scores = [
        Score(
            'rsa/spearman', v, low, v + 0.2, 30, 'variance over stimuli and subjects, t', provenance={'p_zero': 0.001}
        )
        for v, low in ((0.3, 0.1), (0.1, -0.1), (-0.2, -0.3))
    ]
    figure = bars.draw_scores(scores, ['a', 'b', 'c'], label='r')
    assert marks(figure) == {'shown': {(0, 0)}, 'not shown': {(1, 0), (2, 0)}}
    assert 'the interval drawn lies above 0' in figure.axes[1].get_xlabel().replace('\n', ' ')


def test_without_intervals_nothing_is_marked_above_zero():
    nan = float('nan')
    figure = bars.draw_scores([Score('accuracy', 0.5, nan, nan, 3, 'none', nan, nan)], ['a'], label='accuracy')
    assert len(figure.axes) == 1 and figure.axes[0].get_xlabel() == 'n = 3'


def test_the_caption_counts_stimuli_and_subjects():
    about = {'n_stimuli': 92, 'n_subjects': 4}
    score = Score(
        'rsa/spearman', 0.5, 0.4, 0.6, 4, 'variance over stimuli and subjects in closed form, t', provenance=about
    )
    figure = bars.draw_scores([score], ['a'], label='r', by_subject=np.full((1, 4), 0.5))
    said = figure.axes[1].get_xlabel().replace('\n', ' ')
    assert said.startswith('n = 92 stimuli and 4 subjects; 95 % intervals: variance over stimuli and subjects')
    assert 'points: subjects' in said


def test_baselines_are_grey_bars():
    ax = bars.plot_scores(axes(), make_scores([0.5, 0.3]), ['net', 'pixels'], label='r', baselines=['pixels'])
    assert [to_rgb(patch.get_facecolor()) for patch in ax.containers[0]] == [
        to_rgb(style.COLOURS[0]),
        to_rgb(style.GREY),
    ]


def test_map_keeps_coordinates_and_equal_axes():
    points = np.random.default_rng(0).normal(size=(10, 2))
    ax = rdms.plot_map(axes(), points, labels=np.arange(10) % 2, class_names=('cat', 'dog'))
    drawn = np.concatenate([collection.get_offsets() for collection in ax.collections])
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(points, axis=0))
    assert ax.get_aspect() == 1.0


def test_figures_become_pdf_and_png_and_are_the_same_twice(tmp_path):
    first = style.save_figure(rdms.draw_rdms([make_rdm()]), tmp_path / 'a' / 'rdm.v1')
    again = style.save_figure(rdms.draw_rdms([make_rdm()]), tmp_path / 'b' / 'rdm.v1')
    assert [path.name for path in first] == ['rdm.v1.pdf', 'rdm.v1.png']
    assert first[0].read_bytes()[:4] == b'%PDF'
    assert [x.read_bytes() for x in first] == [x.read_bytes() for x in again]


def test_a_map_names_its_categories_in_the_figure():
    points = np.random.default_rng(0).normal(size=(12, 2))
    figure = rdms.draw_map(points, labels=np.arange(12) % 3, class_names=('cat', 'dog', '_owl'))
    assert [text.get_text().strip() for text in figure.legends[0].get_texts()] == ['cat', 'dog', '_owl']


def test_more_categories_than_marks_can_tell_apart_look_alike():
    names = [f'c{i}' for i in range(41)]
    ax = rdms.plot_map(axes(), np.zeros((41, 2)), labels=np.arange(41), class_names=names)
    assert len(ax.collections) == 1
    looks = rdms.plot_map(axes(), np.zeros((40, 2)), labels=np.arange(40), class_names=names[:40]).collections
    assert len({(str(c.get_facecolor()), str(c.get_paths()[0].vertices)) for c in looks}) == 40


def profile(**baselines):
    lines = {
        'one': {layer: make_scores([0.3])[0] for layer in ('conv1', 'conv2', 'fc')},
        'other': {layer: make_scores([0.4])[0] for layer in ('conv1', 'mu')},
    }
    return trends.draw_layer_profile(lines, label='r', baselines=baselines)


def test_each_network_has_an_axis_of_its_own_layers():
    figure = profile()
    panels = {ax.get_title(): [tick.get_text() for tick in ax.get_xticklabels()] for ax in figure.axes}
    assert panels == {'one': ['conv1', 'conv2', 'fc'], 'other': ['conv1', 'mu']}
    assert [len(container.lines[0].get_xdata()) for ax in figure.axes for container in ax.containers] == [3, 2]


def test_baselines_that_would_hide_each_other_share_a_line_with_both_names():
    figure = profile(pixels=0.05, category=0.5, label=0.501)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        'pixels 0.050',
        'category 0.500, label 0.501',
    ]
    dashed = [
        line for line in figure.axes[0].lines if line.get_label() in ('pixels 0.050', 'category 0.500, label 0.501')
    ]
    assert [line.get_ydata()[0] for line in dashed] == pytest.approx([0.05, 0.5005])


def test_no_baseline_is_left_out():
    figure = profile(**{f'baseline {i}': 0.1 * i for i in range(9)})
    assert len(figure.legends[0].get_texts()) == 9
    looks = {
        (str(line._dash_pattern), line.get_color()) for line in figure.axes[0].lines if 'baseline' in line.get_label()
    }
    assert len(looks) == 9
