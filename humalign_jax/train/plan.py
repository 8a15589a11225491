"""Durations: every 'how long' and 'how often' of a config, in steps."""

import dataclasses

_MOST_STEPS = 2**31 - 1  # the state counts in int32


@dataclasses.dataclass(frozen=True)
class Plan:
    """When a run does what, in steps.

    Attributes:
        steps_per_epoch: Full batches in the training examples.
        total_steps: Length of the whole run, which the learning-rate schedule spans.
        last_step: Where this run ends: `total_steps`, or `max_steps` if that is sooner.
        log_every: Steps between two rows of training metrics.
        eval_every: Steps between two evaluations on the validation examples.
        checkpoint_every: Steps between two checkpoints.
        watch_every: Steps between two looks at alignment, 0 for none.
    """

    steps_per_epoch: int
    total_steps: int
    last_step: int
    log_every: int
    eval_every: int
    checkpoint_every: int
    watch_every: int = 0

    def is_due(self, step: int, every: int) -> bool:
        """Whether something that happens `every` so many steps (0: never), and at the end, happens after this step."""
        return every > 0 and (step % every == 0 or step == self.last_step)

    def next_event(self, step: int) -> int:
        """The next step after `step` at which the host has something to do."""
        every = (self.log_every, self.eval_every, self.checkpoint_every, self.watch_every, self.steps_per_epoch)
        return min(self.last_step, *((step // e + 1) * e for e in every if e))


def epochs_to_steps(epochs: float, steps_per_epoch: int) -> int:
    """Epochs, which may be a fraction, as a whole number of steps; at least 1 unless `epochs` is 0.

    Raises:
        ValueError: They are more steps than a state can count.
    """
    if not epochs * steps_per_epoch <= _MOST_STEPS:
        raise ValueError(
            f'{epochs:g} epochs of {steps_per_epoch} steps are more than {_MOST_STEPS} steps, the most that a run can '
            'count: set the durations in the config lower.'
        )
    return 0 if epochs == 0 else max(1, round(epochs * steps_per_epoch))


def make_plan(
    *,
    n_examples: int,
    batch_size: int,
    epochs: float,
    max_steps: int,
    log_every_steps: int,
    eval_every_epochs: float,
    checkpoint_every_epochs: float,
    watch_every_epochs: float = 0.0,
) -> Plan:
    """The plan of a run.

    Raises:
        ValueError: A duration is not positive, or the examples do not fill one batch.
    """
    durations = {
        'data.batch_size': batch_size,
        'train.epochs': epochs,
        'train.log_every_steps': log_every_steps,
        'train.eval_every_epochs': eval_every_epochs,
        'train.checkpoint_every_epochs': checkpoint_every_epochs,
    }
    for name, value in durations.items():
        if value <= 0:
            raise ValueError(f'config.{name} must be above 0, not {value}.')
    if max_steps < 0:
        raise ValueError(f'config.train.max_steps must be 0 (no cap) or a number of steps, not {max_steps}.')
    if watch_every_epochs < 0:
        raise ValueError(f'config.watch.every_epochs must be 0 (off) or a number of epochs, not {watch_every_epochs}.')
    steps_per_epoch = n_examples // batch_size
    if steps_per_epoch == 0:
        raise ValueError(
            f'{n_examples} training examples do not fill one batch of {batch_size}: lower config.data.batch_size.'
        )
    total_steps = epochs_to_steps(epochs, steps_per_epoch)
    return Plan(
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        last_step=min(total_steps, max_steps) if max_steps else total_steps,
        log_every=log_every_steps,
        eval_every=epochs_to_steps(eval_every_epochs, steps_per_epoch),
        checkpoint_every=epochs_to_steps(checkpoint_every_epochs, steps_per_epoch),
        watch_every=epochs_to_steps(watch_every_epochs, steps_per_epoch),
    )
