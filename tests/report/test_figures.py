import matplotlib.figure
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from scipy.spatial.distance import pdist, squareform

from humalign_jax.records import Rdm, Score
from humalign_jax.report import bars, rdms, style, trends


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
    assert ax.get_title().startswith('n = 30')


def test_scores_without_interval_or_ceiling_are_drawn_plain():
    nan = float('nan')
    ax = bars.plot_scores(axes(), [Score('accuracy', 0.5, nan, nan, 3, 'none', nan, nan)], ['a'], label='accuracy')
    assert not any(patch.get_facecolor()[:3] == to_rgb(style.CEILING_GREY) for patch in ax.patches)


def test_lines_join_the_models_that_differ_and_stars_mark_those_above_zero():
    p = np.ones((3, 3))
    p[0, 2] = p[2, 0] = 0.01
    ax = bars.plot_scores(
        axes(),
        make_scores([0.5, 0.4, 0.1]),
        ['a', 'b', 'c'],
        label='r',
        p_zero=np.array([0.0005, 0.02, 0.5]),
        p_differences=p,
    )
    lines = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2 and line.get_ydata()[0] > 0.7]
    np.testing.assert_allclose(lines, [[0.08, 1.92]])
    assert [text.get_text() for text in ax.texts if set(text.get_text()) <= {'*'}] == ['***', '*', '']


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


@pytest.mark.parametrize('names', [('a', 'b', 'c', 'd'), ('latents with noise 0', 'latents with noise 1', 'philnet')])
def test_the_legend_and_label_of_a_layer_profile_stay_on_the_figure(names):
    layers = ('block1', 'block2', 'penultimate')
    lines = {
        name: {layer: Score('rsa/spearman', 0.1 * i, 0.0, 0.5, 100, 'none', 0.6, 0.8) for layer in layers}
        for i, name in enumerate(names)
    }
    baselines = {'pixels': 0.05, 'same category': 0.63, 'class-mean human label': 0.41}
    figure = trends.draw_layer_profile(
        lines, label='spearman, image level, partial pairs\n(simulated)', baselines=baselines
    )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    (legend,) = figure.legends
    for box in (legend.get_window_extent(), figure.axes[0].yaxis.label.get_window_extent()):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
    assert [text.get_text() for text in legend.get_texts()] == [*baselines, *names]
