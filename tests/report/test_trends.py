import matplotlib.figure
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from humalign_jax import storage
from humalign_jax.records import Score
from humalign_jax.report.loading import load_study
from humalign_jax.report.plots import confusion, style, trends
from humalign_jax.report.sections import images


def axes():
    return matplotlib.figure.Figure(figsize=(3, 3), layout='constrained').subplots()


def score(value, ceiling=(0.6, 0.7)):
    return Score('rsa/spearman', value, value - 0.1, value + 0.2, 30, 'some', *ceiling)


def test_a_line_skips_places_its_model_does_not_have():
    lines = {'a': {'x': score(0.1), 'y': score(0.2), 'z': score(0.3)}, 'b': {'x': score(0.4), 'z': score(0.5)}}
    ax = trends.plot_lines(axes(), lines, label='rho', places=['x', 'y', 'z'], xlabel='place')
    drawn = {container.get_label(): container.lines[0] for container in ax.containers}
    np.testing.assert_allclose(drawn['a'].get_ydata(), [0.1, 0.2, 0.3])
    np.testing.assert_allclose(np.rint(drawn['b'].get_xdata()), [0, 2])
    ends = [segment[:, 1] for segment in ax.containers[1].lines[2][0].get_segments()]
    np.testing.assert_allclose(ends, [(0.3, 0.6), (0.4, 0.7)])
    band = next(patch for patch in ax.patches if patch.get_facecolor()[:3] == to_rgb(style.CEILING_GREY))
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.6, 0.7))


def test_folds_are_points_beside_their_mean():
    ax = trends.plot_folds(
        axes(), {'human': [score(0.1), score(0.3)]}, {'human': score(0.2)}, {'class mean': 0.25}, label='nats'
    )
    np.testing.assert_allclose(ax.lines[0].get_xydata()[:, 1], [0.1, 0.3])
    np.testing.assert_allclose(ax.containers[0].lines[0].get_xydata(), [(0.2, 0.2)])


def test_watched_alignment_is_drawn_under_its_ceiling():
    rows = [{'epoch': 1.0, 'loss': 2.0}, *({'epoch': e, 'alignment/rsa': e / 10} for e in (2.0, 4.0))]
    rows[-1] |= {'alignment/rsa_ceiling_lower': 0.6, 'alignment/rsa_ceiling_upper': 0.7}
    ax = trends.plot_watch(axes(), rows, 'alignment/rsa', label='RSA')
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [(2, 0.2), (4, 0.4)])
    assert ax.patches[0].get_height() == pytest.approx(0.1)


def test_confusions_are_percentages_with_true_classes_in_rows():
    shares = np.array([[0.9, 0.1], [0.0, 1.0]])
    ax = confusion.plot_confusion(axes(), shares, ('cat', 'dog'), limits=(0.0, 1.0))
    written = {tuple(text.get_position()): text.get_text() for text in ax.texts}
    assert written == {(0, 0): '90', (1, 0): '10', (1, 1): '100'}  # (column, row); zeros are left out
    assert ax.images[0].get_clim() == (0.0, 1.0)
    assert ax.get_ylabel() == 'true class' and [t.get_text() for t in ax.get_yticklabels()] == ['cat', 'dog']


def test_confusions_side_by_side_share_limits():
    figure = confusion.draw_confusions([np.eye(2), np.eye(2) / 4], ['a', 'b'], ('cat', 'dog'), what='share')
    assert {ax.images[0].get_clim() for ax in figure.axes if ax.images} == {(0.0, 1.0)}


def test_most_unlike_images_join_by_id_and_come_with_both_distributions(tmp_path, fake_study):
    fake_study.write_study(tmp_path, parts=('features', 'alignment'))
    where = tmp_path / 'features' / 'philnet' / 'test'
    expected = images.most_unlike(load_study(tmp_path), 'philnet', 5)
    table = np.load(tmp_path / 'alignment' / 'philnet' / 'per_image.npy')
    assert [u.value for u in expected] == sorted(table[:, 0], reverse=True)[:5]
    for name in ('labels', 'probs', 'pixels'):  # the same rows in another order
        values, about = np.load(where / f'{name}.npy'), storage.read_json(where / f'{name}.json')
        order = np.random.default_rng(1).permutation(len(values))
        storage.write_array(where / f'{name}.npy', values[order], {**about, 'ids': [about['ids'][i] for i in order]})
    assert images.most_unlike(load_study(tmp_path), 'philnet', 5) == expected
    row = int(expected[0].stimulus.rsplit('/')[-1])
    assert expected[0].label == fake_study.CLASSES[row % 4]
    answers = dict(zip(fake_study.CLASSES, table[row, 1:]))
    assert expected[0].people == tuple(sorted(answers.items(), key=lambda item: -item[1])[:3])
    assert expected[0].picture is not None and expected[0].picture.alt.startswith('Stimulus synthetic/test/')


def test_without_pixels_or_probabilities_the_first_names_are_given(tmp_path, fake_study):
    fake_study.write_study(tmp_path, parts=('alignment',))
    path = tmp_path / 'alignment' / 'philnet' / 'per_image.npy'
    about = storage.read_json(path.with_suffix('.json'))
    table = np.c_[np.load(path)[:, 0], np.arange(40) % 4, np.arange(40) % 3]
    storage.write_array(path, table, {**about, 'columns': ['kl', 'prediction', 'human_top1']})
    for unlike in images.most_unlike(load_study(tmp_path), 'philnet', 3):
        row = int(unlike.stimulus.rsplit('/')[-1])
        assert unlike.picture is None
        assert unlike.model[0][0] == fake_study.CLASSES[row % 4]
        assert unlike.people[0][0] == fake_study.CLASSES[row % 3]
