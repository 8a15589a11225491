"""Allowed values of settings, by the name of the setting: one name means one thing in every config.

`check` reads a whole config before any work. Conditions on several values, such as a batch that must divide among
devices, are checked where the values are used; `settings` checks that keys exist.
"""

import dataclasses
import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections

from humalign_jax import settings

_MOST = 2**31 - 1  # steps, rows and sizes are 32-bit numbers on the devices
_MOST_SEED = 2**32 - 1  # jax keeps 32 bits of a seed: 2**32 would be 0 again


@dataclasses.dataclass(frozen=True)
class _Numbers:
    """Finite numbers within bounds; a setting may also be a nested list of such numbers."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    without_low: bool = False
    without_high: bool = False

    def fits(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not _is_finite(value):
            return False
        if self.whole and not isinstance(value, numbers.Integral):
            return False
        number: Any = value  # numbers.Real has no order for type checkers
        above = number > self.low if self.without_low else number >= self.low
        return above and (number < self.high if self.without_high else number <= self.high)

    def __str__(self) -> str:
        kind = 'a whole number' if self.whole else 'a finite number'
        if self.low == -math.inf:
            return kind
        if self.high in (math.inf, _MOST):
            return f'{kind} above {self.low:g}' if self.without_low else f'{kind}, {self.low:g} or more'
        upper = f'{"below" if self.without_high else "to"} {self.high:.0f}'
        return f'{kind} {"above" if self.without_low else "from"} {self.low:g} {upper}'


class _Text:
    """A text."""

    def fits(self, value: Any) -> bool:
        return isinstance(value, str)

    def __str__(self) -> str:
        return 'a text'


class _Switch:
    """True or False."""

    def fits(self, value: Any) -> bool:
        return isinstance(value, bool)

    def __str__(self) -> str:
        return 'True or False'


_COUNT = _Numbers(low=0, high=_MOST, whole=True)
_POSITIVE_COUNT = _Numbers(low=1, high=_MOST, whole=True)
_POSITIVE = _Numbers(low=0, without_low=True)
_NOT_NEGATIVE = _Numbers(low=0)
_SHARE = _Numbers(low=0, high=1)
_SHARE_BELOW_1 = _Numbers(low=0, high=1, without_high=True)
_ANY = _Numbers()

_BY_NAME: Mapping[str, _Numbers | _Text | _Switch] = {
    'seed': _Numbers(low=0, high=_MOST_SEED, whole=True),
    'seeds': _Numbers(low=0, high=_MOST_SEED, whole=True),
    'split_seed': _COUNT,
    **dict.fromkeys(('folds', 'parts'), _Numbers(low=2, high=_MOST, whole=True)),
    **dict.fromkeys(
        (
            'n_devices', 'max_steps', 'max_images', 'n_images', 'n_bootstrap', 'n_permutations', 'n_models',
            'n_stimuli', 'n_subjects', 'n_validation', 'n_validation_folds', 'n_test', 'which_folds', 'n_influential',
            'n_triplets', 'n_participants', 'n_trials', 'dimensions', 'crop_padding_px', 'warmup_steps',
            'min_positives', 'min_negatives', 'patience', 'after_steps', 'mlp_width', 'n_voxels', 'n_sessions',
            'voxels_per_batch', 'n_directions', 'n_units', 'replay_per_image', 'lookahead_steps',
        ),
        _COUNT,
    ),
    **dict.fromkeys(
        (
            'batch_size', 'keep_checkpoints', 'steps_per_dispatch', 'n_seeds', 'log_every_steps', 'n_draws', 'n_splits',
            'n_train', 'n_observers', 'n_per_class', 'n_samples', 'n_traversed', 'n_dimensions', 'n_pairs',
            'n_between', 'n_classes', 'width_px', 'size_px', 'latent_dim', 'widths', 'stage_sizes', 'image_shape',
            'n_blocks',
            'n_latents', 'k', 'dead_k', 'n_items', 'n_features', 'n_functions', 'n_active',
            'n_simulated', 'length', 'per_epoch', 'n_repeats', 'n_layers', 'n_heads', 'n_weights', 'n_meis',
            'n_references',
        ),
        _POSITIVE_COUNT,
    ),
    **dict.fromkeys(
        (
            'learning_rate', 'epochs', 'eval_every_epochs', 'checkpoint_every_epochs', 'std', 'strengths',
            'max_memory_gb', 'dead_after_epochs', 'perplexity', 'penalties', 'temperature', 'rate_factor',
            'norm_bias_rate',
        ),
        _POSITIVE,
    ),
    **dict.fromkeys(
        (
            'every_epochs', 'pictures_every_epochs', 'kl_warmup_epochs', 'warmup_epochs', 'kl_weight',
            'weight_decay', 'clip_norm', 'start_learning_rate', 'end_learning_rate', 'kl_nats', 'mean_variance',
            'reconstruction_weight', 'penalty', 'distillation_weight', 'dead_weight', 'noise_sd', 'min_improvement',
            'lookahead_power',
        ),
        _NOT_NEGATIVE,
    ),
    **dict.fromkeys(('human_weight', 'min_accuracy', 'min_ceiling', 'lookahead_share'), _SHARE),
    **dict.fromkeys(
        (
            'label_smoothing', 'dropout_rate', 'momentum', 'test_share', 'held_out_items', 'held_out', 'quantiles',
            'ema_decay',
        ),
        _SHARE_BELOW_1,
    ),
    **dict.fromkeys(('mean', 'steps'), _ANY),
    **dict.fromkeys(
        (
            'arms', 'arrays', 'baselines', 'best_metric', 'best_mode', 'dataset', 'dtype', 'experiment',
            'features', 'files', 'fit', 'headline', 'human', 'human_measure', 'ids_file', 'image', 'include', 'index',
            'join', 'kind', 'labels_file', 'layer', 'layers', 'levels', 'measure', 'measures', 'model', 'model_name',
            'name', 'names', 'network', 'noise_files', 'over', 'pairs', 'root', 'run', 'schedule', 'split', 'study',
            'target', 'title', 'unpool', 'validation', 'ids', 'file', 'key', 'renames', 'categories', 'highest',
            'lowest', 'question', 'images', 'rdm', 'runs', 'source', 'embeddings', 'numbering', 'sets', 'array',
            'ids_column', 'core', 'export', 'held_out_file', 'held_out_items_file', 'main', 'mid', 'no_decay', 'raw',
            'scaling', 'use', 'compare', 'groups', 'stimuli_file', 'held_out_by', 'methods', 'coarse', 'fine',
            'bands', 'by', 'id_column', 'identification', 'inner', 'paths', 'rois', 'subjects', 'net', 'modes',
            'kinds', 'conditions', 'baseline', 'sae', 'condition', 'neural_loss', 'pool', 'recipe', 'crop_padding_mode',
            'flip_mode',
        ),
        _Text(),
    ),
    **dict.fromkeys(
        (
            'bottleneck', 'decay_all', 'decoder', 'flip', 'grey', 'invert', 'keep_maxpool', 'nesterov', 'pixels',
            'test_curves', 'write_rdms', 'repeats_within', 'unit_norm', 'embed', 'average', 'new_stimuli', 'scale',
            'zscore_sessions', 'positive', 'train_statistics', 'zero_start', 'mirrored_views', 'identity_init',
        ),
        _Switch(),
    ),
}  # fmt: skip
_BY_SECTION = {'recipe_epochs': _POSITIVE, 'runs': _Text()}  # sections whose keys are names of networks
_LISTS = (
    'arms', 'arrays', 'baselines', 'files', 'headline', 'include', 'layers', 'levels', 'mean', 'measures', 'names',
    'noise_files', 'pairs', 'std', 'steps', 'strengths', 'which_folds', 'widths', 'categories', 'ids', 'flatten',
    'renames', 'runs', 'embeddings', 'sets', 'dimensions', 'export', 'no_decay', 'groups', 'methods', 'seeds',
    'compare', 'bands', 'identification', 'paths', 'penalties', 'rois', 'subjects', 'modes', 'kinds', 'conditions',
    'quantiles',
)  # fmt: skip


def check(config: Mapping[str, Any] | ml_collections.ConfigDict, where: str = 'config') -> None:
    """Raises ValueError that names the first setting whose value is not allowed.

    A setting without a rule here may have any value except a number that is not finite.
    """
    for path, value in leaves(settings.plain(config), where):
        section, name = path.split('.')[-2:]
        rule = rule_of(section, name)
        if name in _LISTS and not isinstance(value, tuple | list):
            raise ValueError(f'{path}={_shown(value)} cannot be: a list is expected, such as ({value!r},).')
        for one in _each(value):
            if rule is not None and not rule.fits(one):
                raise ValueError(f'{path}={_shown(value)} cannot be: {rule} is expected{_place(value, one)}.')
            if isinstance(one, numbers.Real) and not _is_finite(one):
                raise ValueError(f'{path}={_shown(value)} cannot be: a finite number is expected{_place(value, one)}.')


def rule_of(section: str, name: str) -> _Numbers | _Text | _Switch | None:
    """The rule of a setting in a section, None if it has none."""
    return _BY_SECTION.get(section, _BY_NAME.get(name))


def leaves(value: Any, where: str = 'config') -> Iterator[tuple[str, Any]]:
    """All settings below a section with their places, such as ('config.train.epochs', 20.0)."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from leaves(below, f'{where}.{key}')
    else:
        yield where, value


def _each(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list):
        for one in value:
            yield from _each(one)
    else:
        yield value


def _is_finite(value: numbers.Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floating-point ones
        return False


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, str) else repr(value)
    return text if len(text) < 100 else f'{text[:97]}...'


def _place(value: Any, one: Any) -> str:
    return f', not {one!r}' if isinstance(value, tuple | list) else ''
