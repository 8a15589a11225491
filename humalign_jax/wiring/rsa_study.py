"""What the experiment `rsa` compares, from files or made up."""

import collections
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from ml_collections import ConfigDict

from humalign_jax import settings
from humalign_jax.records import Features, Rdm, RepeatedFeatures, stimulus_ids
from humalign_jax.rsa import files
from humalign_jax.wiring.words import in_flags, of_files

SAME = 'same category'  # the model that knows the categories alone
KINDS = ('rdm', 'features', 'soft_labels', 'counts')
REPEATED = 'crossnobis'  # the measure of repeated measurements

Record = TypeVar('Record', Features, Rdm)


@dataclasses.dataclass(frozen=True)
class RsaData:
    """What is compared.

    Attributes:
        models: Features of each model.
        reference: RDM of each subject, or the one RDM of all; or what it is to be made of.
        reference_measure: Distance for reference features.
        labels: Name of the category of each stimulus in the order of the first model, [n]; None if not known.
        counts: Answers of people, whole numbers, for a ceiling from their halves; None where subjects give one.
        simulated: Whether all of it was made up.
    """

    models: list[Features]
    reference: list[Rdm] | list[Features]
    reference_measure: str
    labels: np.ndarray | None
    counts: Features | None
    simulated: bool


def load(config: ConfigDict) -> RsaData:
    """The files named in the config."""
    section, reference = config.features, config.reference
    if not section.files or not reference.files:
        raise ValueError(
            'config.features.files and config.reference.files must each name at least one file: '
            '--config.features.files=\'("a.npy",)\'; or use configs/rsa.py:tiny for simulated data.'
        )
    if reference.kind not in KINDS:
        raise ValueError(f'config.reference.kind={reference.kind!r} must be one of {", ".join(KINDS)}.')
    if reference.kind in ('soft_labels', 'counts') and reference.measure == REPEATED:
        raise ValueError(
            f'{reference.kind} are no repeated measurements, which {REPEATED!r} needs: '
            "use config.reference.kind='features'."
        )
    names = tuple(section.names) or (None,) * len(section.files)
    if len(names) != len(section.files):
        raise ValueError(f'config.features has {len(section.files)} files and {len(names)} names.')
    if section.names:
        check_names(names, bool(config.comparison.labels_file))
    models = [
        _load_features(*one, 'features', section, name) for *one, name in zip(*_files_of(section, 'features'), names)
    ]
    if not section.names:
        models = _named_apart(models, *_files_of(section, 'features')[:2])
        check_names([model.name for model in models], bool(config.comparison.labels_file))
    labels = None
    if config.comparison.labels_file:
        labels = files.load_ids(config.comparison.labels_file, 'category')
        if len(labels) != len(models[0].ids):
            raise ValueError(
                f'{config.comparison.labels_file} has {len(labels)} categories, but {models[0].name!r} has '
                f'{len(models[0].ids)} stimuli.'
            )
    loaded, counts = [], None
    for path, key, noise_path in zip(*_files_of(reference, 'reference')):
        if reference.kind == 'rdm':
            with in_flags(of_files('reference')):
                loaded.append(files.load_rdm(path, key=key or None, **_told(reference, 'reference')))
            continue
        values = _load_features(path, key, noise_path, 'reference', reference)
        if reference.kind == 'counts':
            counts = _whole(values)
        if reference.kind != 'features':
            totals = values.values.sum(axis=1, keepdims=True)
            if values.values.min() < 0 or totals.min() <= 0:
                raise ValueError(
                    f'{path}: {reference.kind} must be non-negative with a positive sum for each stimulus.'
                )
            values = dataclasses.replace(values, values=values.values / totals)
        loaded.append(values)
    loaded = _named_apart(loaded, *_files_of(reference, 'reference')[:2])
    return RsaData(models, loaded, reference.measure, labels, counts if len(loaded) == 1 else None, simulated=False)


def check_names(names: Sequence[str], with_categories: bool) -> None:
    """Raises ValueError if two models have one name, or one has that of the baseline which categories add."""
    repeated = [name for name, count in collections.Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(
            f'two models are named {repeated[0]!r}: give config.features.names, one for each file, such as '
            f"--config.features.names='({', '.join(repr(f'model {i + 1}') for i in range(len(names)))},)'."
        )
    if with_categories and SAME in names:
        raise ValueError(f'{SAME!r} is the baseline that categories add: give config.features.names without it.')


def _named_apart(records: Sequence[Record], paths: Sequence[str], keys: Sequence[str]) -> list[Record]:
    """The records, equal names replaced by as much of path and array as tells them apart, such as 'a/fc' and 'b/fc'."""
    names = [record.name for record in records]
    for name, count in collections.Counter(names).items():
        rows = [row for row, record in enumerate(records) if record.name == name]
        places = [(*pathlib.PurePath(paths[row]).with_suffix('').parts, *filter(None, [keys[row]])) for row in rows]
        for length in range(2, max(map(len, places)) + 1) if count > 1 else ():
            made = ['/'.join(place[-length:]) for place in places]
            if len(set(made)) == count:
                for row, longer in zip(rows, made):
                    names[row] = longer
                break
    return [dataclasses.replace(record, name=name) for record, name in zip(records, names)]


def _files_of(section: ConfigDict, where: str) -> tuple[tuple[str, ...], ...]:
    """Files, which array of each, and the file of its noise's covariance; '' for what is not given.

    Raises:
        ValueError: There are more or fewer of these than files, or noise where the measure has no use for it.
    """
    n = len(section.files)
    keys, noise = section.arrays or ('',) * n, section.noise_files or ('',) * n
    if not len(keys) == len(noise) == n:
        raise ValueError(f'config.{where} has {n} files, {len(keys)} arrays and {len(noise)} noise_files.')
    if section.noise_files and section.measure != REPEATED:
        raise ValueError(f'config.{where}.noise_files are for measure {REPEATED!r}, not for {section.measure!r}.')
    return tuple(section.files), tuple(keys), tuple(noise)


def _load_features(
    path: str, key: str, noise_path: str, where: str, section: ConfigDict, name: str | None = None
) -> Features:
    """Features of a file; with the measure `REPEATED` those of repeated measurements, and their noise."""
    repeated = section.measure == REPEATED
    with in_flags(of_files(where)):
        features = files.load_features(path, key=key or None, name=name, repeated=repeated, **_told(section, where))
        if isinstance(features, RepeatedFeatures) and noise_path:
            features = dataclasses.replace(features, noise=files.load_covariance(noise_path))
    return features


def _told(section: ConfigDict, where: str) -> dict[str, Any]:
    """Arguments of `files.load_*` that say what the rows are, and how a table is written.

    Raises:
        ValueError: A value of `csv` cannot be.
    """
    settings.check_keys(section.csv, ('separator', 'decimal', 'header', 'encoding'), f'config.{where}.csv')
    headers = {'': None, 'True': True, 'False': False}
    if str(section.csv.header) not in headers:
        raise ValueError(f"config.{where}.csv.header={section.csv.header!r} must be True, False or ''.")
    separators = {'tab': '\t', 'space': ' ', '': None}
    return dict(
        ids=files.load_ids(section.ids_file) if section.ids_file else None,
        dataset=section.dataset or None,
        split=section.split or None,
        ids_key=section.ids_key or None,
        csv=files.CsvFormat(
            separator=separators.get(section.csv.separator, section.csv.separator),
            decimal=section.csv.decimal or None,
            header=headers[str(section.csv.header)],
            encoding=section.csv.encoding or None,
        ),
    )


def _whole(counts: Features) -> Features:
    """Answers as int64.

    Raises:
        ValueError: There are fractions.
    """
    whole = np.rint(counts.values).astype(np.int64)
    if not np.array_equal(whole, counts.values):
        raise ValueError(f"{counts.name!r} has fractions: counts are whole numbers; use kind='soft_labels'.")
    return dataclasses.replace(counts, values=whole)


def simulate(config: ConfigDict) -> RsaData:
    """Models of falling quality and subjects that share five latent features, in five categories."""
    sizes, np_rng = config.simulated, np.random.default_rng(config.seed)
    groups = np.arange(sizes.n_stimuli) % 5
    labels = np.array([f'category {k}' for k in groups])
    shared = np_rng.normal(size=(sizes.n_stimuli, 5)) + 1.5 * np.eye(5)[groups]
    ids = stimulus_ids('simulated', 'test', np.arange(sizes.n_stimuli))

    def seen(noise: float) -> np.ndarray:
        return (shared @ np_rng.normal(size=(5, 40)) + noise * np_rng.normal(size=(len(ids), 40))).astype(np.float32)

    made_up = {'simulated': True}
    models = [Features(seen(1.0 + 2.0 * i), ids, f'model {i}', made_up) for i in range(sizes.n_models)]
    subjects = [Features(seen(2.0), ids, f'subject {i}', made_up) for i in range(sizes.n_subjects)]
    return RsaData(models, subjects, 'correlation', labels, None, simulated=True)
