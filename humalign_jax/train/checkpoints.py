"""Checkpoints that are whole or absent: Orbax stores the arrays, a manifest vouches for every bit of them.

    checkpoints/
      1200/             one folder per step: Orbax's files, and manifest.json, written last
      1600/
      refused/1400-1/   damaged steps, moved aside and never deleted
      unfinished/       saves and deletions under way; emptied at every start

A step is written under `unfinished/`, gets its manifest there and is then renamed, so that a kill at any moment leaves
whole steps, and rubbish that the next start removes. All but the copy of the arrays happens in a thread of its own.
"""

import concurrent.futures
import errno
import os
import pathlib
import shutil
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from flax import traverse_util

from humalign_jax import interrupts, storage
from humalign_jax.train import leaves, manifest

Tree = TypeVar('Tree')

_ITEM = 'state'  # name of the tree inside a step, for whoever opens it with Orbax alone
_UNFINISHED = 'unfinished'
_REFUSED = 'refused'
_ONE_SAVE = threading.Lock()  # Orbax mixes up the temporary folders of saves in two threads
_SLACK_BYTES = 4 << 20  # metadata and manifest; measured: 0.5 MB for 1,000 arrays, 2.6 MB for 5,000


class CheckpointError(OSError):
    """There was not enough space for a checkpoint; the earlier ones are intact."""


def restore_common(runs: Sequence['Checkpoints'], templates: Sequence[Tree]) -> tuple[int, list[Tree]] | None:
    """The newest step that is good in each of several runs, which go on together.

    Returns:
        Step and trees; None if no step was saved by all, as when the first save of all was interrupted.

    Raises:
        ValueError: As `Checkpoints.restore`; or damaged checkpoints leave no step that all runs have.
    """
    damaged = False
    while common := set.intersection(*(set(run.steps()) for run in runs)):
        found = [run.restore(template, up_to=max(common)) for run, template in zip(runs, templates)]
        steps = {one[0] for one in found if one is not None}
        if len(steps) == 1:
            return steps.pop(), [one[1] for one in found if one is not None]
        damaged = True  # and moved aside: the next newest is tried
    if damaged or any(run.has_refused() for run in runs):
        folders = ', '.join(f'{run.folder} ({run.steps()})' for run in runs)
        raise ValueError(
            f'no step is good in each of these folders: {folders}. Put good copies back, or remove these folders to '
            'start from the beginning.'
        )
    return None


class Checkpoints:
    """The saved steps of one run: the newest few, and the best by a validation metric.

    One process saves. Others that share the folder (an evaluation of a run still in training, further hosts) open it
    with `read_only=True`: they change nothing, and only skip what they have to refuse.

    Args:
        folder: Where the steps lie.
        keep: How many of the newest steps stay.
        best_metric: The metric whose best step stays too, '' for none. A step saved without metrics, or whose metric is
            not finite, is never the best; of equals, the first is.
        best_mode: 'min' or 'max', whichever is better.
        read_only: Never write, move or remove anything.

    Raises:
        ValueError: `keep` or `best_mode` makes no sense.
    """

    def __init__(
        self,
        folder: storage.PathLike,
        *,
        keep: int = 2,
        best_metric: str = '',
        best_mode: Literal['min', 'max'] = 'min',
        read_only: bool = False,
    ) -> None:
        if keep < 1:
            raise ValueError(f'keep must be at least 1, not {keep}: a run without a checkpoint cannot be continued.')
        if best_mode not in ('min', 'max'):
            raise ValueError(f"best_mode must be 'min' or 'max', not {best_mode!r}.")
        self.folder = pathlib.Path(folder).absolute()
        self._keep, self._best_metric, self._best_mode = keep, best_metric, best_mode
        self._read_only = read_only
        # This process alone: no barriers, so that one host of many may save.
        alone = ocp.options.MultiprocessingOptions(
            primary_host=jax.process_index(), active_processes={jax.process_index()}, barrier_sync_key_prefix='alone'
        )
        self._orbax = ocp.Checkpointer(
            ocp.CompositeCheckpointHandler(composite_options=ocp.CompositeOptions(multiprocessing_options=alone)),
            multiprocessing_options=alone,
        )
        self._worker = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix='checkpoints')
        self._pending: concurrent.futures.Future[None] | None = None
        if not read_only:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._clear_unfinished()

    def save(self, step: int, tree: Any, metrics: Mapping[str, float] | None = None) -> None:
        """Copies the tree and stores it in the background; waits first for an earlier save that is still under way.

        A step that is already there is replaced.

        Args:
            step: Number of the step, at least 0.
            tree: Nested dicts (or other pytrees) of host arrays, without a device axis.
            metrics: Validation metrics of this very state, if it was validated.

        Raises:
            CheckpointError: There is too little space, now or for the earlier save; this step is then not saved.
            ValueError: The tree holds something that is not a number array, or the metrics lack `best_metric`.
        """
        if self._read_only:
            raise ValueError(f'{self.folder} was opened with read_only=True: nothing can be saved.')
        if step < 0:
            raise ValueError(f'a step is at least 0, not {step}.')
        if metrics and self._best_metric and self._best_metric not in metrics:
            raise ValueError(f'best_metric {self._best_metric!r} is not among the metrics {sorted(metrics)}.')
        self.wait()
        arrays = leaves.arrays(tree)
        n_bytes = sum(values.nbytes for values in arrays.values()) + _SLACK_BYTES
        free = shutil.disk_usage(self.folder).free
        if free < n_bytes:
            raise self._no_space(step, n_bytes, free)
        copies = {path: np.array(values, order='C', copy=True) for path, values in arrays.items()}
        numbers = {name: float(value) for name, value in (metrics or {}).items()}
        self._pending = self._worker.submit(self._write, int(step), copies, numbers, n_bytes)

    def wait(self) -> None:
        """Returns when everything saved so far is on the disk; raises the error of a save that failed."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Waits for the last save, then frees the thread; raises the error of a save that failed."""
        try:
            self.wait()
        finally:
            self._worker.shutdown()
            self._orbax.close()

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def steps(self) -> list[int]:
        """All steps in the folder, ascending, good or not."""
        if not self.folder.is_dir():
            return []
        return sorted(int(entry.name) for entry in self.folder.iterdir() if _is_step(entry.name))

    def has_refused(self) -> bool:
        """Whether damaged steps were moved aside."""
        return bool(self._refused())

    def best_step(self) -> int | None:
        """The step with the best metric by the manifests (files are not read), None if no step has one."""
        ranked = self._ranked()
        return ranked[0] if ranked else None

    def restore(self, template: Tree, *, up_to: int | None = None) -> tuple[int, Tree] | None:
        """The newest good step; with `up_to` the newest that is not after that one.

        Every file and then every array is compared with the manifest. A step that fails is reported, moved to
        `refused/`, and the next older one is taken.

        Args:
            template: A tree of the wanted structure; its leaves need a shape and a dtype only.
            up_to: Steps after this one are passed over.

        Returns:
            Step and tree of NumPy arrays, bit for bit what was saved; None if nothing was ever saved.

        Raises:
            ValueError: There are steps but none is good, or a good one does not fit the template.
        """
        self.wait()
        if not self.steps() and not self._refused():
            return None
        steps = [step for step in self.steps()[::-1] if up_to is None or step <= up_to]
        return self._first_good(steps, template)

    def restore_best(self, template: Tree) -> tuple[int, Tree]:
        """The good step with the best metric, verified as in `restore`.

        Raises:
            ValueError: No good step has the metric, or it does not fit the template.
        """
        self.wait()
        if not self._best_metric:
            raise ValueError(f'{self.folder}: no best_metric was named, so there is no best step.')
        for step, reason in self._manifests()[1].items():  # might have been the best: say so
            self._refuse(step, reason)
        ranked = self._ranked()
        if not ranked:
            raise ValueError(
                f'{self.folder}: no step has the metric {self._best_metric!r}; steps: {self.steps()}, refused: '
                f'{self._refused() or "none"}.'
            )
        return self._first_good(ranked, template)

    def restore_step(self, step: int, template: Tree) -> tuple[int, Tree]:
        """One step, verified as in `restore`.

        Raises:
            ValueError: There is no such step, it is damaged, or it does not fit the template.
        """
        self.wait()
        if step not in self.steps():
            raise ValueError(f'{self.folder} has no step {step}; steps: {self.steps()}.')
        return self._first_good([step], template)

    def _first_good(self, steps: list[int], template: Tree) -> tuple[int, Tree]:
        reasons = []
        for step in steps:
            try:
                return step, self._load(step, template)
            except manifest.DamagedError as error:
                reasons.append(f'  step {step}: {error}')
                self._refuse(step, str(error))
        earlier = [f'  {name}: refused earlier' for name in self._refused()] if not reasons else []
        raise ValueError(
            f'{self.folder} has checkpoints but none is good:\n' + '\n'.join(reasons + earlier) + '\nPut a good copy '
            f'back, or remove {self.folder} to start from the beginning.'
        )

    def _load(self, step: int, template: Tree) -> Tree:
        folder = self.folder / str(step)
        about = manifest.verify(folder, step)
        wanted = leaves.flatten(template)
        leaves.check_fits(folder, about['arrays'], wanted)
        # Orbax refuses to store what has no elements, so it comes from the template.
        arrays = {path: np.zeros(leaves.shape(leaf), leaves.dtype(leaf)) for path, leaf in wanted.items()}
        stored = {path: ocp.RestoreArgs(restore_type=np.ndarray) for path, values in arrays.items() if values.size}
        if stored:
            item = ocp.args.PyTreeRestore(restore_args=traverse_util.unflatten_dict(stored))
            try:
                loaded = self._orbax.restore(folder, args=ocp.args.Composite(**{_ITEM: item}))[_ITEM]
            except Exception:
                manifest.verify(folder, step)  # a run in training may have removed it meanwhile: then this says so
                raise
            arrays |= {path: np.asarray(values) for path, values in traverse_util.flatten_dict(loaded).items()}
        for name, found in manifest.describe_arrays(arrays).items():
            if found != about['arrays'][name]:
                raise manifest.DamagedError(f'array {name} came back changed: {found} is not {about["arrays"][name]}')
        return jax.tree.unflatten(jax.tree.structure(template), [arrays[path] for path in wanted])

    def _write(self, step: int, arrays: leaves.Arrays, metrics: dict[str, float], n_bytes: int) -> None:
        """Everything that happens in the background."""
        staging = self.folder / _UNFINISHED / str(step)
        try:
            staging.parent.mkdir(exist_ok=True)
            stored = traverse_util.unflatten_dict({path: values for path, values in arrays.items() if values.size})
            items = {_ITEM: ocp.args.PyTreeSave(stored)} if stored else {}
            with _ONE_SAVE:
                self._orbax.save(staging, args=ocp.args.Composite(**items))
            manifest.write(staging, step, arrays, metrics)
        except Exception as error:  # translated or raised again; Orbax has its own classes for a full disk
            free = shutil.disk_usage(self.folder).free
            self._clear_unfinished()  # Orbax leaves its temporary folders, and with them the disk full
            if _is_disk_full(error):
                raise self._no_space(step, n_bytes, free) from error
            raise
        self._remove(step)
        os.rename(staging, self.folder / str(step))
        interrupts.note_kept()
        self._remove_old()

    def _remove_old(self) -> None:
        """Keeps the newest and the best; what has no good manifest is neither counted nor touched."""
        good = sorted(self._manifests()[0])
        for step in set(good[: -self._keep]) - {self.best_step()}:
            self._remove(step)

    def _remove(self, step: int) -> None:
        """Removes a step so that a kill half way leaves no half step."""
        folder, rubbish = self.folder / str(step), self.folder / _UNFINISHED / f'{step}.removed'
        if folder.exists():
            os.rename(folder, rubbish)
            shutil.rmtree(rubbish)

    def _clear_unfinished(self) -> None:
        shutil.rmtree(self.folder / _UNFINISHED, ignore_errors=True)
        for leftover in self.folder.glob('*.orbax-checkpoint-tmp*'):  # of a program that used Orbax alone
            shutil.rmtree(leftover, ignore_errors=True)

    def _refuse(self, step: int, reason: str) -> None:
        folder = self.folder / str(step)
        if self._read_only:
            logging.warning('Checkpoint of step %d in %s is refused: %s.', step, folder, reason)
            return
        n = 1
        while (aside := self.folder / _REFUSED / f'{step}-{n}').exists():
            n += 1
        aside.parent.mkdir(exist_ok=True)
        os.rename(folder, aside)
        logging.warning('Checkpoint of step %d in %s is refused: %s. Moved to %s.', step, folder, reason, aside)

    def _refused(self) -> list[str]:
        aside = self.folder / _REFUSED
        return sorted(f'{_REFUSED}/{entry.name}' for entry in aside.iterdir()) if aside.is_dir() else []

    def _manifests(self) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
        """Manifests of the steps that have a good one; what is wrong with the others."""
        good, bad = {}, {}
        for step in self.steps():
            try:
                good[step] = manifest.read(self.folder / str(step))
            except manifest.DamagedError as error:
                bad[step] = str(error)
        return good, bad

    def _ranked(self) -> list[int]:
        """Steps that have the metric, best first."""
        sign = 1.0 if self._best_mode == 'min' else -1.0
        metrics = {step: about['metrics'].get(self._best_metric) for step, about in self._manifests()[0].items()}
        ranked = sorted((sign * value, step) for step, value in metrics.items() if value is not None)
        return [step for _, step in ranked]

    def _no_space(self, step: int, n_bytes: int, free: int) -> CheckpointError:
        return CheckpointError(
            errno.ENOSPC,
            f'saving step {step} needs {n_bytes:,} bytes but {free:,} are free; earlier checkpoints {self.steps()} are '
            'intact. Make space and start again to continue from the newest.',
            str(self.folder),
        )


def _is_step(name: str) -> bool:
    return name.isascii() and name.isdigit() and str(int(name)) == name


def _is_disk_full(error: BaseException | None) -> bool:
    """True if a full disk or an exhausted quota is anywhere in the chain of causes."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if 'RESOURCE_EXHAUSTED' in str(error) or 'No space left' in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
