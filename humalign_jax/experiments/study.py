"""The whole answer: trains networks, extracts their layers, compares them with people, and writes the report."""

import os
import pathlib
import shutil

from absl import logging
from ml_collections import ConfigDict

from humalign_jax import settings, workdir
from humalign_jax.wiring import layer_folders
from humalign_jax.wiring.stages import Stage, run_stages, stage_config

SECTIONS = ('experiment', 'seed', 'data', 'networks', 'include', 'runs', 'report')
RATINGS = 'ratings'  # similarity ratings of pairs of its test images, for any study of networks of images
TRAINING_SECTIONS = ('experiment', 'model', 'preprocess', 'objective', 'optimizer', 'train', 'watch')
CLASSIFIER, VAE, DECONV = 'train_classifier', 'train_vae', 'train_deconv'
STAGES = {  # further sections that a study with such a network has
    CLASSIFIER: ('human', 'extract', 'alignment', 'human_rsa', 'soft_labels'),
    VAE: ('human', 'extract', 'human_rsa', 'latents'),
    DECONV: ('channels',),
}
PIXELS = 'pixels'  # the baseline that needs no network
_OPTIONAL = {RATINGS, *(section for sections in STAGES.values() for section in sections)}


def run(config: ConfigDict, workdir: str) -> None:
    """Runs every stage of the study that is not complete yet; `report/report.html` is the last.

    Raises:
        ValueError: The config is wrong, or a stage fails; the message names the stage.
    """
    folder = pathlib.Path(workdir)
    config = included(config)
    stages = make_stages(config, folder)
    _link_runs(config, folder)
    run_stages(stages, folder)
    logging.info('The report: %s', folder / 'report' / 'report.html')


def make_stages(config: ConfigDict, folder: pathlib.Path) -> list[Stage]:
    """The study's stages in order, with the folders that each reads filled in.

    Raises:
        ValueError: A section or a key of a network is unknown or missing.
    """
    if not config.networks:
        raise ValueError('config.networks is empty: a study needs at least one network.')
    settings.check_keys(config.runs, config.networks.keys(), 'config.runs')
    for name, network in config.networks.items():
        settings.check_keys(network, (*TRAINING_SECTIONS, 'layers'), f'config.networks.{name}')
        if network.experiment not in STAGES:
            raise ValueError(f'config.networks.{name}.experiment={network.experiment!r} must be {" or ".join(STAGES)}.')
        settings.check_keys(config, (*SECTIONS, *STAGES[network.experiment]), 'config', optional=_OPTIONAL)
    classifiers, vaes, deconvs = (
        [name for name, network in config.networks.items() if network.experiment == kind] for kind in STAGES
    )
    fine_tuned = config.soft_labels.network if 'soft_labels' in config else ''
    if fine_tuned and fine_tuned not in classifiers:
        raise ValueError(
            f'config.soft_labels.network={fine_tuned!r} must be a classifier of this study '
            f"({', '.join(classifiers)}), or '' for none."
        )
    stages = [_training(config, name, folder) for name, given in config.runs.items() if not given]
    if compared := classifiers + vaes:
        stages += [_pixels(config)]
        stages += [_extraction(config, name, folder, split) for name in classifiers for split in ('test', 'validation')]
        stages += [_extraction(config, name, folder, 'test') for name in vaes]
        stages += [_alignment(config, name, folder) for name in classifiers]
        stages += [_human_rsa(config, sorted(compared), folder)]
    stages += [_latents(config, name, folder) for name in vaes]
    stages += [_ratings(config, folder)] if RATINGS in config else []
    if decoders := [name for name in deconvs if config.networks[name].model.decoder]:
        stages.append(_channels(config, decoders, folder))
    if fine_tuned:
        stages.append(_soft_labels(config, folder))
    stages.append(_report(config, folder, stages))
    return stages


def included(config: ConfigDict) -> ConfigDict:
    """The config with the networks named in `include` alone, all of them if it is empty.

    Raises:
        ValueError: A section is unknown or missing, or there is no such network.
    """
    settings.check_keys(config, SECTIONS, 'config', optional=_OPTIONAL)
    for name in tuple(config.include):
        if name not in config.networks:
            raise ValueError(f'config.include has {name!r}.{settings.nearest(name, config.networks.keys())}')
    chosen = config.copy_and_resolve_references()
    with chosen.unlocked():
        for name, _ in config.networks.items():
            if config.include and name not in config.include:
                del chosen.networks[name]
                if name in chosen.runs:  # what is missing there is refused later
                    del chosen.runs[name]
    return chosen


def _link_runs(config: ConfigDict, folder: pathlib.Path) -> None:
    """Shows runs that were trained elsewhere under `networks/`, where stages and the report look for them.

    Raises:
        ValueError: A network was trained here and shall now come from elsewhere, or the other way round.
    """
    for name, run_folder in config.runs.items():
        link = folder / 'networks' / name
        if link.is_symlink() and not run_folder:
            raise ValueError(
                f'{link} is the run in {os.path.realpath(link)}, but config.runs.{name} is empty: give its folder, or '
                'choose another --workdir to train the network.'
            )
        if not run_folder:
            continue
        if link.exists() and not link.is_symlink():
            if workdir.is_begun(link):
                raise ValueError(
                    f'{link} was trained here: leave config.runs.{name} empty, or choose another --workdir.'
                )
            shutil.rmtree(link)  # notes of a start that failed
        target = pathlib.Path(run_folder).resolve()
        if link.is_symlink() and pathlib.Path(os.readlink(link)) == target:
            continue
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)  # to where the run lay before
        os.symlink(target, link, target_is_directory=True)


def _run_folder(config: ConfigDict, name: str, folder: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(config.runs[name] or folder / 'networks' / name)


def _training(config: ConfigDict, name: str, folder: pathlib.Path) -> Stage:
    network = {key: config.networks[name][key] for key in TRAINING_SECTIONS}
    return Stage(f'networks/{name}', ConfigDict({**network, 'seed': config.seed, 'data': config.data.to_dict()}))


def _pixels(config: ConfigDict) -> Stage:
    """The test images themselves, as the baseline of every representation."""
    data = {key: value for key, value in config.data.items() if key not in ('batch_size', 'target')}
    given = dict(run='', name=PIXELS, split='test', layers=(PIXELS,), data=data)
    return Stage(f'features/{PIXELS}/test', stage_config('extract', config, config.extract, **given))


def _extraction(config: ConfigDict, name: str, folder: pathlib.Path, split: str) -> Stage:
    """All layers of the network for the test images; of the validation images the logits, which fit a temperature."""
    run_folder = _run_folder(config, name, folder)
    layers = config.networks[name].layers if split == 'test' else ('logits',)
    given = dict(
        run=str(run_folder),
        name=name,
        split=split,
        layers=tuple(layers),
        data=dict(name='', root=config.data.root, n_validation=config.data.n_validation),
    )
    section = stage_config('extract', config, config.extract, **given)
    return Stage(f'features/{name}/{split}', section, (folder / 'networks' / name,))


def _alignment(config: ConfigDict, name: str, folder: pathlib.Path) -> Stage:
    test, validation = (folder / 'features' / name / split for split in ('test', 'validation'))
    given = dict(
        model=name,
        features=str(test),
        stimuli=dict(layer_folders.NO_STIMULI),
        validation=str(validation),
        validation_stimuli=dict(layer_folders.NO_STIMULI),
        human=_human(config),
        simulated=dict(n_test=0, n_validation=0),
    )
    return Stage(f'alignment/{name}', stage_config('alignment', config, config.alignment, **given), (test, validation))


def _human_rsa(config: ConfigDict, names: list[str], folder: pathlib.Path) -> Stage:
    """All these networks at once, because they are compared with each other."""
    inputs = tuple(folder / 'features' / name / 'test' for name in (*names, PIXELS))
    folders = tuple(str(path) for path in inputs)
    stimuli = dict(layer_folders.NO_STIMULI)
    given = dict(features=folders, stimuli=stimuli, names=(), human=_human(config), simulated=dict(n_models=0))
    return Stage('human_rsa', stage_config('human_rsa', config, config.human_rsa, **given), inputs)


def _latents(config: ConfigDict, name: str, folder: pathlib.Path) -> Stage:
    run_folder = _run_folder(config, name, folder)
    section = stage_config(
        'latents', config, config.latents, run=str(run_folder), codes=dict(layer_folders.NO_CODES), name=name
    )
    return Stage(f'latents/{name}', section, (folder / 'networks' / name,))


def _ratings(config: ConfigDict, folder: pathlib.Path) -> Stage:
    """Pairs of test images and their ratings, all networks at once."""
    names = tuple(config.networks.keys())
    data = {key: value for key, value in config.data.items() if key not in ('batch_size', 'n_validation', 'target')}
    given = dict(runs=tuple(str(_run_folder(config, name, folder)) for name in names), names=names, data=data)
    inputs = tuple(folder / 'networks' / name for name in names)
    return Stage(RATINGS, stage_config(RATINGS, config, config.ratings, **given), inputs)


def _channels(config: ConfigDict, names: list[str], folder: pathlib.Path) -> Stage:
    """All networks with a decoder at once."""
    run = ','.join(str(_run_folder(config, name, folder)) for name in names)
    section = stage_config('channels', config, config.channels, run=run, names=tuple(names))
    return Stage('channels', section, tuple(folder / 'networks' / name for name in names))


def _soft_labels(config: ConfigDict, folder: pathlib.Path) -> Stage:
    name = config.soft_labels.network
    run_folder = _run_folder(config, name, folder)
    section = {key: value for key, value in config.soft_labels.items() if key != 'network'}
    given = dict(run=str(run_folder), model_name=name, human=_human(config))
    inputs = (folder / 'networks' / name,)
    return Stage('soft_labels', stage_config('train_soft_labels', config, ConfigDict(section), **given), inputs)


def _report(config: ConfigDict, folder: pathlib.Path, stages: list[Stage]) -> Stage:
    inputs = tuple(folder / stage.name for stage in stages)
    return Stage('report', stage_config('report', config, config.report, study=str(folder)), inputs)


def _human(config: ConfigDict) -> dict[str, object]:
    """Whose answers: the section that every comparison with people has."""
    return {'root': config.data.root, **config.human.to_dict()}
