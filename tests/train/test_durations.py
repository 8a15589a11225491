"""Plans, orders and schedules: durations in steps, and what happens at which."""

import numpy as np
import optax
import pytest

from humalign_jax.train import batches, optimizers, plan

PLAN = {
    'n_examples': 1000,
    'batch_size': 64,
    'epochs': 3.0,
    'max_steps': 0,
    'log_every_steps': 4,
    'eval_every_epochs': 1.0,
    'checkpoint_every_epochs': 0.5,
}


def test_durations_become_steps():
    p = plan.make_plan(**PLAN)
    assert (p.steps_per_epoch, p.total_steps, p.last_step) == (15, 45, 45)
    assert (p.log_every, p.eval_every, p.checkpoint_every) == (4, 15, 8)


def test_max_steps_cuts_the_run_but_not_the_schedule():
    p = plan.make_plan(**{**PLAN, 'max_steps': 7})
    assert (p.last_step, p.total_steps) == (7, 45)
    assert plan.make_plan(**{**PLAN, 'max_steps': 100}).last_step == 45


def test_next_event_is_the_nearest_boundary():
    p = plan.make_plan(**PLAN)
    visited, now = [], 0
    while now < p.last_step:
        now = p.next_event(now)
        visited.append(now)
    every = {i for e in (4, 15, 8) for i in range(e, 46, e)}
    assert visited == sorted(every | {45})
    assert p.is_due(45, p.log_every) and p.is_due(8, p.log_every) and not p.is_due(9, p.log_every)


def test_watching_has_events_of_its_own_and_none_when_it_is_off():
    p = plan.make_plan(**PLAN, watch_every_epochs=0.2)  # every 3 steps
    assert p.next_event(0) == 3 and p.is_due(6, p.watch_every) and p.is_due(45, p.watch_every)
    off = plan.make_plan(**PLAN)
    assert off.next_event(0) == 4 and not any(off.is_due(step, off.watch_every) for step in range(1, 46))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'batch_size': 2000}, 'do not fill one batch of 2000'),
        ({'epochs': 0.0}, r'config\.train\.epochs must be above 0'),
        ({'max_steps': -1}, 'max_steps'),
        ({'log_every_steps': 0}, 'log_every_steps'),
        ({'watch_every_epochs': -1.0}, r'config\.watch\.every_epochs must be 0'),
    ],
)
def test_impossible_durations_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        plan.make_plan(**{**PLAN, **change})


def test_an_epoch_uses_every_image_once_and_depends_on_seed_and_epoch():
    first = batches.epoch_order(100, 10, seed=1, epoch=0)
    assert first.shape == (10, 10) and sorted(first.ravel()) == list(range(100))
    np.testing.assert_array_equal(first, batches.epoch_order(100, 10, seed=1, epoch=0))
    assert (first != batches.epoch_order(100, 10, seed=1, epoch=1)).any()
    assert (first != batches.epoch_order(100, 10, seed=2, epoch=0)).any()
    assert batches.epoch_order(103, 10, seed=1, epoch=0).shape == (10, 10)


def test_padded_batches_cover_every_row_once():
    rows, masks = zip(*batches.padded_batches(23, 8))
    assert [len(r) for r in rows] == [8, 8, 8]
    kept = np.concatenate(rows)[np.concatenate(masks) == 1]
    np.testing.assert_array_equal(kept, np.arange(23))
    assert np.concatenate(rows).max() == 22


def test_warmup_then_cosine_equals_the_closed_form():
    schedule = optimizers.make_schedule(
        learning_rate=0.01,
        schedule='cosine',
        warmup_steps=8820,
        total_steps=29400,
        start_learning_rate=1e-8,
        end_learning_rate=1e-8,
    )
    warm, total, top, low = 8820, 29400, 0.01, 1e-8
    for t in (0, 1, 4000, 8819):
        assert float(schedule(t)) == pytest.approx(low + t * (top - low) / warm, rel=1e-5, abs=2e-9)
    for t in (8820, 15000, 29399, 29400):
        cosine = low + (top - low) / 2 * (1 + np.cos(np.pi * (t - warm) / (total - warm)))
        assert float(schedule(t)) == pytest.approx(cosine, rel=1e-4, abs=2e-9)


def test_warmup_then_a_straight_line_equals_numbers():
    options = {'learning_rate': 0.2, 'schedule': 'linear', 'start_learning_rate': 0.1, 'end_learning_rate': 0.04}
    schedule = optimizers.make_schedule(**options, warmup_steps=2, total_steps=10)
    expected = [0.1, 0.15, 0.2, 0.18, 0.16, 0.14, 0.12, 0.1, 0.08, 0.06, 0.04, 0.04]
    np.testing.assert_allclose([schedule(step) for step in range(12)], expected, rtol=1e-6)


def test_constant_schedule_is_constant():
    schedule = optimizers.make_schedule(learning_rate=0.3, schedule='constant', warmup_steps=0, total_steps=10)
    assert float(schedule(0)) == float(schedule(9)) == pytest.approx(0.3)


@pytest.mark.parametrize('name', ['adamw', 'adam', 'sgd'])
def test_weight_decay_spares_biases_and_scales(name):
    params = {'kernel': np.ones((2, 2), np.float32), 'bias': np.ones(2, np.float32)}
    tx = optimizers.make_optimizer(name=name, schedule=lambda _: 0.1, weight_decay=0.5)
    zeros = {'kernel': np.zeros((2, 2), np.float32), 'bias': np.zeros(2, np.float32)}
    updates, _ = tx.update(zeros, tx.init(params), params)
    assert float(np.abs(updates['bias']).max()) == 0.0
    assert float(updates['kernel'].max()) < 0.0
    tx = optimizers.make_optimizer(name=name, schedule=lambda _: 0.1, weight_decay=0.5, decay_all=True)
    updates, _ = tx.update(zeros, tx.init(params), params)
    assert float(updates['bias'].max()) < 0.0


def test_nesterov_sgd_equals_the_written_out_recursion():
    tx = optimizers.make_optimizer(name='sgd', schedule=lambda _: 0.1, weight_decay=0.01, momentum=0.9, nesterov=True)
    w = np.full((2, 2), 2.0, np.float32)
    params, opt_state = {'w': w}, tx.init({'w': w})
    expected, velocity = w.astype(np.float64), np.zeros((2, 2))
    for t in range(5):
        grads = {'w': np.full((2, 2), 0.5 + t, np.float32)}
        updates, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        g = 0.5 + t + 0.01 * expected
        velocity = 0.9 * velocity + g
        expected = expected - 0.1 * (g + 0.9 * velocity)
    np.testing.assert_allclose(params['w'], expected, rtol=1e-5)


def test_clipping_bounds_the_gradients_norm():
    tx = optimizers.make_optimizer(
        name='sgd', schedule=lambda _: 1.0, weight_decay=0.0, momentum=0.0, nesterov=False, clip_norm=2.0
    )
    params = {'w': np.zeros((3, 4), np.float32)}
    updates, _ = tx.update({'w': np.full((3, 4), 100.0, np.float32)}, tx.init(params), params)
    assert float(optax.tree.norm(updates)) == pytest.approx(2.0, rel=1e-5)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'adamw'"):
        optimizers.make_optimizer(name='adamww', schedule=lambda _: 0.1, weight_decay=0.0)
    with pytest.raises(ValueError, match="Did you mean 'cosine'"):
        optimizers.make_schedule(learning_rate=0.1, schedule='cosin', warmup_steps=0, total_steps=5)
    with pytest.raises(ValueError, match='lower'):
        optimizers.make_schedule(learning_rate=0.1, schedule='cosine', warmup_steps=6, total_steps=5)


@pytest.mark.parametrize('epochs', [1e9, 1e300])
def test_more_steps_than_a_run_can_count_are_refused(epochs):
    with pytest.raises(ValueError, match=r'epochs of 15 steps are more than 2147483647 steps'):
        plan.make_plan(**{**PLAN, 'epochs': epochs})
