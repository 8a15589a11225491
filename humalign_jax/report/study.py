"""The content of a study's folder: scores and their runs, arrays and their sidecars.

The layout is the one of docs/design.md: `networks/<name>`, `features/<name>/<split>`, `alignment/<name>`, `human_rsa`,
`latents`, `soft_labels`. Whatever is absent is left out; nothing here draws or computes.
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from humalign_jax import storage
from humalign_jax.records import Score
from humalign_jax.report import inferred

NO_MEASURE = 'none'  # the distance of scores that compare features themselves


@dataclasses.dataclass(frozen=True)
class Entry:
    """A score and where it stands.

    Attributes:
        score: The score.
        run: Folder of the run that wrote it, relative to the study, with slashes.
        number: Its number in the study, from 1; links on the page lead to `#s<number>`.
    """

    score: Score
    run: str
    number: int

    @property
    def model(self) -> str:
        """The model's name: that of its folder under networks/, else the one in the provenance."""
        parts = self.run.split('/')
        return parts[1] if parts[0] == 'networks' and len(parts) > 1 else str(self.score.provenance.get('model', ''))

    @property
    def simulated(self) -> bool:
        """Whether images or observers were made up."""
        return bool(self.score.provenance.get('simulated', False))

    @property
    def is_baseline(self) -> bool:
        """Whether the score is one of a baseline and not of a network."""
        return bool(self.score.provenance.get('baseline', False))

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the score's provenance; `model` is the name in the study."""
        return self.model if key == 'model' else self.score.provenance.get(key, default)


@dataclasses.dataclass(frozen=True)
class Run:
    """A run's own files.

    Attributes:
        name: Its folder relative to the study, '.' for the study itself.
        config: `config.json`, {} if there is none.
        starts: `provenance.json`, one entry for each start; [] if there is none.
        metrics: Rows of `metrics.jsonl`.
    """

    name: str
    config: Mapping[str, Any]
    starts: list[Mapping[str, Any]]
    metrics: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Study:
    """Everything that a report is made of.

    Attributes:
        folder: The study's folder.
        entries: Every score below it.
        runs: Every run below it, by its folder relative to the study.
        layers: Layers that stand for a model whose scores name none, the preferred first.
        human_measure: Distance between people's labels that is preferred where there are scores with several.
    """

    folder: pathlib.Path
    entries: tuple[Entry, ...]
    runs: Mapping[str, Run]
    layers: tuple[str, ...] = ('penultimate', 'mu')
    human_measure: str = 'cosine'

    @property
    def simulated(self) -> bool:
        """Whether any score rests on made-up images or observers."""
        return any(entry.simulated for entry in self.entries)

    @property
    def models(self) -> list[str]:
        """Names of the networks, in alphabetical order; of those that differ by their seed that of their average."""
        on_average = any(entry.get('networks') for entry in self.entries)
        named = {
            entry.model
            for entry in self.entries
            if entry.model
            and not (entry.is_baseline or entry.get('group') or (on_average and entry.run.startswith('metalearners/')))
            and not entry.score.name.endswith('/difference')  # its provenance does not mark baselines
        }
        trained = {run.split('/')[1] for run in self.runs if run.startswith('networks/')}
        return sorted((named | trained) - set(self.baselines))

    def find(self, name: str, **where: Any) -> list[Entry]:
        """Scores by name and by what their provenance says."""
        return [
            entry
            for entry in self.entries
            if entry.score.name == name and all(entry.get(key) == value for key, value in where.items())
        ]

    @property
    def humans(self) -> list[str]:
        """Whose answers models are compared with."""
        said = dict.fromkeys(str(entry.get('human') or 'none') for entry in self.entries)
        return [name for name in said if name != 'none']

    @property
    def references(self) -> list[str]:
        """Names of the RDMs or features that models are compared with, where scores list them."""
        listed = (entry.get('reference') for entry in self.entries)
        return list(dict.fromkeys(str(name) for names in listed if isinstance(names, list | tuple) for name in names))

    @property
    def reference(self) -> str:
        """What models are compared with, as a sentence calls it: people only if provenance names them."""
        return 'people' if self.humans else 'the reference'

    @property
    def reference_title(self) -> str:
        """What models are compared with, as a title calls it."""
        if not self.humans:
            return self.reference
        return 'simulated observers' if self.simulated else 'people'

    @property
    def mark(self) -> str:
        """Ending of labels of simulated data, '' for measured data."""
        return ' (simulated)' if self.simulated else ''

    @property
    def n_stimuli(self) -> int:
        """Number of stimuli in the comparison with people or the reference; 0 if no score says so."""
        named = [e.score.n for e in self.find('soft_labels/cross_entropy', arm=None, fold=None)]
        scored = [e for e in self.find(f'rsa/{self.index}') if e.get('level') != 'class']
        return max(named or [int(e.get('n_stimuli') or e.score.n) for e in scored], default=0)

    @property
    def whose_noise(self) -> str:
        """Source of the noise that limits scores, as a sentence calls it."""
        if self.humans:
            return 'people’s own disagreement'
        return 'disagreement among the subjects' if len(self.references) > 1 else 'noise in the reference'

    @property
    def class_names(self) -> list[str]:
        """Classes that people chose from, from the first array that lists them; [] if none does."""
        for pattern in ('alignment/*/human_confusion.npy', 'human_rsa/rdm_*.npy'):
            for _, _, sidecar in self.arrays(pattern):
                if sidecar.get('class_names'):
                    return [str(name) for name in sidecar['class_names']]
        return []

    @property
    def compares_features(self) -> bool:
        """Whether the RSA scores compare features themselves, without distances."""
        return any(entry.get('measure') == NO_MEASURE for entry in self.find(f'rsa/{self.index}'))

    @property
    def baselines(self) -> list[str]:
        """Names of the baselines, in the order in which they were written."""
        return list(dict.fromkeys(entry.model for entry in self.entries if entry.is_baseline))

    @property
    def index(self) -> str:
        """The index of the RSA scores, 'spearman' where there are several; '' if there are none."""
        names = dict.fromkeys(
            e.score.name.split('/')[1] for e in self.entries if re.fullmatch('rsa/[^/]+', e.score.name)
        )
        return 'spearman' if 'spearman' in names else next(iter(names), '')

    def main_layer(self, model: str) -> str:
        """The layer that stands for a model: the one that its scores call `headline`, else the first of `layers`."""
        entries = self.find(f'rsa/{self.index}', model=model)
        called = [str(entry.get('layer', '')) for entry in entries if entry.get('headline')]
        if called:
            return called[0]
        scored = [str(entry.get('layer', '')) for entry in entries]
        return next((layer for layer in self.layers if layer in scored), scored[-1] if scored else '')

    def rsa(self, model: str, *, pairs: str, level: str = 'image', layer: str | None = None) -> Entry | None:
        """A model's RSA score, of its main layer unless another is named."""
        found = [
            entry
            for entry in self.find(f'rsa/{self.index}', model=model, pairs=pairs)
            if entry.get('level', 'image') == level
            and str(entry.get('layer', '')) == (self.main_layer(model) if layer is None else layer)
        ]
        preferred = [entry for entry in found if entry.get('human_measure') == self.human_measure]
        return next(iter(preferred or found), None)

    def differences(self, *, pairs: str, level: str = 'image') -> list[Entry]:
        """Differences between the main layers of two models."""
        found = [
            entry
            for entry in self.find(f'rsa/{self.index}/difference', pairs=pairs)
            if entry.get('level', 'image') == level
            and self._is_main(entry.model, entry.get('layer'))
            and self._is_main(str(entry.get('other')), entry.get('other_layer'))
        ]
        preferred = [entry for entry in found if entry.get('human_measure') == self.human_measure]
        return preferred or found

    def by_subject(self, entries: Sequence[Entry]) -> np.ndarray | None:
        """RSA score of each entry with each subject, [m, k]; None where their run left none."""
        runs = {(entry.run, entry.get('pairs')) for entry in entries}
        if len(runs) != 1:
            return None
        run, pairs = runs.pop()
        found = inferred.load(self.folder / run, str(pairs))
        if found is None:
            return None
        rows = {str(name): row for name, row in zip(found['names'], found['scores_by_subject'])}
        return np.stack([rows[e.model] for e in entries]) if rows.keys() >= {e.model for e in entries} else None

    def _is_main(self, model: str, layer: Any) -> bool:
        return layer is None or str(layer) == self.main_layer(model)

    def array(self, path: str) -> tuple[np.ndarray, Mapping[str, Any]] | None:
        """An array, memory-mapped, and its sidecar; None if either is missing.

        Raises:
            ValueError: The file is there and is no array.
        """
        array_file = self.folder / path
        sidecar = array_file.with_suffix('.json')
        if not array_file.is_file() or not sidecar.is_file():
            return None
        try:
            values = np.load(array_file, mmap_mode='r', allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f'{array_file} is no array ({error}): run its stage again.') from error
        return values, storage.read_json(sidecar)

    def arrays(self, pattern: str) -> Iterator[tuple[str, np.ndarray, Mapping[str, Any]]]:
        """Path, array and sidecar of every `.npy` below the study that matches the pattern, in order of path."""
        for path in sorted(self.folder.glob(pattern)):
            relative = path.relative_to(self.folder).as_posix()
            found = self.array(relative)
            if found is not None:
                yield relative, *found
