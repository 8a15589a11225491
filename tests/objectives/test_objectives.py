"""Objectives: what they average, what they measure, and when the KL term comes in."""

import jax
import numpy as np
import pytest
from scipy import special

from humalign_jax import losses, models, objectives


def _batch(n=6, side=8, n_classes=10):
    np_rng = np.random.default_rng(0)
    labels = np_rng.integers(0, n_classes, n).astype(np.int32)
    return {
        'image': np_rng.uniform(size=(n, side, side, 3)).astype(np.float32),
        'label': labels,
        'soft_label': np.eye(n_classes, dtype=np.float32)[labels],
        'index': np.arange(n, dtype=np.int32),
        'mask': np.ones(n, np.float32),
    }


def _init(model, batch):
    variables = dict(model.init(jax.random.key(0), batch['image'], train=False))
    return variables.pop('params'), variables


@pytest.fixture(scope='module')
def classifier():
    model = models.make_model('philnet', widths=((4, 4),), dropout_rate=0.0)
    batch = _batch()
    return model, batch, *_init(model, batch)


@pytest.fixture(scope='module')
def vae():
    model = models.make_model('vae', image_shape=(8, 8, 3), widths=(4, 4), latent_dim=3)
    batch = _batch()
    return model, batch, *_init(model, batch)


def test_classification_loss_is_the_mean_cross_entropy_to_smoothed_labels(classifier):
    model, batch, params, model_state = classifier
    keys = jax.random.split(jax.random.key(1), 6)
    objective = objectives.make_classification_objective(model, label_smoothing=0.2)
    loss, (new_state, metrics) = objective(params, model_state, batch, keys, 0)
    variables = {'params': params, **model_state}
    logits, _ = model.apply(variables, batch['image'], train=True, mutable=['batch_stats'], keys=keys)
    target = 0.8 * batch['soft_label'] + 0.02
    expected = -(target * special.log_softmax(np.asarray(logits, np.float64), axis=1)).sum(axis=1).mean()
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(metrics['accuracy']) == pytest.approx(np.mean(np.argmax(logits, 1) == batch['label']))
    before, after = jax.tree.leaves(model_state), jax.tree.leaves(new_state)
    assert any((a != b).any() for a, b in zip(before, after))


def test_classification_measure_is_per_image_and_unsmoothed(classifier):
    model, batch, params, model_state = classifier
    values = objectives.make_classification_measure(model)(params, model_state, batch)
    logits = np.asarray(model.apply({'params': params, **model_state}, batch['image']), np.float64)
    expected = -special.log_softmax(logits, axis=1)[np.arange(6), batch['label']]
    np.testing.assert_allclose(values['loss'], expected, rtol=1e-5)
    np.testing.assert_array_equal(values['prediction'], logits.argmax(axis=1))


def test_two_views_are_judged_by_the_mean_logits_of_the_image_and_its_mirror_image(classifier):
    model, batch, params, model_state = classifier
    variables = {'params': params, **model_state}
    mirrored = np.stack([np.fliplr(image) for image in batch['image']])
    one, other = (np.asarray(model.apply(variables, image), np.float64) for image in (batch['image'], mirrored))
    both = (one + other) / 2
    batch = {**batch, 'label': np.where(np.arange(6) < 4, both.argmax(axis=1), both.argmin(axis=1)).astype(np.int32)}
    plain = objectives.make_classification_measure(model)(params, model_state, batch)
    views = objectives.make_classification_measure(model, mirrored_views=True)(params, model_state, batch)
    np.testing.assert_array_equal(views.pop('accuracy_mirrored_views'), [1, 1, 1, 1, 0, 0])
    for name, values in plain.items():
        np.testing.assert_array_equal(views[name], values)


def test_vae_loss_is_summed_l1_plus_weighted_kl(vae):
    model, batch, params, model_state = vae
    keys = jax.random.split(jax.random.key(1), 6)
    objective = objectives.make_vae_objective(model, kl_weight=0.5)
    loss, (_, metrics) = objective(params, model_state, batch, keys, 0)
    (recon, mean, logvar), _ = model.apply(
        {'params': params, **model_state}, batch['image'], train=True, keys=keys, mutable=['batch_stats']
    )
    recon, mean, logvar = (np.asarray(x, np.float64) for x in (recon, mean, logvar))
    l1 = np.abs(recon - batch['image']).sum(axis=(1, 2, 3)).mean()
    kl = 0.5 * (np.exp(logvar) + mean**2 - 1 - logvar).sum(axis=1).mean()
    assert float(metrics['l1']) == pytest.approx(l1, rel=1e-5)
    assert float(metrics['kl']) == pytest.approx(kl, rel=1e-4)
    assert float(loss) == pytest.approx(l1 + 0.5 * kl, rel=1e-5)


def test_the_kl_weight_rises_linearly_and_stays(vae):
    model, batch, params, model_state = vae
    keys = jax.random.split(jax.random.key(1), 6)
    objective = objectives.make_vae_objective(model, kl_weight=2.0, kl_warmup_steps=4)
    weights = [float(objective(params, model_state, batch, keys, np.int32(t))[1][1]['kl_weight']) for t in range(6)]
    np.testing.assert_allclose(weights, [0.5, 1.0, 1.5, 2.0, 2.0, 2.0])


def test_the_vae_is_measured_at_the_mean_of_its_code(vae):
    model, batch, params, model_state = vae
    values = objectives.make_vae_measure(model, kl_weight=1.0)(params, model_state, batch)
    variables = {'params': params, **model_state}
    mean, _ = model.apply(variables, batch['image'], method='encode')
    recon = model.apply(variables, mean, method='decode')
    np.testing.assert_allclose(values['l1'], np.abs(recon - batch['image']).sum(axis=(1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(values['loss'], values['l1'] + values['kl'], rtol=1e-5)


@pytest.fixture(scope='module')
def deconv():
    model = models.make_model('deconv', image_shape=(16, 16, 3))
    batch = _batch(side=16)
    shapes, np_rng = jax.eval_shape(lambda: model.init(jax.random.key(0), batch['image'])), np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: np_rng.normal(0.0, 0.1, leaf.shape).astype(np.float32), shapes['params'])
    return model, batch, params, {}


def _outputs(model, params, batch):
    logits, recon = model.apply({'params': params}, batch['image'])
    return special.log_softmax(np.asarray(logits, np.float64), axis=1), np.asarray(recon, np.float64)


def test_the_deconv_loss_is_cross_entropy_plus_weighted_mse(deconv):
    model, batch, params, model_state = deconv
    objective = objectives.make_deconv_objective(model, reconstruction_weight=3.0)
    loss, (_, metrics) = objective(params, model_state, batch, None, 0)
    log_p, recon = _outputs(model, params, batch)
    cross_entropy = -log_p[np.arange(6), batch['label']].mean()
    mse = np.mean((recon - batch['image']) ** 2)
    assert float(metrics['cross_entropy']) == pytest.approx(cross_entropy, rel=1e-5)
    assert float(metrics['mse']) == pytest.approx(mse, rel=1e-5)
    assert float(loss) == pytest.approx(cross_entropy + 3.0 * mse, rel=1e-5)


def test_without_decoder_the_deconv_loss_is_the_cross_entropy(deconv):
    _, batch, params, model_state = deconv
    model = models.make_model('deconv', image_shape=(16, 16, 3), decoder=False)
    loss, (_, metrics) = objectives.make_deconv_objective(model)(params, model_state, batch, None, 0)
    assert float(loss) == float(metrics['cross_entropy']) and 'mse' not in metrics
    values = objectives.make_deconv_measure(model, mean=(0.5,) * 3, std=(0.5,) * 3)(params, model_state, batch)
    np.testing.assert_array_equal(values['loss'], values['cross_entropy'])
    assert not {'mse', 'psnr', 'ssim'} & set(values)


def test_the_deconv_is_measured_per_image_with_psnr_and_ssim_of_intensities(deconv):
    model, batch, params, model_state = deconv
    measure = objectives.make_deconv_measure(model, reconstruction_weight=3.0, mean=(0.5,) * 3, std=(0.25,) * 3)
    values = measure(params, model_state, batch)
    log_p, recon = _outputs(model, params, batch)
    mse = np.mean((recon - batch['image']) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(values['mse'], mse, rtol=1e-5)
    np.testing.assert_allclose(values['loss'], -log_p[np.arange(6), batch['label']] + 3.0 * mse, rtol=1e-5)
    np.testing.assert_allclose(values['psnr'], -10 * np.log10(mse * 0.25**2), rtol=1e-5)
    shown = [(0.25 * x + 0.5).astype(np.float32) for x in (recon, batch['image'])]
    np.testing.assert_allclose(values['ssim'], losses.ssim(*shown), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(values['prediction'], log_p.argmax(axis=1))


def test_impossible_weights_are_refused(vae):
    with pytest.raises(ValueError, match=r'label_smoothing must be in \[0, 1\)'):
        objectives.make_classification_objective(vae[0], label_smoothing=1.0)
    with pytest.raises(ValueError, match='must not be negative'):
        objectives.make_vae_objective(vae[0], kl_weight=-1.0)
    with pytest.raises(ValueError, match='must not be negative'):
        objectives.make_deconv_objective(vae[0], reconstruction_weight=-1.0)
