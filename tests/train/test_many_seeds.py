"""Steps, rows and checkpoints of several seeds that train side by side."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from humalign_jax import devices
from humalign_jax.experiments import train_classifier, train_sae
from humalign_jax.models.convolution import conv
from humalign_jax.train import batches, many_seeds
from humalign_jax.train.checkpoints import Checkpoints, restore_common
from humalign_jax.train.step import run_key

from ..conftest import load_config


@pytest.fixture(scope='module')
def tasks():
    """Two seeds of a small classifier."""
    made = []
    for seed in (0, 1):
        config = load_config('philnet', 'tiny')
        config.seed = seed
        config.data.update(n_train=48, n_test=20, batch_size=8, n_validation=16)
        config.model.widths = ((4,),)
        config.train.n_devices = 2
        made.append(train_classifier.make_task(config))
    return made


def _stepped(tasks, *, together):
    """The states of all seeds after one step."""
    keys = np.stack([run_key(task.recipe.seed) for task in tasks])
    states = many_seeds.Seeds(tuple(task.first_state() for task in tasks))
    step, arrays = many_seeds.map_seeds(tasks, states.states[0], together=together)
    on = tasks[0].recipe.devices
    seeds, arrays, keys = devices.replicate((states, {'seeds': arrays, 'epoch': np.int32(0)}, keys), on)
    rows = many_seeds._rows_of_seeds(tasks, 0)[0].reshape(len(on), 1, -1)
    return devices.unreplicate(step(seeds, arrays, rows, keys)[0]).states


def test_one_step_mapped_over_seeds_is_the_step_of_each_seed(tasks):
    for mapped, alone in zip(_stepped(tasks, together=True), _stepped(tasks, together=False)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5), mapped, alone)
        assert mapped.step == 1 and not mapped.failed


@pytest.mark.parametrize(('size', 'c', 'stride', 'k'), [(8, 16, 1, 3), (2, 4, 1, 3), (8, 4, 2, 4)])
def test_every_form_of_convolution_can_be_mapped_over_seeds(size, c, stride, k):
    """Winograd's algorithm, products of patches, and XLA's own convolution with a gradient by patches."""
    np_rng = np.random.default_rng(0)
    x = np_rng.normal(size=(2, 2, size, size, c)).astype(np.float32)  # [seeds, b, h, w, c]
    kernel = np_rng.normal(size=(2, k, k, c, 4)).astype(np.float32)

    def loss(x, kernel):
        return jnp.sin(conv(x, kernel, stride=stride, padding=1)).sum()

    gradients = jax.grad(loss, (0, 1))
    mapped = jax.jit(jax.vmap(gradients))(x, kernel)
    for seed in range(2):
        for found, expected in zip(mapped, jax.jit(gradients)(x[seed], kernel[seed])):
            np.testing.assert_allclose(found[seed], expected, rtol=1e-3, atol=1e-3)


def test_the_rows_of_a_device_are_those_of_each_seed_in_turn(tasks):
    rows = many_seeds._rows_of_seeds(tasks, 3).reshape(-1, 2, 2, 4)  # steps, devices, seeds, images
    for seed, task in enumerate(tasks):
        alone = batches.epoch_order(task.examples.n, 8, seed=seed, epoch=3)
        np.testing.assert_array_equal(rows[:, :, seed].reshape(-1, 8), alone)


def test_steps_with_different_constants_are_not_taken_for_one(tasks):
    def sae(seed):
        config = load_config('sae', 'tiny')
        config.seed = seed
        config.data.update(n_items=300, n_validation=40, n_test=40)
        config.train.n_devices = 1
        return train_sae.make_task(config)

    different = [sae(0), sae(1)]  # the variance of the training items is a constant of the loss
    for of_seeds, expected in ((different, False), (tasks, True)):
        steps = [task.train_step() for task in of_seeds]
        assert many_seeds._are_equal(steps, of_seeds, of_seeds[0].first_state()) is expected


def test_seeds_with_different_numbers_of_examples_are_refused(tasks, tmp_path):
    fewer = dataclasses.replace(tasks[1].examples, n=tasks[1].examples.n - 1)
    with pytest.raises(ValueError, match='seeds 0 and 1 have 32 and 31 training examples'):
        many_seeds.fit_seeds(
            [tasks[0], dataclasses.replace(tasks[1], examples=fewer)], [tmp_path, tmp_path], [None] * 2
        )


def _saved(folder, steps):
    with Checkpoints(folder, keep=9) as checkpoints:
        for step in steps:
            checkpoints.save(step, {'x': np.float32(step)})
    return Checkpoints(folder, keep=9)


@pytest.mark.parametrize(('steps', 'damaged', 'expected'), [((10, 20, 30), (), 20), ((10, 20), (20,), 10)])
def test_runs_that_go_on_together_do_so_from_the_newest_good_step_of_all(tmp_path, steps, damaged, expected):
    with _saved(tmp_path / 'a', (10, 20)) as one, _saved(tmp_path / 'b', steps) as other:
        for step in damaged:
            (other.folder / str(step) / 'manifest.json').write_text('{}')
        step, trees = restore_common([one, other], [{'x': np.float32(0)}] * 2)
    assert step == expected and [float(tree['x']) for tree in trees] == [expected] * 2


def test_runs_without_a_step_of_all_begin_anew_unless_one_is_damaged(tmp_path):
    with _saved(tmp_path / 'a', (10, 20)) as one, _saved(tmp_path / 'b', ()) as other:
        assert restore_common([one, other], [{'x': np.float32(0)}] * 2) is None
    with _saved(tmp_path / 'c', (20, 30)) as one, _saved(tmp_path / 'd', (10, 20)) as other:
        (other.folder / '20' / 'manifest.json').write_text('{}')
        with pytest.raises(ValueError, match='no step is good in each of these folders'):
            restore_common([one, other], [{'x': np.float32(0)}] * 2)
