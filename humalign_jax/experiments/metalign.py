"""Does meta-learning make features more human-like? Functions, networks, people's judgements and learning, geometry.

simulated/                          concepts written as files, where config.data.features is 'simulated'
sae/                                `train_sae`, where functions are the codes of the study's own autoencoder
metalearners/<condition>-<seed>/    `train_metalearner`
odd_one_out/  learning/  geometry/  the experiments of these names: the features as they are ('base') and those of
                                    every network; the seeds of a condition are pooled to a group of its name
report/report.html
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from humalign_jax import settings, storage
from humalign_jax.data import simulated_concepts
from humalign_jax.data.files import data_root
from humalign_jax.human import things
from humalign_jax.wiring import feature_matrix, function_data
from humalign_jax.wiring.stages import Stage, run_stages, set_aside_others, stage_config

SECTIONS = (
    'experiment', 'seed', 'seeds', 'data', 'simulated', 'functions', 'sae', 'metalearner', 'conditions', 'include',
    'layers', 'compare', 'human', 'report',
)  # fmt: skip
COMPARISONS = ('odd_one_out', 'learning', 'geometry')
SIMULATED = function_data.SIMULATED  # in place of a file of features or functions
SAE = 'sae'  # in place of a file of functions: those of the study's own autoencoder
BASE, EMBED, NORMALISED = 'base', 'embed', 'normalised'  # layers that a network leaves
_FILES = {'features': 'features.npy', 'main': 'functions.npz', 'mid': 'mid_functions.npz'}  # of simulated concepts
_EMBEDDINGS = 'embeddings.npz'  # of simulated people
_ALL_HAVE_IDS: dict[str, Any] = dict(layers=(), baselines=(), stimuli=dict(dataset='', split='', ids_file=''))
_FOLDERS = ('simulated', 'sae', 'metalearners/*', *COMPARISONS)


@dataclasses.dataclass(frozen=True)
class _Compared:
    """What is compared with people.

    Attributes:
        names: `base`, then `<condition>-<seed>`, with the layer in between if it is not `embed`.
        paths: File of each.
        groups: Condition of each, '' of the base.
        inputs: Folders that the comparisons read.
    """

    names: tuple[str, ...]
    paths: tuple[str, ...]
    groups: tuple[str, ...]
    inputs: tuple[pathlib.Path, ...]


def run(config: ConfigDict, workdir: str) -> None:
    """Runs every stage of the study that is not complete yet; `report/report.html` is the last.

    Stages of conditions, seeds and comparisons that the config no longer has are moved to `superseded/`.

    Raises:
        ValueError: The config is wrong, or a stage fails; the message names the stage.
    """
    folder = pathlib.Path(workdir)
    stages = make_stages(config, folder)
    set_aside_others(stages, folder, _FOLDERS)
    run_stages(stages, folder)
    logging.info('The report: %s', folder / 'report' / 'report.html')


def make_stages(config: ConfigDict, folder: pathlib.Path) -> list[Stage]:
    """The study's stages in order, with the files that each reads filled in.

    Raises:
        ValueError: A section or key is unknown or missing, or features or embeddings cannot be read.
    """
    _check(config)
    stages = []
    if config.data.features == SIMULATED:
        stages.append(Stage('simulated', stage_config('simulate_concepts', config, config.simulated)))
    pairs = [(condition, seed) for condition in tuple(config.include) for seed in tuple(config.seeds)]
    networks = {pair: _network(config, *pair, folder) for pair in pairs}
    if any(folder / 'sae' in stage.inputs for stage in networks.values()):
        stages.append(_autoencoder(config, folder))
    stages += networks.values()
    if config.compare:
        compared = _compared(config, networks, folder)
        make = {'odd_one_out': _odd_one_out, 'learning': _learning, 'geometry': _geometry}
        stages += [make[name](config, compared, folder) for name in COMPARISONS if name in tuple(config.compare)]
    report = stage_config('report', config, config.report, study=str(folder))
    return [*stages, Stage('report', report, tuple(folder / stage.name for stage in stages))]


def _check(config: ConfigDict) -> None:
    """Raises ValueError for a key that is unknown or missing, or a name that is none."""
    settings.check_keys(config, SECTIONS, 'config', optional=COMPARISONS)
    sections = ('data', 'episodes', 'model', 'optimizer', 'train', 'stopping', 'export')
    settings.check_keys(config.metalearner, sections, 'config.metalearner')
    settings.check_keys(config.data, feature_matrix.KEYS, 'config.data')
    settings.check_keys(config.human, ('root', 'embeddings'), 'config.human')
    known = {
        'include': config.conditions.keys(),
        'layers': (EMBED, NORMALISED),
        'compare': [name for name in COMPARISONS if name in config],
    }
    for key, names in known.items():
        for name in tuple(config[key]):
            if name not in names:
                raise ValueError(f'config.{key} has {name!r}.{settings.nearest(name, names)}')
    for key in ('include', 'seeds'):
        values = tuple(config[key])
        if not values or len(set(values)) < len(values):
            raise ValueError(f'config.{key}={values} must have one entry or more, each once.')


def _network(config: ConfigDict, condition: str, seed: int, folder: pathlib.Path) -> Stage:
    """A network of a condition, whose functions come from a file, from simulated concepts or from the autoencoder."""
    made = {'functions': config.functions.to_dict(), **config.metalearner.to_dict()}
    _change(made, config.conditions[condition].to_dict(), f'config.conditions.{condition}')
    features, functions = _features(config, folder), made['functions']
    inputs = {'': features}
    for use in ('main', 'mid', 'raw'):
        given = functions[use]
        if given == SIMULATED and use in _FILES:
            if config.data.features != SIMULATED:
                raise ValueError(f'config.functions.{use}={SIMULATED!r} needs config.data.features={SIMULATED!r}.')
            inputs[use], functions[use] = folder / 'simulated', str(folder / 'simulated' / _FILES[use])
        elif given == SAE:
            inputs[use], functions[use] = folder / 'sae', str(folder / 'sae' / 'codes.npz')
        elif given:
            inputs[use] = pathlib.Path(given)
    made['data'] = {**made['data'], **config.data.to_dict(), 'features': str(features), 'n_simulated': 1}
    if config.data.features == SIMULATED:
        inputs[''] = folder / 'simulated'
    read = tuple(dict.fromkeys(inputs[name] for name in ('', functions['use']) if name in inputs))
    whole = ConfigDict({'experiment': 'train_metalearner', 'seed': seed, **made})
    # The paths of functions are compared by what they hold.
    return Stage(f'metalearners/{condition}-{seed}', whole, read, places=('features', 'main', 'mid', 'raw'))


def _change(section: dict[str, Any], changes: Mapping[str, Any], where: str) -> None:
    """Puts the values of a condition into the config of a network.

    Raises:
        ValueError: A setting is unknown.
    """
    for key, value in changes.items():
        if key not in section:
            raise ValueError(f'{where}.{key} is not a setting of a network.{settings.nearest(key, section)}')
        if isinstance(value, Mapping):
            _change(section[key], value, f'{where}.{key}')
        else:
            section[key] = value


def _features(config: ConfigDict, folder: pathlib.Path) -> pathlib.Path:
    """The file with the features of all concepts."""
    given = config.data.features
    return folder / 'simulated' / _FILES['features'] if given == SIMULATED else pathlib.Path(given)


def _autoencoder(config: ConfigDict, folder: pathlib.Path) -> Stage:
    section = config.sae.to_dict()
    features = _features(config, folder)
    section['data'] = {**section['data'], **config.data.to_dict(), 'features': str(features)}
    read = folder / 'simulated' if config.data.features == SIMULATED else features
    return Stage('sae', stage_config('train_sae', config, ConfigDict(section)), (read,))


def _compared(config: ConfigDict, networks: Mapping[tuple[str, int], Stage], folder: pathlib.Path) -> _Compared:
    """The features as they are, then the layers of every network that has them."""
    place = f'features/{_features_name(config)}'
    first = folder / next(iter(networks.values())).name
    rows: list[tuple[str, pathlib.Path, str]] = [(BASE, first / place / f'{BASE}.npy', '')]
    inputs = [first, *([folder / 'simulated'] if config.data.features == SIMULATED else [])]
    for (condition, seed), stage in networks.items():
        for layer in tuple(config.layers):
            if layer in _layers_of(stage.config.model):
                group = condition if layer == EMBED else f'{condition}-{layer}'
                rows.append((f'{group}-{seed}', folder / stage.name / place / f'{layer}.npy', group))
                inputs.append(folder / stage.name)
    names, paths, groups = zip(*rows)
    return _Compared(names, tuple(map(str, paths)), groups, tuple(dict.fromkeys(inputs)))


def _features_name(config: ConfigDict) -> str:
    """Folder of the compared features in that of a network: of the last file of `export`, else of `config.data`."""
    data = ConfigDict({**config.data.to_dict(), **config.metalearner.data.to_dict()})
    if config.data.features == SIMULATED:
        names = [simulated_concepts.NAME]
    else:
        names = [function_data.read_features(data).name]
    names += [function_data.read_file(data, path).name for path in tuple(config.metalearner.export)]
    return storage.file_names(names)[-1]


def _layers_of(model: ConfigDict) -> tuple[str, ...]:
    """Meta-learned layers that a network leaves."""
    if model.name == 'static_linear':
        return (EMBED, NORMALISED)
    return (EMBED,) if model.embed else ()


def _root(config: ConfigDict, folder: pathlib.Path) -> pathlib.Path:
    """The folder with people's choices and embeddings."""
    return folder / 'simulated' if config.data.features == SIMULATED else data_root(config.human.root)


def _embedding_files(config: ConfigDict, folder: pathlib.Path, names: Iterable[str]) -> list[str]:
    """The file that holds each of some embeddings of the concepts."""
    root = _root(config, folder)
    if config.data.features == SIMULATED:
        return [str(root / _EMBEDDINGS) for _ in names]
    root = root / 'things' if (root / 'things').is_dir() else root
    return [str(root / str(things.load_embedding(root, name).provenance['file'])) for name in names]


def _given(config: ConfigDict, name: str, compared: _Compared, folder: pathlib.Path) -> dict[str, Any]:
    """What every comparison is given."""
    human = config[name].human.to_dict()
    return dict(
        features=compared.paths,
        arrays=(),
        names=compared.names,
        groups=compared.groups,
        reference=BASE,
        human={**human, 'root': str(_root(config, folder))},
    )


def _without_human(section: ConfigDict) -> ConfigDict:
    return ConfigDict({key: value for key, value in section.items() if key != 'human'})


def _odd_one_out(config: ConfigDict, compared: _Compared, folder: pathlib.Path) -> Stage:
    is_things = config.odd_one_out.human.name == 'things'
    given = _given(config, 'odd_one_out', compared, folder) | dict(
        **_ALL_HAVE_IDS,
        embeddings=tuple(config.human.embeddings) if is_things else (),
        simulated=dict(n_stimuli=0, n_triplets=0, n_subjects=0),
    )
    made = stage_config('odd_one_out', config, _without_human(config.odd_one_out), **given)
    return Stage('odd_one_out', made, compared.inputs)


def _learning(config: ConfigDict, compared: _Compared, folder: pathlib.Path) -> Stage:
    """People's embeddings are models here, too; one of them holds the dimensions of the rules."""
    section = {key: value for key, value in config.learning.items() if key not in ('human', 'rule')}
    references = tuple(config.human.embeddings)
    given = _given(config, 'learning', compared, folder)
    given['features'] += tuple(_embedding_files(config, folder, references))
    given['arrays'] = ('',) * len(compared.names) + references
    given['names'] += references
    given['groups'] += ('',) * len(references)
    rule = {'file': '', **config.learning.rule.to_dict()}
    if rule['array']:
        [rule['file']] = _embedding_files(config, folder, [rule['array']])
    simulated = dict(n_participants=0, n_trials=0, n_stimuli=0)
    made = stage_config('learning', config, ConfigDict(section), **given, rule=rule, simulated=simulated)
    inputs = (*compared.inputs, *([pathlib.Path(rule['file'])] if rule['file'] else []))
    return Stage('learning', made, inputs, places=('features', 'file'))


def _geometry(config: ConfigDict, compared: _Compared, folder: pathlib.Path) -> Stage:
    given = _given(config, 'geometry', compared, folder) | dict(
        **_ALL_HAVE_IDS, embeddings=tuple(config.human.embeddings), simulated=dict(n_stimuli=0)
    )
    return Stage(
        'geometry', stage_config('geometry', config, _without_human(config.geometry), **given), compared.inputs
    )
