"""Models and reference of an RSA brought to the same stimuli in the same order, with the words of the command line.

What does not fit is found here, before any RDM is made: files without ids, other stimuli, stimuli without distances.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import rsa
from humalign_jax.records import Features, Rdm, RepeatedFeatures
from humalign_jax.rsa import pairs
from humalign_jax.wiring.rsa_study import RsaData

UNDEFINED = ('raise', 'omit')
_SHOWN = 5  # stimuli that a message names
_KEPT = 20  # stimuli that a score names
LEAST = 3  # stimuli that a comparison needs

Record = TypeVar('Record', Features, Rdm)


def join_study(config: ConfigDict, study: RsaData) -> tuple[RsaData, dict[str, Any]]:
    """The study on the stimuli that are compared, in the order of the first model; and what scores say of the joining.

    Args:
        config: Of the experiment; `config.comparison.join` is 'exact', 'shared' or 'position', and
            `config.comparison.undefined` 'raise', or 'omit' to leave out stimuli without distances, of all files.
        study: What was read.

    Raises:
        ValueError: Files have no ids, or other ones; a stimulus has no distances under 'raise', the message names the
            file and the first few; or fewer than three stimuli are left.
    """
    join, undefined = config.comparison.join, config.comparison.undefined
    pairs.check_join(join)
    if undefined not in UNDEFINED:
        raise ValueError(f'config.comparison.undefined={undefined!r} must be one of {", ".join(UNDEFINED)}.')
    of_features = config.comparison.index in rsa.FEATURE_INDICES
    everyone: list[Features | Rdm] = [*study.models, *study.reference]
    measures = [config.features.measure] * len(study.models) + [study.reference_measure] * len(study.reference)
    without = [_undefined(item, '' if of_features else measure) for item, measure in zip(everyone, measures)]
    if undefined == 'raise' and join != 'shared':  # stimuli that are not shared need no distances
        _refuse_undefined(everyone, without, measures)
    ids, rows = _rows(config, everyone, len(study.models))
    lost = np.logical_or.reduce([mask[own] for mask, own in zip(without, rows)])
    if undefined == 'raise':
        shared = [np.isin(np.arange(len(mask)), own) & mask for mask, own in zip(without, rows)]
        _refuse_undefined(everyone, shared, measures)
    if len(ids) - lost.sum() < LEAST:
        raise ValueError(
            f'{len(ids) - lost.sum()} stimuli are left to compare, of {len(ids)} that all files have: at least {LEAST} '
            'are needed.'
        )
    said: dict[str, Any] = {'join': join}
    if lost.any():
        said |= {'undefined_left_out': int(lost.sum()), 'undefined_stimuli': ids[lost][:_KEPT].tolist()}
        logging.warning('Left out of all files, since they have no distances in one: %d stimuli, %s.', lost.sum(),
                        _listed(ids[lost]))  # fmt: skip
    rows, ids = [own[~lost] for own in rows], ids[~lost]
    taken = [_take(item, own, ids) for item, own in zip(everyone, rows)]
    n_models = len(study.models)
    counts = None if study.counts is None else _take(study.counts, rows[n_models], ids)
    labels = None if study.labels is None else study.labels[rows[0]]
    joined = dataclasses.replace(
        study, models=taken[:n_models], reference=taken[n_models:], labels=labels, counts=counts
    )
    return joined, said


def _rows(config: ConfigDict, everyone: Sequence[Features | Rdm], n_models: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Ids of the stimuli that are compared, [n], and which rows of each record they are, [n]."""
    join = config.comparison.join
    if join == 'position':
        ids = pairs.position_ids(everyone)
        logging.warning('Stimuli are joined by position: row k of every file is taken for the same stimulus.')
        return ids, [np.arange(len(ids))] * len(everyone)
    without = [item for item in everyone if not pairs.has_ids(item)]
    if without and not pairs.of_one_array(everyone):
        names = ', '.join(dict.fromkeys(_file_of(item) for item in without))
        sections = [
            section
            for section, items in (('features', everyone[:n_models]), ('reference', everyone[n_models:]))
            if not all(map(pairs.has_ids, items))
        ]
        raise ValueError(f'{names}: there are no stimulus ids, and everything joins by id. {_ways_out(sections)}')
    first = everyone[0]
    ids = np.asarray(first.ids)
    for item in everyone[1:]:
        shared = np.isin(ids, item.ids)
        if join == 'exact' and not (shared.all() and len(item.ids) == len(ids)):
            raise ValueError(
                f'{_file_of(first)} and {_file_of(item)} are of different stimuli: {pairs.differing_ids(first, item)}. '
                'Keep those that all files have with --config.comparison.join=shared, or give both the same ids '
                '(config.features and config.reference: ids_file, or dataset and split).'
            )
        if shared.sum() < LEAST:
            raise ValueError(
                f'{_file_of(first)} and {_file_of(item)} share {shared.sum()} stimuli; their ids are such as '
                f'{str(first.ids[0])!r} and {str(item.ids[0])!r}. Give both the same ids (config.features and '
                'config.reference: ids_file, or dataset and split).'
            )
    ids = ids[np.logical_and.reduce([np.isin(ids, item.ids) for item in everyone])]
    return ids, [_places(np.asarray(item.ids), ids) for item in everyone]


def _ways_out(sections: Sequence[str]) -> str:
    """Flags that give files ids, or do without."""
    by_file = ' '.join(f'--config.{section}.ids_file=FILE' for section in sections)
    by_place = ' '.join(f'--config.{section}.dataset=NAME --config.{section}.split=test' for section in sections)
    return (
        f'Either list the ids, one a line for each row: {by_file}; or, if rows are in the published order of a data '
        f'set: {by_place}; or, if row k of every file is the same stimulus: --config.comparison.join=position, which '
        'every score then says.'
    )


def _undefined(item: Features | Rdm, measure: str) -> np.ndarray:
    """Stimuli without distances, [n] booleans; of an RDM the fewest that leave no pair undefined."""
    if isinstance(item, Features):
        values = np.asarray(item.values)
        if measure in ('', 'mahalanobis') or isinstance(item, RepeatedFeatures):  # NaN would spoil its covariance
            return np.logical_not(np.isfinite(values).reshape(len(values), -1).all(axis=1))
        return np.logical_not(rsa.defined_stimuli(item, measure))
    n = len(item.ids)
    bad = np.flatnonzero(~np.isfinite(item.values))
    lost = np.zeros(n, dtype=bool)
    if not len(bad):
        return lost
    starts = np.concatenate([[0], np.cumsum(np.arange(n - 1, 0, -1))])  # of each row of the upper triangle
    first = np.searchsorted(starts, bad, side='right') - 1
    second = bad - starts[first] + first + 1
    while len(first):
        worst = np.bincount(np.concatenate([first, second]), minlength=n).argmax()
        lost[worst] = True
        kept = (first != worst) & (second != worst)
        first, second = first[kept], second[kept]
    return lost


def _refuse_undefined(
    everyone: Sequence[Features | Rdm], without: Sequence[np.ndarray], measures: Sequence[str]
) -> None:
    """Raises ValueError if stimuli have no distances."""
    said = []
    for item, mask, measure in zip(everyone, without, measures):
        if mask.any():
            why = 'pairs that are NaN or infinite'
            if isinstance(item, Features):
                finite = np.isfinite(np.asarray(item.values)[mask]).all()
                why = (
                    f'constant features, for which {measure!r} is not defined' if finite else 'NaN or infinite features'
                )
            names = _listed(np.asarray(item.ids)[mask])
            said.append(f'{_file_of(item)}: {mask.sum()} of {len(mask)} stimuli have {why}: {names}')
    if said:
        raise ValueError(
            f'{"; ".join(said)}. --config.comparison.undefined=omit leaves these stimuli out of all files, and scores '
            'say so.'
        )


def _file_of(item: Features | Rdm) -> str:
    """The file of a record, with what the record is called where that says more."""
    file = str(item.provenance.get('file', ''))
    if not file:
        return repr(item.name)
    return file if item.name == pathlib.PurePath(file).stem else f'{file} ({item.name})'


def _take(item: Record, rows: np.ndarray, ids: np.ndarray) -> Record:
    """Rows of a record, under these ids."""
    same = np.array_equal(rows, np.arange(len(item.ids)))
    if isinstance(item, Rdm):
        values = item.values if same else pairs.take_stimuli(np.asarray(item.values), rows)
    else:
        values = item.values if same else np.asarray(item.values)[rows]
    return dataclasses.replace(item, values=values, ids=ids)


def _places(own: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Where each of `ids` is in `own`, [n]."""
    order = np.argsort(own)
    return order[np.searchsorted(own, ids, sorter=order)]


def _listed(ids: np.ndarray) -> str:
    more = f' and {len(ids) - _SHOWN} more' if len(ids) > _SHOWN else ''
    return ', '.join(map(str, ids[:_SHOWN])) + more
