"""How well features predict the responses of voxels, by region of interest.

Writes

    scores.jsonl            encoding/<score> of every model, subject and region
    voxels_<subject>.npy    measures of every voxel (`encoding_maps.MEASURES`), [models, 11, voxels]; NaN: not scored
    rois_<subject>.npy      voxels of each region, [regions, voxels]
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import human_responses, progress, settings, storage
from humalign_jax.alignment import encoding, encoding_maps, encoding_scores, response_ceilings, ridge
from humalign_jax.alignment.encoding import EncodingFit
from humalign_jax.records import Features, Score
from humalign_jax.wiring import encoding as wiring
from humalign_jax.wiring.encoding import EncodingData, Subject

KEYS = (
    'experiment', 'seed', 'features', 'arrays', 'names', 'bands', 'stimuli', 'reference', 'human', 'trials',
    'cross_validation', 'penalties', 'ridge', 'ceilings', 'identification', 'simulated',
)  # fmt: skip
INNER = ('rows', 'sessions', 'stimuli')
CEILINGS = ('repeats', 'published', 'none')


@dataclasses.dataclass(frozen=True)
class _Model:
    """A model: its name, its feature spaces, and provenance of its scores."""

    name: str
    bands: tuple[Features, ...]
    about: dict[str, Any]


def run(config: ConfigDict, workdir: str) -> None:
    """Writes scores and maps into the workdir.

    Raises:
        ValueError: A setting is invalid, a file is missing or wrong, or stimuli have no features.
    """
    _check(config)
    folder = pathlib.Path(workdir)
    loaded = wiring.simulate(config, folder / 'simulated') if config.simulated.n_stimuli > 0 else wiring.load(config)
    models = _models(config, loaded)
    for subject in loaded.subjects:
        for model in models:
            for band in model.bands:
                human_responses.feature_rows(subject.responses, band)  # what is missing is found before any fit
    found = [_scores_of_subject(config, subject, models, folder) for subject in loaded.subjects]
    scores = encoding_scores.over_subjects([score for scores in found for score in scores])
    storage.write_jsonl(folder / 'scores.jsonl', [score.to_json() for score in scores])
    for score in scores:
        said = score.provenance
        if len(loaded.subjects) == 1 or said['subject'] == encoding_scores.ALL:
            ends = (score.value, score.low, score.high)
            logging.info('%s, %s, %s: %.4f [%.4f, %.4f]', score.name, said['model'], said['roi'], *ends)


def _check(config: ConfigDict) -> None:
    settings.check_keys(config, KEYS, 'config')
    for section, keys in (
        ('stimuli', ('dataset', 'split', 'ids_file')),
        ('human', ('name', 'paths', 'subjects', 'rois', 'id_column')),
        ('trials', ('average', 'zscore_sessions')),
        ('cross_validation', ('by', 'parts', 'new_stimuli', 'inner')),
        ('ridge', ('scale', 'dtype', 'n_weights', 'voxels_per_batch')),
        ('ceilings', ('source', 'min_ceiling')),
        ('simulated', ('n_stimuli', 'n_voxels', 'n_repeats', 'n_sessions', 'n_subjects')),
    ):
        settings.check_keys(config[section], keys, f'config.{section}')
    for key, value, allowed in (
        ('human.name', config.human.name, wiring.SOURCES),
        ('cross_validation.by', config.cross_validation.by, encoding.BY),
        ('cross_validation.inner', config.cross_validation.inner, INNER),
        ('ridge.dtype', config.ridge.dtype, ridge.DTYPES),
        ('ceilings.source', config.ceilings.source, CEILINGS),
        *(('identification', measure, encoding.IDENTIFICATION) for measure in tuple(config.identification)),
    ):
        if value not in allowed:
            raise ValueError(f'config.{key}={value!r} must be one of {", ".join(allowed)}.')
    if not config.penalties:
        raise ValueError('config.penalties must have at least one penalty.')
    if config.trials.average and config.cross_validation.by == 'session':
        raise ValueError('config.trials.average=True joins sessions: use config.cross_validation.by=stimulus or split.')


def _models(config: ConfigDict, loaded: EncodingData) -> list[_Model]:
    """Models of one feature space each, then those of several (`config.bands`)."""
    known = {model.name: model for model in loaded.models}
    models = []
    for names in [(name,) for name in known] + [tuple(band) for band in tuple(config.bands)]:
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f'config.bands: {unknown[0]!r} is no model.{settings.nearest(unknown[0], list(known))}')
        bands = tuple(known[name] for name in names)
        digests = [storage.array_digest(np.asarray(band.values)) for band in bands]
        about = {**bands[0].provenance} if len(bands) == 1 else {'bands': list(names)}
        about |= {
            'model': ' + '.join(names),
            'features_sha256': digests,
            'n_features': [b.values.shape[1] for b in bands],
        }
        models.append(_Model(' + '.join(names), bands, about))
    if config.reference and config.reference not in [model.name for model in models]:
        names = [model.name for model in models]
        raise ValueError(
            f'config.reference={config.reference!r} is no model.{settings.nearest(config.reference, names)}'
        )
    return models


def _scores_of_subject(config: ConfigDict, subject: Subject, models: list[_Model], folder: pathlib.Path) -> list[Score]:
    """Fits of all models to one subject, as scores and maps."""
    usable, counts = human_responses.usable_voxels(subject.responses)
    if not usable.any():
        raise ValueError(
            f'{subject.responses.name!r}, subject {subject.responses.subject!r}: every voxel is NaN or constant.'
        )
    responses, test = subject.responses.take_voxels(usable), subject.test
    if config.trials.zscore_sessions:
        responses = human_responses.zscore_sessions(responses)
    ceilings = None
    if config.ceilings.source != 'none':
        published = config.ceilings.source == 'published'
        made = response_ceilings.published_ceilings if published else response_ceilings.repeat_ceilings
        ceilings = made(responses)
        if ceilings is None:
            raise ValueError(
                f'{responses.name!r}, subject {responses.subject!r}: '
                + ('the files have no ncsnr' if published else 'fewer than three stimuli were shown twice')
                + ', so there is no noise ceiling: set config.ceilings.source=none.'
            )
    if config.trials.average:
        in_test = None if test is None else np.unique(responses.stimuli[test])
        responses = responses.averaged()
        test = None if in_test is None else np.isin(responses.stimuli, in_test)
    cv = config.cross_validation
    folds = encoding.make_folds(responses, cv.by, n=cv.parts, seed=config.seed, new_stimuli=cv.new_stimuli, test=test)
    fits = [_fit(config, responses, folds, model) for model in progress.each(models, responses.subject, _name)]
    held_out = np.concatenate([block for fold in folds for block in fold.blocks])
    kept = encoding_scores.keep_voxels(
        fits,
        ceilings,
        n_averaged=float(1.0 / np.mean(1.0 / responses.n_averaged[held_out])),
        min_ceiling=config.ceilings.min_ceiling,
        counts=counts,
    )
    about = {
        'human': responses.name,
        'subject': responses.subject,
        'simulated': responses.simulated,
        'responses_sha256': storage.array_digest(subject.responses.values),
        'n_trials': len(responses),
        'n_stimuli': len(responses.ids),
        'n_averaged': kept.n_averaged,
        'left_out': dict(kept.counts),
        'ceilings': config.ceilings.source,
        'min_ceiling': config.ceilings.min_ceiling,
        'held_out': cv.by,
        'inner': cv.inner,
        'new_stimuli': bool(cv.new_stimuli) if cv.by == 'session' else True,
        'seed': config.seed,
    }
    scores = encoding_scores.ceiling_scores(kept, responses.rois, about)
    for model, fit in zip(models, fits):
        said = {**model.about, **about}
        scores += encoding_scores.roi_scores(fit, kept, responses.rois, said, seed=config.seed)
        if config.reference and model.name != config.reference:
            other = fits[[one.name for one in models].index(config.reference)]
            said |= {'other': config.reference}
            scores += encoding_scores.difference_scores(fit, other, kept, responses.rois, said, seed=config.seed)
    _write_maps(folder, subject, usable, kept, dict(zip([model.name for model in models], fits)), about)
    return scores


def _name(model: _Model) -> str:
    return model.name


def _fit(
    config: ConfigDict, responses: human_responses.Responses, folds: list[encoding.Fold], model: _Model
) -> EncodingFit:
    bands = [np.asarray(band.values)[human_responses.feature_rows(responses, band)] for band in model.bands]
    return encoding.cross_validate(
        bands,
        responses,
        folds,
        penalties=tuple(config.penalties),
        weights=ridge.band_weights(len(bands), config.ridge.n_weights, seed=config.seed),
        inner=config.cross_validation.inner,
        scale=config.ridge.scale,
        identification=tuple(config.identification),
        dtype=config.ridge.dtype,
        batch=config.ridge.voxels_per_batch,
        what=model.name,
    )


def _write_maps(
    folder: pathlib.Path,
    subject: Subject,
    usable: np.ndarray,
    kept: encoding_scores.Kept,
    fits: dict[str, EncodingFit],
    about: dict[str, Any],
) -> None:
    """Writes the measures of each voxel, in the order of the subject's files."""
    maps = np.full((len(fits), len(encoding_maps.MEASURES), len(usable)), np.nan, np.float32)
    maps[:, :, usable] = [encoding_maps.voxel_maps(fit, kept) for fit in fits.values()]
    name = storage.file_names([about['subject']])[0]
    storage.write_array(
        folder / f'voxels_{name}.npy', maps, {'models': list(fits), 'measures': list(encoding_maps.MEASURES), **about}
    )
    rois = subject.responses.rois
    storage.write_array(folder / f'rois_{name}.npy', np.stack(list(rois.values())), {'rois': list(rois), **about})
