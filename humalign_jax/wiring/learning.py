"""What the experiment `learning` compares: choices of people, features of stimuli, the true rule; or all simulated."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
from ml_collections import ConfigDict

from humalign_jax import data
from humalign_jax.alignment import learning
from humalign_jax.data.files import data_root
from humalign_jax.human import learning as tables
from humalign_jax.human import things
from humalign_jax.human_data import Choices
from humalign_jax.records import Features
from humalign_jax.rsa import files, pairs
from humalign_jax.wiring import named_features

THINGS = 'things'


@dataclasses.dataclass(frozen=True)
class LearningData:
    """What is compared.

    Attributes:
        sets: Choices in one task or in several.
        models: Features of the stimuli, one record for each model.
        rule: Dimensions of which each participant's feedback follows one, [n, c]; None if they are not known.
        groups: Group of each model that is in one, by the model's name.
    """

    sets: list[Choices]
    models: list[Features]
    rule: Features | None
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict)


def load(config: ConfigDict) -> LearningData:
    """The files named in the config.

    Raises:
        ValueError: A file is missing or wrong, has no stimulus ids, or two models have one name.
    """
    if not config.features or not config.human.sets:
        raise ValueError(
            'config.features must name at least one folder or file, and config.human.sets one of '
            f'{", ".join(tables.SETS)}: --config.features=\'("net.npz",)\'; or use configs/learning.py:tiny for '
            'simulated data.'
        )
    n = len(config.features)
    arrays, names, groups = (tuple(config[key]) or ('',) * n for key in ('arrays', 'names', 'groups'))
    for key, values in (('arrays', arrays), ('names', names), ('groups', groups)):
        if len(values) != n:
            raise ValueError(f'config.{key} has {len(values)} entries for {n} of config.features.')
    root = data_root(config.human.root)
    sets = [
        tables.load_set(name, root) if name in tables.SETS else tables.read_choices(_table(name, root))
        for name in tuple(config.human.sets)
    ]
    models = [_read(config, root, *one) for one in zip(tuple(config.features), arrays, names)]
    repeated = [model.name for k, model in enumerate(models) if model.name in [one.name for one in models[:k]]]
    if repeated:
        raise ValueError(f'two of config.features are named {repeated[0]!r}: give each a name with config.names.')
    of_model = {model.name: group for model, group in zip(models, groups) if group}
    both = [model.name for model in models if model.name in of_model.values()]
    if both:
        raise ValueError(f'config.groups: {both[0]!r} is the name of a model too; name the group otherwise.')
    rule = None
    if config.rule.file:
        whole = _read(config, root, config.rule.file, config.rule.array, 'rule')
        dimensions = tuple(config.rule.dimensions)
        if not dimensions or max(dimensions) >= whole.values.shape[1]:
            raise ValueError(f'config.rule.dimensions={dimensions}: {config.rule.file} has {whole.values.shape[1]}.')
        rule = dataclasses.replace(whole, values=np.asarray(whole.values)[:, list(dimensions)])
    return LearningData(sets, models, rule, of_model)


def _table(name: str, root: pathlib.Path) -> pathlib.Path:
    """A table by its path, which may start from the folder with the choices."""
    path = pathlib.Path(name).expanduser()
    return path if path.is_file() else root / path


def _read(config: ConfigDict, root: pathlib.Path, path: str, array: str, name: str) -> Features:
    """Features of a file, or of the layer `array` of a folder, with stimulus ids."""
    found, place = named_features.read_named(path, array, name)
    if not pairs.has_ids(found):
        origin = 'given' if config.stimuli.ids_file else 'dataset'
        ids, about = _ids(config, root, place, len(found.ids)), {**found.provenance, 'ids': origin}
        found = dataclasses.replace(found, ids=ids, provenance=about)
    return found


def _ids(config: ConfigDict, root: pathlib.Path, path: pathlib.Path, n: int) -> np.ndarray:
    """Ids of the n rows of a file without ids, as `config.stimuli` says."""
    dataset, ids_file = config.stimuli.dataset, config.stimuli.ids_file
    if dataset not in ('', THINGS):
        raise ValueError(f'config.stimuli.dataset={dataset!r} must be {THINGS!r} or empty.')
    if not dataset and not ids_file:
        raise ValueError(
            f'{path} has no stimulus ids, and everything joins by id. If its rows are the THINGS concepts in the '
            f'order of unique_id: --config.stimuli.dataset={THINGS}; else list the ids, one a line for each row: '
            '--config.stimuli.ids_file=FILE.'
        )
    ids = files.load_ids(ids_file) if ids_file else tables.read_concepts(root)
    if len(ids) != n:
        raise ValueError(f'{path} has {n} rows, but {ids_file or things.CONCEPTS_FILE} {len(ids)} ids.')
    return ids


def simulate(config: ConfigDict) -> LearningData:
    """Learners of known rule: rendered images, of which two latents are the rules of the tasks.

    Each simulated participant learns from the true dimension and chooses with noise. Models see all four latents, the
    pixels, or numbers without meaning.
    """
    sizes = config.simulated
    images = data.load('synthetic', 'test', n_test=sizes.n_stimuli, seed=config.seed)
    np_rng = np.random.default_rng(config.seed)
    latents = images.extras['latent']
    about = {'simulated': True, 'seed': config.seed}

    def features(values: np.ndarray, name: str) -> Features:
        return Features(values, images.ids, name, about)

    pixels = images.images.reshape(len(images), -1) / 255.0
    models = [
        features(latents, 'all latents'),
        features(pixels, 'pixels'),
        features(np_rng.normal(size=latents.shape), 'noise'),
    ]
    rule = features(latents[:, :2], 'rule')
    given = {'n_participants': sizes.n_participants, 'n_trials': sizes.n_trials, 'strengths': tuple(config.strengths)}
    sets = [simulate_people(task, rule, np_rng, **given) for task in tables.TASKS]
    return LearningData(sets, models, rule)


def simulate_people(
    task: str, rule: Features, np_rng: np.random.Generator, *, n_participants: int, n_trials: int,
    strengths: tuple[float, ...],
) -> Choices:  # fmt: skip
    """Choices of simulated participants, each with feedback by one dimension of the rule, from which alone they learn.

    Args:
        task: One of `human.learning.TASKS`.
        rule: The dimensions, [n, c]; the participants take turns with them.
        np_rng: Draws stimuli and choices.
        n_participants: Number of participants.
        n_trials: Trials of each.
        strengths: Penalties of the learner, see `alignment.learning.learned_values`.
    """
    p, t, k, c = n_participants, n_trials, 1 if task == 'category' else 2, rule.values.shape[1]
    rows = np.concatenate([[np_rng.permutation(len(rule.ids))[:k] for _ in range(t)] for _ in range(p)])
    values = np.asarray(rule.values)[rows]  # [p t, k, c]
    dimension = np.repeat(np.arange(p) % c, t)
    shown = np.take_along_axis(values, dimension[:, None, None], axis=2)  # [p t, k, 1]
    of_rule = shown[..., 0]
    if task == 'category':
        middle = np.median(np.asarray(rule.values), axis=0)
        feedback, options = (of_rule > middle[dimension][:, None]).astype(float), ('0', '1')
    else:
        feedback, options = np.rint(np.clip(50 + 20 * of_rule, 0, 100)), ('left', 'right')
    choices = Choices(
        participants=np.repeat([f'p{number}' for number in range(p)], t),
        trials=np.tile(np.arange(1, t + 1), p),
        stimuli=np.asarray(rule.ids)[rows],
        choices=np.zeros(p * t, np.int64),
        feedback=feedback,
        options=options,
        name=f'simulated {task} learning',
        simulated=True,
    )
    learned = learning.learned_values(choices, shown, strengths)
    lead = learned[:, 1] - learned[:, 0]
    lead = 3.0 * lead / np.sqrt((lead**2).mean())
    chosen = (np_rng.random(p * t) < 1.0 / (1.0 + np.exp(-lead))).astype(np.int64)
    return dataclasses.replace(choices, choices=chosen)
