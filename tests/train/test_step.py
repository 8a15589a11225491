"""One step: the same on any number of devices, equal to a step written out by hand, and stopped by NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from humalign_jax import devices, models, objectives
from humalign_jax.data import pipeline
from humalign_jax.train import batches, plan, state, step

N_CLASSES = 10


def _images(n=64, side=16):
    np_rng = np.random.default_rng(0)
    labels = np_rng.integers(0, N_CLASSES, n).astype(np.int32)
    return {
        'image': np_rng.integers(0, 256, (n, side, side, 3)).astype(np.uint8),
        'label': labels,
        'soft_label': np.eye(N_CLASSES, dtype=np.float32)[labels],
        'index': np.arange(n, dtype=np.int32),
    }


def _make_batch(**kwargs):
    return pipeline.make_image_batch(pipeline.make_prepare(mean=(0.5,) * 3, std=(0.25,) * 3, **kwargs))


def _first(model, make, tx, seed=0):
    examples = batches.Examples(64, _images(), _make_batch())
    return state.make_state(model, tx, make(model), batches.example_batch(examples), seed)


def _models(name):
    if name == 'vae':
        options = {'image_shape': (16, 16, 3), 'widths': (8, 8), 'latent_dim': 4}
    else:
        options = {'widths': ((4, 8), (8, 8), (8, 16)), 'n_classes': N_CLASSES}
    make = {
        'vae': lambda model: objectives.make_vae_objective(model, kl_weight=0.5, kl_warmup_steps=4),
        'philnet': lambda model: objectives.make_classification_objective(model, label_smoothing=0.1),
    }[name]
    model = models.make_model(name, **options)
    return model, make


def _train(name, n_devices, n_steps, *, batch_size=16, per_dispatch=1):
    model, make = _models(name)
    images = _images()
    tx = optax.adam(1e-3)
    used = devices.local_devices(n_devices)
    first = _first(model, make, tx)
    make_batch = _make_batch(crop_padding_px=2, flip=True)
    one = step.make_train_step(make(model.clone(axis_name=devices.AXIS)), tx, make_batch, axis_name=devices.AXIS)
    mapped = devices.map_over_devices(one, used)
    order = batches.epoch_order(64, batch_size, seed=0, epoch=0)
    on_devices, resident, key = devices.replicate((first, images, step.run_key(0)), used)
    for i in range(0, n_steps, per_dispatch):
        rows = order[i % 4 : i % 4 + per_dispatch].reshape(per_dispatch, n_devices, -1).swapaxes(0, 1)
        on_devices, _ = mapped(on_devices, resident, rows, key)
    return devices.unreplicate(on_devices)


@pytest.mark.parametrize('name', ['philnet', 'vae'])
def test_four_devices_train_like_one(name):
    one, four = _train(name, 1, 4), _train(name, 4, 4)
    assert one.metric_steps == four.metric_steps == 4
    for metric, total in one.metric_sums.items():
        np.testing.assert_allclose(four.metric_sums[metric], total, rtol=2e-4, err_msg=metric)
    # Adam divides by the root of squared gradients: a parameter whose gradient is rounding noise moves by its sign.
    for a, b in zip(jax.tree.leaves(one.model_state), jax.tree.leaves(four.model_state)):
        np.testing.assert_allclose(b, a, rtol=2e-3, atol=2e-5)


def test_gradients_on_four_devices_are_those_on_one():
    """A missing or doubled average over devices would make them 4 times too large or too small (sgd, rate 1)."""
    model, make = _models('philnet')
    images = _images()
    tx = optax.sgd(1.0)
    first = _first(model, make, tx)
    moved = {}
    for n_devices in (1, 4):
        used = devices.local_devices(n_devices)
        one = step.make_train_step(make(model.clone(axis_name=devices.AXIS)), tx, _make_batch(), axis_name=devices.AXIS)
        rows = np.arange(16, dtype=np.int32).reshape(1, n_devices, -1).swapaxes(0, 1)
        after, _ = devices.map_over_devices(one, used)(
            *devices.replicate((first, images), used), rows, devices.replicate(step.run_key(0), used)
        )
        moved[n_devices] = jax.tree.map(np.subtract, devices.unreplicate(after).params, first.params)
    for a, b in zip(jax.tree.leaves(moved[1]), jax.tree.leaves(moved[4])):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5)


def test_a_step_is_the_optax_update_of_the_objectives_gradient():
    model, make = _models('philnet')
    images = _images()
    tx = optax.sgd(0.1, momentum=0.9)
    first = _first(model, make, tx, seed=3)
    rows = np.arange(8, dtype=np.int32)
    after, _ = jax.jit(step.make_train_step(make(model), tx, _make_batch()))(first, images, rows[None], step.run_key(3))

    step_key = jax.random.fold_in(jax.random.key(3), 0)
    keys = jnp.stack([jax.random.split(jax.random.fold_in(step_key, i))[1] for i in range(8)])
    batch = {name: values[rows] for name, values in images.items()}
    batch['image'] = (batch['image'].astype(np.float32) / 255 - 0.5) / 0.25
    grads = jax.grad(lambda p: make(model)(p, first.model_state, batch, keys, 0)[0])(first.params)
    updates, _ = tx.update(grads, tx.init(first.params), first.params)
    expected = optax.apply_updates(first.params, updates)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(after.params)):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)
    assert int(after.step) == 1 and not after.failed


def test_several_steps_in_one_dispatch_equal_single_steps():
    single, several = _train('vae', 1, 4), _train('vae', 1, 4, per_dispatch=2)
    assert int(several.step) == int(single.step) == 4
    for metric, total in single.metric_sums.items():
        np.testing.assert_allclose(several.metric_sums[metric], total, rtol=1e-4, err_msg=metric)


def _left_columns(n_devices, *, stop_at=None):
    """Mean intensity of the left column in each of four epochs of four steps with alternating flips.

    The run is stopped after `stop_at` steps and started again from its state.
    """

    def objective(params, model_state, batch, keys, now):
        return (params['w'] ** 2).sum(), (model_state, {'left': batch['image'][:, :, 0].mean()})

    tx, used, params = optax.sgd(0.0), devices.local_devices(n_devices), {'w': np.ones(3, np.float32)}
    now = state.state_of(params, {}, tx, objective, {'image': np.zeros((2, 16, 16, 3), np.float32)})
    make_batch = pipeline.make_image_batch(
        pipeline.make_prepare(mean=(0.0,) * 3, std=(1.0,) * 3, flip=True, flip_mode='alternating')
    )
    mapped = devices.map_over_devices(step.make_train_step(objective, tx, make_batch, axis_name=devices.AXIS), used)
    arrays, key = devices.replicate((_images(), step.run_key(0)), used)
    totals = {}

    def between(done, now):
        totals[done] = float(devices.unreplicate(now).metric_sums['left'])
        return None if done == stop_at else now

    for last in (stop_at, None) if stop_at else (None,):
        stop_at = last
        now = devices.unreplicate(
            step.run_steps(
                mapped, devices.replicate(now, used), arrays, key,
                plan=plan.Plan(4, 16, 16, 16, 16, 16), devices=used, steps_per_dispatch=1, between=between,
                rows_of=lambda epoch: batches.epoch_order(64, 16, seed=0, epoch=epoch),
            )
        )  # fmt: skip
    return np.diff([0.0, *(totals[done] for done in (4, 8, 12, 16))]) / 4


def test_alternating_flips_are_the_same_on_four_devices_and_after_a_stop():
    images = _images()['image'] / 255
    left, right = images[:, :, 0].mean(), images[:, :, -1].mean()
    one = _left_columns(1)
    np.testing.assert_allclose(one[:3] + one[1:], left + right, rtol=1e-5)  # each image and its mirror image once
    assert abs(one[0] - one[1]) > 1e-4
    np.testing.assert_allclose(_left_columns(4), one, rtol=1e-5)
    np.testing.assert_array_equal(_left_columns(1, stop_at=6), one)


def test_nan_freezes_the_state_before_it_for_good():
    def objective(params, model_state, batch, keys, step):
        loss = jnp.where(step == 2, jnp.nan, (params['w'] ** 2).sum())
        return loss, (model_state, {})

    tx = optax.sgd(0.1)
    params = {'w': np.ones(3, np.float32)}
    before = state.TrainState(
        step=np.int32(0),
        params=params,
        model_state={},
        opt_state=tx.init(params),
        metric_sums={'loss': np.float32(0), 'grad_norm': np.float32(0)},
        metric_steps=np.int32(0),
        failed=np.bool_(False),
    )
    one = jax.jit(step.make_train_step(objective, tx, _make_batch()))
    now, states = before, []
    for _ in range(5):
        now, _ = one(now, _images(8), np.arange(4, dtype=np.int32)[None], step.run_key(0))
        states.append(jax.device_get(now))
    assert [int(s.step) for s in states] == [1, 2, 2, 2, 2]
    assert [bool(s.failed) for s in states] == [False, False, True, True, True]
    np.testing.assert_array_equal(states[4].params['w'], states[1].params['w'])
    assert np.isfinite(states[4].metric_sums['loss']) and int(states[4].metric_steps) == 2


@pytest.mark.parametrize('name', ['philnet', 'vae'])
def test_loss_falls_on_one_batch(name):
    model, make = _models(name)
    images = _images(16)
    colours = np.random.default_rng(1).integers(0, 256, (16, 1, 1, 3))
    images['image'] = np.broadcast_to(colours, (16, 16, 16, 3)).astype(np.uint8)  # plain, so that 4 latents can hold it
    tx = optax.adam(3e-3)
    now = _first(model, make, tx)
    in_0_to_1 = pipeline.make_image_batch(pipeline.make_prepare(mean=(0.0,) * 3, std=(1.0,) * 3))
    one = jax.jit(step.make_train_step(make(model), tx, _make_batch() if name == 'philnet' else in_0_to_1))
    losses, total = [], 0.0
    for _ in range(40):
        now, _ = one(now, images, np.arange(16, dtype=np.int32)[None], step.run_key(0))
        losses.append(float(now.metric_sums['loss']) - total)
        total = float(now.metric_sums['loss'])
    assert np.mean(losses[-3:]) < 0.8 * losses[0]


def test_rows_do_not_divide_among_devices_is_said():
    with pytest.raises(ValueError, match='10 rows do not divide among 4 devices'):
        devices.shard(np.zeros((10, 2)), devices.local_devices(4))


def test_another_seed_compiles_no_other_step():
    model, make = _models('philnet')
    tx, used = optax.sgd(0.1), devices.local_devices(2)
    traced, objective = [], make(model)

    def counted(params, model_state, batch, keys, now):
        traced.append(now)
        return objective(params, model_state, batch, keys, now)

    mapped = devices.map_over_devices(
        step.make_train_step(counted, tx, _make_batch(flip=True), axis_name=devices.AXIS), used
    )
    rows = np.arange(8, dtype=np.int32).reshape(2, 1, 4)
    programs, losses = set(), []
    for seed in (0, 1):
        arguments = devices.replicate((_first(model, make, tx), _images(), step.run_key(seed)), used)
        after, _ = mapped(*arguments[:2], rows, arguments[2])
        losses.append(float(devices.unreplicate(after).metric_sums['loss']))
        programs.add(mapped.lower(*arguments[:2], rows, arguments[2]).as_text())
    assert losses[0] != losses[1]
    assert len(programs) == 1  # what the cache of compiled programs is keyed by
    assert len(traced) == 1


def test_a_model_that_takes_nothing_of_the_batch_is_named():
    model, make = _models('vae')
    with pytest.raises(ValueError, match='VAE takes image, train, keys, but the batch has x, mask'):
        state.make_state(model, optax.sgd(0.1), make(model), {'x': np.zeros((2, 3)), 'mask': np.ones(2)}, 0)
