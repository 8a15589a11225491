"""Fine-tuning by folds: one compiled step for all of them, and predictions only for images never trained on."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from humalign_jax import devices as devices_lib
from humalign_jax import interrupts, storage
from humalign_jax.data import splits
from humalign_jax.train import batches, forward, loop, optimizers, signals, state
from humalign_jax.train.step import NotFiniteError, run_key, run_steps, take_means


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A network after fine-tuning.

    Attributes:
        params: Parameters, with a device axis.
        model_state: BatchNorm's statistics, with a device axis.
        trained_ids: Ids of every image that shaped it, in fine-tuning or before, [m].
        epochs: One row per epoch: `epoch`, `loss` and `accuracy` of training, `validation_loss` where there is any.
    """

    params: Any
    model_state: Any
    trained_ids: np.ndarray
    epochs: tuple[Mapping[str, float], ...]


def check_never_trained(scored: np.ndarray, trained: np.ndarray) -> None:
    """Raises ValueError if an image to be scored is one that was trained on: ids [n], ids [m]."""
    leaked = np.intersect1d(scored, trained)
    if len(leaked):
        raise ValueError(
            f'{len(leaked)} of {len(scored)} images to be scored were trained on, the first of them '
            f'{", ".join(repr(str(stimulus)) for stimulus in leaked[:3])}: a score on them would say nothing about '
            'new images. Give a run that was trained on other images.'
        )


class FineTuner:
    """Fine-tunes one network again and again, on different images of one set and towards different targets.

    Every call starts from the same state, draws the same orders, crops and dropout masks, and takes the same number of
    steps, so that two calls differ in what they are given and in nothing else. Compiles once.
    """

    def __init__(
        self,
        task: loop.Task,
        *,
        first: state.TrainState,
        log_probs: forward.Forward,
        ids: np.ndarray,
        pretrained_ids: np.ndarray,
    ):
        """Compiles nothing yet.

        Args:
            task: What is trained and how. Its examples are all images, whose `soft_label` is given anew with every
                call; its plan has steps per epoch that every call can fill, and nothing due within an epoch.
            first: The state to start from, on the host.
            log_probs: From `make_log_probs`, over the same images.
            ids: Their stimulus ids, [n].
            pretrained_ids: Ids of the images that `first` was trained on and chosen by.
        """
        self._recipe, self._plan, self._devices = task.recipe, task.recipe.plan, task.recipe.devices
        self._first, self._log_probs = first, log_probs
        self._ids, self._pretrained_ids = np.asarray(ids), np.asarray(pretrained_ids)
        host = (dict(task.examples.arrays), run_key(task.recipe.seed))
        self._arrays, self._key = devices_lib.replicate(host, self._devices)
        self._step_devices = devices_lib.map_over_devices(task.train_step(), self._devices, donate=(0,))

    def untouched(self) -> Tuned:
        """The network as it was."""
        params, model_state = devices_lib.replicate((self._first.params, self._first.model_state), self._devices)
        return Tuned(params, model_state, self._pretrained_ids, ())

    def tune(
        self,
        targets: np.ndarray,
        parts: splits.FoldParts,
        *,
        people: np.ndarray,
        stop: signals.StopRequest,
        on_step: Callable[[int], None],
    ) -> Tuned:
        """Trains on `parts.training`.

        With `parts.validation`, keeps the epoch whose mean cross-entropy to people on those images is lowest, else the
        last one.

        Args:
            targets: What to train towards, probabilities [n, k].
            parts: Which images are for what.
            people: People's soft labels [n, k], for the validation.
            stop: Read after every dispatch.
            on_step: Called with the number of steps that each dispatch took.

        Raises:
            SystemExit: A signal asked for a stop.
            NotFiniteError: A loss or gradient was NaN or Inf.
        """
        soft_label = devices_lib.replicate(targets.astype(np.float32), self._devices)
        was_used = np.zeros(len(self._ids), bool)
        epochs: list[dict[str, float]] = []
        best: tuple[float, Any] | None = None
        done = 0

        def rows_of(epoch: int) -> np.ndarray:
            rows = self._rows_of(epoch, parts.training)
            was_used[rows.reshape(-1)] = True
            return rows

        def between(step: int, now: state.TrainState) -> state.TrainState:
            nonlocal best, done
            on_step(step - done)
            done = step
            if stop.requested:
                raise SystemExit(signals.EXIT_SAVED)
            if not self._plan.is_due(step, self._plan.steps_per_epoch):
                return now
            now, row = self._close_epoch(len(epochs), now)
            if len(parts.validation):
                judged = optimizers.to_evaluate(now)
                values = self.predict(judged.params, judged.model_state, parts.validation)
                row['validation_loss'] = float(-(people[parts.validation] * values).sum(axis=1).mean())
                if best is None or row['validation_loss'] < best[0]:
                    best = (row['validation_loss'], devices_lib.unreplicate((judged.params, judged.model_state)))
            epochs.append(row)
            return now

        last = optimizers.to_evaluate(
            run_steps(
                self._step_devices,
                devices_lib.replicate(self._first, self._devices),
                {**self._arrays, 'soft_label': soft_label},
                self._key,
                plan=self._plan,
                rows_of=rows_of,
                devices=self._devices,
                steps_per_dispatch=self._recipe.steps_per_dispatch,
                between=between,
            )
        )
        params, model_state = last.params, last.model_state
        if best is not None:
            params, model_state = devices_lib.replicate(best[1], self._devices)
        # Images that chose the epoch have shaped the network as much as those in its steps.
        was_used[parts.validation] = True
        return Tuned(params, model_state, np.concatenate([self._pretrained_ids, self._ids[was_used]]), tuple(epochs))

    def predict(self, params: Any, model_state: Any, rows: np.ndarray) -> np.ndarray:
        """Log-probabilities of the images in `rows`, in evaluation mode, float32 [len(rows), k]."""
        return self._log_probs(params, model_state, rows)['log_probs']

    def predict_held_out(self, tuned: Tuned, rows: np.ndarray) -> np.ndarray:
        """Log-probabilities of the images in `rows`, float32 [len(rows), k].

        Raises:
            ValueError: The network was trained on one of them.
        """
        check_never_trained(self._ids[rows], tuned.trained_ids)
        return self.predict(tuned.params, tuned.model_state, rows)

    def _rows_of(self, epoch: int, training: np.ndarray) -> np.ndarray:
        """Rows of the images for the steps of one epoch, int32 [s, b]; the last epoch may be cut short."""
        order = batches.epoch_order(len(training), self._recipe.batch_size, seed=self._recipe.seed, epoch=epoch)
        first = epoch * self._plan.steps_per_epoch
        return training[order][: min(self._plan.steps_per_epoch, self._plan.last_step - first)].astype(np.int32)

    def _close_epoch(self, epoch: int, on_devices: state.TrainState) -> tuple[state.TrainState, dict[str, float]]:
        """Means over the epoch's steps, and new sums for the next epoch."""
        if devices_lib.unreplicate(on_devices.failed):
            raise NotFiniteError(
                f'the loss or gradient became NaN or Inf in epoch {epoch + 1} of a fine-tuning: lower '
                'config.optimizer.learning_rate or set config.optimizer.clip_norm.'
            )
        on_devices, means, _ = take_means(on_devices, self._devices)
        return on_devices, {'epoch': epoch + 1, **{name: means[name] for name in ('loss', 'accuracy')}}


def make_log_probs(model: nn.Module) -> Callable:
    """`(params, model_state, batch) -> {'log_probs': [b, k]}` of a classifier in evaluation mode."""

    def log_probs(params, model_state, batch) -> dict[str, jax.Array]:
        logits = model.apply({'params': params, **model_state}, batch['image'], train=False)
        return {'log_probs': jax.nn.log_softmax(logits)}

    return log_probs


def path_of(folder: pathlib.Path, arm: str, fold: int) -> pathlib.Path:
    """Where the predictions of one arm for one fold are kept."""
    return folder / 'folds' / f'{arm}-{fold}.npy'


def save_fold(
    folder: pathlib.Path, arm: str, fold: int, log_probs: np.ndarray, ids: np.ndarray, more: Mapping[str, Any]
) -> None:
    """Keeps the predictions of one arm for one held-out fold; the sidecar comes last and says that they are whole."""
    storage.write_array(path_of(folder, arm, fold), log_probs, {'arm': arm, 'fold': fold, 'ids': ids, **more})
    interrupts.note_kept()


def load_fold(folder: pathlib.Path, arm: str, fold: int, ids: np.ndarray) -> tuple[np.ndarray, dict[str, Any]] | None:
    """What `save_fold` kept: log-probabilities [n, k] and the sidecar; None if it is not there or not whole.

    Raises:
        ValueError: It holds other images than `ids`.
    """
    path = path_of(folder, arm, fold)
    if not (path.exists() and path.with_suffix('.json').exists()):
        return None
    values, sidecar = np.load(path, allow_pickle=False), storage.read_json(path.with_suffix('.json'))
    if sidecar['sha256'] != storage.array_digest(values):
        return None
    if sidecar['ids'] != np.asarray(ids).tolist():
        raise ValueError(f'{path} holds other images than fold {fold} has now: start with a new --workdir.')
    return values, sidecar
