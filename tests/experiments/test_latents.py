"""The analysis of a trained VAE: known answers, files, scores, messages."""

import json
import pathlib
import runpy
import shutil
import types

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from sklearn.decomposition import PCA

from humalign_jax import losses, storage
from humalign_jax.alignment import code_scores, linear_code
from humalign_jax.experiments import latents, train_vae
from humalign_jax.records import Score
from humalign_jax.wiring import latent_pictures, runs

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'


def _tiny(name):
    return runpy.run_path(str(CONFIGS / f'{name}.py'))['get_config']('tiny')


def _write_config(config, folder):
    storage.write_json(folder / 'config.json', json.loads(config.to_json_best_effort()))


@pytest.fixture(scope='module')
def vae_run(tmp_path_factory):
    """A VAE of a second: five epochs on rendered images, little weight on the prior."""
    folder = tmp_path_factory.mktemp('vae')
    config = _tiny('vae')
    config.data.update(batch_size=32, n_validation=64, n_train=384, n_test=200)
    config.model.latent_dim = 6
    config.model.widths = (8, 8)
    config.objective.update(kl_weight=0.1, pictures_every_epochs=0.0)
    config.train.update(epochs=5.0, n_devices=1)
    train_vae.run(config, str(folder))
    _write_config(config, folder)
    return folder


@pytest.fixture(scope='module')
def done(vae_run, tmp_path_factory):
    """A finished analysis of it."""
    folder = tmp_path_factory.mktemp('latents')
    config = _config(vae_run)
    config.pictures.n_traversed = 2
    latents.run(config, str(folder))
    return folder


def _config(vae_run):
    config = _tiny('latents')
    config.run = str(vae_run)
    return config


def _scores(folder, name, **said):
    rows = [Score.from_json(row) for row in storage.read_jsonl(folder / 'scores.jsonl')]
    return [s for s in rows if s.name == name and all(s.provenance.get(k) == v for k, v in said.items())]


@pytest.fixture(scope='module')
def opened(vae_run):
    return runs.open_run(vae_run)


def _means(opened, rows):
    variables = {'params': opened.state.params, **opened.state.model_state}
    images = opened.setup.prepare_plain(opened.setup.images['test'].images[rows], None)
    recon, mean, logvar = opened.setup.model.apply(variables, images)
    return np.asarray(images), np.asarray(recon), np.asarray(mean), np.asarray(logvar)


def test_a_traversal_moves_one_latent_and_at_zero_none():
    mean = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    codes = latent_pictures.traversal_codes(mean, np.array([4, 1]), np.array([-2.0, 0.0, 3.0]))
    assert codes.shape == (2, 3, 3, 5)
    np.testing.assert_array_equal(codes[:, :, 1], np.broadcast_to(mean, (2, 3, 5)))
    moved = codes[1, 2, 2] - mean[2]
    np.testing.assert_allclose(moved, [0, 3, 0, 0, 0], atol=1e-6)


def test_an_interpolation_starts_and_ends_at_its_two_codes_and_is_straight():
    start, end = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    codes = latent_pictures.interpolation_codes(start, end, 5)
    np.testing.assert_array_equal(codes[:, 0], start)
    np.testing.assert_array_equal(codes[:, -1], end)
    np.testing.assert_allclose(codes[:, 2], (start + end) / 2, atol=1e-6)


def test_decoded_ends_of_an_interpolation_are_the_reconstructions(opened):
    _, recon, mean, _ = _means(opened, slice(0, 2))
    decode = latent_pictures.make_decode(opened)
    ends = decode(latent_pictures.interpolation_codes(mean[:1], mean[1:], 4))[0, [0, -1]]
    np.testing.assert_allclose(ends, 255 * recon, atol=0.51)  # to the nearest byte


def test_pictures_show_what_their_sidecars_say(done, opened):
    test = opened.setup.images['test']
    row_of = {name: i for i, name in enumerate(test.ids)}

    def open_picture(name):
        said = storage.read_json(done / 'figures' / f'{name}.json')
        picture = np.asarray(Image.open(done / 'figures' / f'{name}.png'))
        return said, picture

    def cell(picture, row, column, n_columns):
        factor = picture.shape[1] // (n_columns * 34 + 2)  # columns of 32 px and gaps of 2 px
        top, left = (2 + row * 34) * factor, (2 + column * 34) * factor
        return picture[top : top + 32 * factor : factor, left : left + 32 * factor : factor]

    said, picture = open_picture('reconstructions')
    assert said['columns'] == list(test.class_names) and said['simulated'] is True
    originals, reconstructions = said['rows']
    rows = [row_of[i] for i in originals['ids']]
    assert originals['ids'] == reconstructions['ids'] and (test.labels[rows] == np.arange(10)).all()
    _, recon, _, _ = _means(opened, rows)
    for j in (0, 9):
        np.testing.assert_array_equal(cell(picture, 0, j, 10), test.images[rows[j]])
        np.testing.assert_allclose(cell(picture, 1, j, 10), 255 * recon[j], atol=0.51)

    said, picture = open_picture('interpolations')
    for i, row in enumerate(said['rows']):
        a, b = row_of[row['from']], row_of[row['to']]
        assert test.labels[a] != test.labels[b]
        _, recon, _, _ = _means(opened, [a, b])
        np.testing.assert_allclose(cell(picture, i, 0, 5), 255 * recon[0], atol=0.51)
        np.testing.assert_allclose(cell(picture, i, 4, 5), 255 * recon[1], atol=0.51)

    said, picture = open_picture('traversals')
    kl = [row['kl_nats'] for row in said['rows']]
    stored = np.load(done / 'dimensions.npy')[:, 0]
    assert kl == sorted(kl, reverse=True) and kl[0] == stored.max()
    assert kl == [stored[row['latent']] for row in said['rows']]
    _, recon, _, _ = _means(opened, [row_of[said['blocks'][0]['id']]])
    n_columns = len(said['columns'])
    factor = picture.shape[1] // (2 * (n_columns * 34 + 2) + 8)
    left = (2 + said['columns'].index('mu +0 standard deviations of the prior') * 34) * factor
    middle = picture[2 * factor : 34 * factor : factor, left : left + 32 * factor : factor]
    np.testing.assert_allclose(middle, 255 * recon[0], atol=0.51)


def test_scores_are_those_of_the_test_images_measured_one_by_one(done, opened):
    images, recon, mean, logvar = _means(opened, slice(None))
    values = {'l1': losses.l1(recon, images), 'psnr': losses.psnr(recon, images), 'ssim': losses.ssim(recon, images)}
    for name, of_images in values.items():
        (score,) = _scores(done, f'vae/{name}', model='vae')
        of_images = np.asarray(of_images, np.float64)
        assert score.value == pytest.approx(of_images.mean(), rel=1e-4) and score.n == 200
        half = stats.t.ppf(0.975, 199) * stats.sem(of_images)
        assert score.high - score.value == pytest.approx(half, rel=1e-3)
    by_latent = (0.5 * (np.exp(logvar) + mean**2 - 1 - logvar)).mean(axis=0)
    (kl,) = _scores(done, 'vae/kl')
    assert kl.value == pytest.approx(by_latent.sum(), rel=1e-4)
    (active,), (units,) = _scores(done, 'vae/active_dimensions'), _scores(done, 'vae/active_units')
    assert active.value == (by_latent > 0.01).sum() and units.value == (mean.var(axis=0) > 0.01).sum()
    stored = np.load(done / 'reconstruction.npy')
    columns = storage.read_json(done / 'reconstruction.json')['columns']
    np.testing.assert_allclose(stored[:, columns.index('psnr')], values['psnr'], rtol=1e-4)


def test_baselines_stand_beside_every_reconstruction_score(done, opened):
    images = opened.setup.images
    flat = {split: of_split.images.reshape(len(of_split), -1) / 255.0 for split, of_split in images.items()}
    mean_error = np.abs(flat['test'] - flat['train'].mean(axis=0)).sum(axis=1).mean()
    (score,) = _scores(done, 'vae/l1', model='mean training image', baseline=True)
    assert score.value == pytest.approx(mean_error, rel=1e-4)
    pca = PCA(6, svd_solver='full').fit(flat['train'])
    recon = np.clip(pca.inverse_transform(pca.transform(flat['test'])), 0, 1)
    (score,) = _scores(done, 'vae/l1', model='PCA, 6 components', baseline=True)
    assert score.value == pytest.approx(np.abs(flat['test'] - recon).sum(axis=1).mean(), rel=1e-4)
    (vae,) = _scores(done, 'vae/l1', model='vae')
    (lead,) = _scores(done, 'vae/l1/difference', other='PCA, 6 components')
    assert lead.value == pytest.approx(vae.value - score.value, rel=1e-4)


def test_the_code_of_a_trained_vae_tells_categories_apart_better_than_chance(done):
    (probe,) = _scores(done, 'vae/linear_probe_accuracy', layer='mu')
    assert probe.low > 0.1 and probe.interval == 'wilson' and probe.provenance['n_features'] == 6
    baselines = _scores(done, 'vae/linear_probe_accuracy', baseline=True)
    assert {score.provenance['model'] for score in baselines} == {'PCA, 6 components', 'pixels'}
    (lead,) = _scores(done, 'vae/linear_probe_accuracy/difference', other='pixels')
    pixels = next(score for score in baselines if score.provenance['model'] == 'pixels')
    assert lead.value == pytest.approx(probe.value - pixels.value)


def test_category_structure_is_the_rank_correlation_of_all_pairs(done, opened):
    test = opened.setup.images['test']
    mean = _means(opened, slice(None))[2].astype(np.float64)
    first, second = np.triu_indices(len(test), 1)
    distance = 1 - np.corrcoef(mean)[first, second]
    expected = stats.spearmanr(distance, test.labels[first] != test.labels[second]).statistic
    (score,) = _scores(done, 'vae/rsa_same_category', layer='mu')
    assert score.value == pytest.approx(expected, abs=1e-5)
    assert score.interval == "infinitesimal jackknife over images, t of Fisher's z"
    assert score.low < score.value < score.high


def test_the_informative_latents_are_the_fewest_that_hold_nine_tenths_of_the_kl():
    np.testing.assert_array_equal(code_scores.most_informative(np.array([0.5, 6.0, 0.1, 3.0, 0.4])), [1, 3])
    np.testing.assert_array_equal(
        code_scores.most_informative(np.array([8.0, 1.0, 0.5, 0.5])), [0, 1]
    )  # 9 of 10 exactly
    assert len(code_scores.most_informative(np.full(10, 0.3))) in (9, 10)


def test_every_score_says_where_it_comes_from(done):
    rows = storage.read_jsonl(done / 'scores.jsonl')
    for row in rows:
        assert row['provenance'].keys() >= {'model', 'data', 'human', 'simulated', 'seed', 'better', 'checkpoint_step'}
        assert row['provenance']['simulated'] is True and row['provenance']['data'] == 'synthetic/test'
    assert (done / 'figures' / 'dimensions.pdf').stat().st_size > 0


def test_a_second_run_leaves_the_same_scores_and_pictures(done, vae_run, tmp_path):
    config = _config(vae_run)
    config.pictures.n_traversed = 2
    latents.run(config, str(tmp_path))
    for name in ('scores.jsonl', 'figures/samples.png', 'figures/reconstructions.png', 'figures/interpolations.png'):
        assert (tmp_path / name).read_bytes() == (done / name).read_bytes(), name


@pytest.mark.parametrize('n', [40, 300])  # fewer images than pixel values, and more
def test_the_linear_code_equals_scikit_learns_pca(n):
    np_rng = np.random.default_rng(0)
    images = np.clip(np_rng.normal(128, 40, (n, 1, 1, 1)) + np_rng.normal(0, 30, (n, 5, 4, 3)), 0, 255).astype(np.uint8)
    flat = images.reshape(n, -1) / 255.0
    code = linear_code.fit_linear_code(images, 7)
    pca = PCA(7, svd_solver='full').fit(flat)
    np.testing.assert_allclose(code.mean, pca.mean_, atol=1e-6)
    np.testing.assert_allclose(np.abs(code.encode(images)), np.abs(pca.transform(flat)), atol=1e-4)
    expected = np.clip(pca.inverse_transform(pca.transform(flat)), 0, 1).reshape(images.shape)
    np.testing.assert_allclose(code.decode(code.encode(images)), expected, atol=1e-5)
    np.testing.assert_allclose(code.decode(np.zeros((1, 0), np.float32))[0].ravel(), pca.mean_, atol=1e-6)


def test_mistakes_are_named(vae_run, tmp_path):
    images = np.zeros((3, 2, 2, 1), np.uint8)
    with pytest.raises(ValueError, match='3 images of 4 values have at most 3 components, not 4'):
        linear_code.fit_linear_code(images, 4)
    config = _config(vae_run)
    config.pictures.n_per_class = 1000
    with pytest.raises(ValueError, match=r'n_per_class=1000: no class of synthetic has so many images'):
        latents.run(config, str(tmp_path))
    config.pictures.update(n_per_class=1, n_pairs=0)
    with pytest.raises(ValueError, match=r'config\.pictures\.n_pairs=0 must be at least 1'):
        latents.run(config, str(tmp_path))
    config = _config(vae_run)
    config.probe.strength = 1.0
    with pytest.raises(ValueError, match=r"config\.probe\.strength is not a setting\. Did you mean 'strengths'"):
        latents.run(config, str(tmp_path))
    shutil.copytree(vae_run, tmp_path / 'normalised')
    changed = storage.read_json(vae_run / 'config.json')
    changed['preprocess']['mean'] = [0.5, 0.5, 0.5]
    storage.write_json(tmp_path / 'normalised' / 'config.json', changed)
    config = _config(tmp_path / 'normalised')
    with pytest.raises(ValueError, match=r'PSNR and SSIM need images in \[0, 1\]'):
        latents.run(config, str(tmp_path))


def test_a_classifier_has_no_latents(vae_run, tmp_path, monkeypatch):
    classifier = types.SimpleNamespace(folder=tmp_path, config=types.SimpleNamespace(experiment='train_classifier'))
    monkeypatch.setattr(runs, 'open_run', lambda *arguments, **options: classifier)
    with pytest.raises(ValueError, match="is a run of 'train_classifier', which has no latents"):
        latents.run(_config(vae_run), str(tmp_path))
