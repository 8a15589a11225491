"""Text of figures: inside the figure, readable, and as it was given."""

import itertools
import math

import matplotlib.figure
import numpy as np
import pytest
from matplotlib.cbook import is_math_text
from scipy.spatial.distance import pdist

from humalign_jax.records import Rdm, Score
from humalign_jax.report.plots import bars, conditions, confusion, curves, in_context, latents, rdms, style, trends

NAMES = {
    'short': ['a', 'b', 'c', 'd', 'e'],
    'long': [f'resnet50_imagenet_augmented_seed{i}_layer4_average_pool' for i in range(5)],
    'words': [f'class-mean label of the {i} other folds, simulated observers' for i in range(5)],
    'hostile': ['net $x_1$', '_hidden', 'a$b', r'\\frac{1} $ {y}$', '100 % & <b>#</b>'],
}
LAYERS = ('block1', 'block2', 'block3', 'penultimate layer before the pool', 'logits', 'probs')
LABEL = 'kendall_tau_a, image level, partial pairs\n(simulated observers)'


def make_score(value=0.4):
    about = {'n_stimuli': 92, 'n_subjects': 4}
    interval = 'bootstrap over stimuli and subjects for these folds, 1000 draws, t'
    return Score('rsa/spearman', value, value - 0.1, value + 0.1, 4, interval, 0.5, 0.7, about)


def make_rdm(name):
    return Rdm(pdist(np.random.default_rng(0).normal(size=(15, 3))), np.arange(15).astype(str), name, 'euclidean')


def draw_bars(names):
    scores = [make_score(0.1 * i) for i in range(len(names))]
    p = np.full((len(names), len(names)), 0.01)
    return bars.draw_scores(scores, names, label=LABEL, by_subject=np.full((5, 4), 0.3), p_differences=p)


def draw_profile(names):
    lines = {name: {layer: make_score() for layer in LAYERS[: i + 2]} for i, name in enumerate(names)}
    return trends.draw_layer_profile(lines, label=LABEL, baselines={name: 0.01 * i for i, name in enumerate(names)})


def draw_uncertainty(names):
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(4.4, 3.2), layout='constrained')
        lines = {name: {place: make_score() for place in LAYERS[:3]} for name in names}
        ax = trends.plot_lines(
            figure.subplots(), lines, label=LABEL, places=LAYERS[:3], xlabel='how uncertain people are'
        )
        style.legend_below(figure, ax)
    return figure


def draw_folds(names):
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(3.5, 2.7), layout='constrained')
        folds = {name: [make_score(0.2), make_score(0.3)] for name in names}
        ax = trends.plot_folds(figure.subplots(), folds, {}, {name: 0.1 for name in names}, label=LABEL)
        style.legend_below(figure, ax)
    return figure


def draw_curve(names):
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(3.4, 2.3), layout='constrained')
        curves.plot_metric(figure.subplots(), [{'epoch': 1.0, 'split': 'train', 'x': 1.0}], 'x', label=names[3])
    return figure


def draw_conditions(names):
    marks = [
        conditions.Mark(name, make_score(0.1 * i), networks=(0.1, 0.2), notes=('0.50', '1.00'), is_base=i == 0)
        for i, name in enumerate(names)
    ]
    return conditions.draw_conditions(marks, label=LABEL, chance=0.0, heads=('PXP\nof all', 'PXP to\nbase'))


def make_curves(names):
    values = np.full((3, 4), 0.5)
    return {name: in_context.Curve(values, values[0], values[0] - 0.1, values[0] + 0.1) for name in names}


FIGURES = {
    'conditions': draw_conditions,
    'differences': lambda names: conditions.draw_differences([make_score()] * len(names), names, label=LABEL),
    'means': lambda names: in_context.draw_means(make_curves(names), label=LABEL, chance=0.5),
    'functions': lambda names: in_context.draw_functions(
        {kind: make_curves(names) for kind in ('a', 'b')}, label=LABEL, limits=(0.0, 1.0)
    ),
    'bars': draw_bars,
    'profile': draw_profile,
    'uncertainty': draw_uncertainty,
    'folds': draw_folds,
    'curve': draw_curve,
    'rdms': lambda names: rdms.draw_rdms([make_rdm(n) for n in names], labels=np.arange(15) % 5, class_names=names),
    'map': lambda names: rdms.draw_map(np.eye(15)[:, :2], labels=np.arange(15) % 5, class_names=names, title=names[0]),
    'confusions': lambda names: confusion.draw_confusions([np.eye(5)] * 5, names, names, what=names[1]),
}


@pytest.fixture(scope='module', params=itertools.product(FIGURES, NAMES), ids='-'.join)
def drawn(request, drawn_texts):
    """A figure's texts, its size and renderer, and the names in it."""
    figure, names = request.param
    return *drawn_texts(FIGURES[figure](NAMES[names])), NAMES[names]


def test_every_text_is_whole_inside_the_figure(drawn):
    texts, (width, height), renderer, _ = drawn
    assert len(texts) > 3
    for text in texts:
        box = text.get_window_extent(renderer)
        assert min(box.x0, box.y0) >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text.get_text()


def test_no_two_texts_overlap(drawn):
    texts, _, renderer, _ = drawn
    straight = [(t, t.get_window_extent(renderer).padded(-1.5)) for t in texts if t.get_rotation() % 90 == 0]
    for (one, box), (other, box2) in itertools.combinations(straight, 2):
        assert not box.overlaps(box2), (one.get_text(), other.get_text())
    for axis in {t.axes.xaxis for t in texts if t.axes is not None and t.get_rotation() % 90}:
        labels = [t for t in axis.get_ticklabels() if t in texts]
        ends = [t.get_transform().transform(t.get_position())[0] for t in labels]
        for (one, x), (_, x2) in itertools.pairwise(zip(labels, ends)):
            apart = (x2 - x) * math.sin(math.radians(one.get_rotation()))
            assert apart > one.get_fontsize() * axis.figure.dpi / 72.0


def test_no_name_becomes_a_formula(drawn):
    assert not [text.get_text() for text in drawn[0] if is_math_text(text.get_text())]


@pytest.mark.parametrize('figure', [name for name in FIGURES if name != 'curve'])
def test_names_are_shown_as_they_are(figure, drawn_texts):
    names = NAMES['hostile']
    texts, _, _ = drawn_texts(FIGURES[figure](names))
    shown = [' '.join(text.get_text().replace(r'\$', '$').split()) for text in texts]
    assert [name for name in names if not any(name in text for text in shown)] == []


@pytest.mark.parametrize('name', [*NAMES['hostile'], '$', '$$', '$5 and $6', 'tab\there', 'bell\a', '_'])
def test_plain_text_draws_without_error_and_keeps_its_characters(name, drawn_texts):
    figure = matplotlib.figure.Figure()
    text = figure.text(0.5, 0.5, style.plain(name))
    drawn_texts(figure)
    assert not is_math_text(text.get_text())
    expected = ''.join(c if c.isprintable() else ' ' for c in name)
    assert text.get_text().replace(r'\$', '$').removeprefix(' ' if name.startswith('_') else '') == expected


@pytest.mark.parametrize(
    'text', ['one two three four five six', 'averyveryverylongnamewithoutanyspace', 'a_b-c/d.e,f' * 4]
)
def test_wrapped_lines_are_no_wider_than_asked_and_lose_nothing(text):
    lines = style.wrapped(text, 0.6).split('\n')
    assert len(lines) > 1 and max(style.text_inches(line, style.TEXT_POINTS) for line in lines) <= 0.6
    assert ''.join(lines).replace(' ', '') == text.replace(' ', '')


def test_shortened_text_keeps_both_ends():
    short = style.shortened('resnet50_imagenet_augmented_seed3_layer4', 1.0)
    assert style.text_inches(short, style.TICK_POINTS) <= 1.0
    assert short.startswith('resnet50') and short.endswith('layer4') and '…' in short
    assert style.shortened('short', 1.0) == 'short'


def test_a_title_of_the_latents_figure_stays_inside(drawn_texts):
    figure = latents.draw_dimension_kl(np.geomspace(1, 1e-3, 9), threshold=0.01, title='vae ' * 30)
    texts, (width, height), renderer = drawn_texts(figure)
    title = next(text for text in texts if text.get_text().startswith('vae'))
    box = title.get_window_extent(renderer)
    assert box.x0 >= 0 and box.x1 <= width and box.y1 <= height


def test_class_names_too_many_to_read_are_left_out_and_others_shrink():
    sizes = {}
    for k in (5, 30, 300):
        ax = matplotlib.figure.Figure(figsize=(3.0, 3.0)).subplots()
        style.name_y(ax, range(k), [f'c{i}' for i in range(k)], span=k)
        sizes[k] = [tick.get_fontsize() for tick in ax.get_yticklabels()]
    assert len(sizes[5]) == 5 and len(sizes[30]) == 30 and sizes[300] == []
    assert sizes[5][0] == style.TICK_POINTS > sizes[30][0]
