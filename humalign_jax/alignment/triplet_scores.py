"""Odd-one-out predictions and choice models turned into scores, over participants and over triplets."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from humalign_jax.alignment import clusters, odd_one_out, scoring
from humalign_jax.alignment.odd_one_out import Repeats
from humalign_jax.alignment.triplet_choices import CHANCE_NLL, ChoiceFit
from humalign_jax.human_data import Triplets
from humalign_jax.records import Score

ACCURACY, NLL, R2 = 'odd_one_out/accuracy', 'odd_one_out/nll', 'odd_one_out/mcfadden_r2'
POSITION_BIAS = 'position bias alone'  # the baseline that knows no stimulus
ALL = 'all'
_NAN = float('nan')


@dataclasses.dataclass(frozen=True)
class Predicted:
    """What one representation, or several networks of one kind on average, says of all trials.

    Attributes:
        name: Its name.
        about: Provenance of its scores.
        credit: Zero-shot credit of each trial, see `odd_one_out.TripletPredictions`, [t].
        choices: Its choice model; None where there is none.
    """

    name: str
    about: Mapping[str, Any]
    credit: np.ndarray
    choices: ChoiceFit | None


def pooled(members: Sequence[Predicted], name: str) -> Predicted:
    """The mean of several networks of one kind, such as those of several seeds, trial by trial.

    Its accuracy and its NLL are those that one of these networks has on average, not those of an ensemble.
    """
    about = scoring.about_networks(members[0].about['group'], {one.name: one.about for one in members})
    fits = [one.choices for one in members if one.choices is not None]
    choices = None
    if len(fits) == len(members):
        choices = dataclasses.replace(
            fits[0],
            nll=np.mean([fit.nll for fit in fits], axis=0),
            temperature=np.exp(np.mean([np.log(fit.temperature) for fit in fits], axis=0)),
            bias=np.mean([fit.bias for fit in fits], axis=0),
        )
    credit = np.stack([one.credit for one in members]).mean(axis=0, dtype=np.float64)
    return Predicted(name, about, credit, choices)


def about_group(one: Predicted) -> dict[str, Any]:
    """What a difference says of a group of networks or of a member of one."""
    return {key: one.about[key] for key in ('group', 'n_networks', 'networks') if key in one.about}


def about_triplets(triplets: Triplets) -> dict[str, Any]:
    """Provenance that all scores about these trials share."""
    people = None if triplets.participants is None else len(np.unique(triplets.participants))
    return {
        'human': triplets.name,
        'simulated': triplets.simulated,
        'chance': odd_one_out.CHANCE,
        **({} if people is None else {'n_participants': people}),
        **{f'human_{key}': value for key, value in triplets.provenance.items()},
    }


def ceilings_of(triplets: Triplets, *, within: bool) -> dict[str, Repeats | None]:
    """Consistency of repeated triplets, over all trials and of each kind of trial."""
    return {kind: odd_one_out.repeats(triplets.take(mask), within=within) for kind, mask in _kinds(triplets)}


def scores_of(
    one: Predicted,
    triplets: Triplets,
    about_fit: Mapping[str, Any],
    ceilings: Mapping[str, Repeats | None],
    *,
    n_bootstrap: int,
    seed: int,
) -> list[Score]:
    """`odd_one_out/accuracy` (zero-shot), and the scores of the choice model where there is one.

    Args:
        one: What is scored.
        triplets: The trials.
        about_fit: Provenance of the choice model.
        ceilings: Of `ceilings_of`.
        n_bootstrap: Bootstrap samples of participants.
        seed: Seed of the samples.

    Returns:
        For all trials and each kind of trial (`provenance['trials']`), over participants where they are known, and over
        triplets (`provenance['over']`).
    """
    scores, options = [], {'n_bootstrap': n_bootstrap, 'seed': seed}
    for kind, mask in _kinds(triplets):
        found = ceilings[kind]
        said = {**one.about, 'trials': kind, 'better': 'larger', **_about_ceiling(found)}
        ends = {} if found is None else {'ceiling_lower': found.agreement, 'ceiling_upper': found.majority}
        scores += _both(ACCURACY, one.credit, triplets, mask, said, **options, ceilings=ends)
    if one.choices is not None:
        scores += choice_scores(one.choices, triplets, {**one.about, **about_fit}, ceilings, **options)
    return scores


def choice_scores(
    choices: ChoiceFit,
    triplets: Triplets,
    about: Mapping[str, Any],
    ceilings: Mapping[str, Repeats | None],
    *,
    n_bootstrap: int,
    seed: int,
) -> list[Score]:
    """`odd_one_out/nll`, the held-out negative log-likelihood of a choice, and `odd_one_out/mcfadden_r2`.

    McFadden's R2 is 1 - NLL / ln 3: 0 for chance, below 0 for predictions worse than chance. See `scores_of` for
    the arguments. Trials of participants who are left out are not scored; the provenance counts these participants.
    """
    about = {
        **about,
        'n_fitted': choices.n_participants,
        'n_left_out_few_trials': choices.n_few,
        'n_left_out_one_place': choices.n_one_place,
        'temperature': float(np.median(choices.temperature)),  # in units of the similarity
    }
    scored, scores = np.isfinite(choices.nll), []
    for kind, mask in _kinds(triplets):
        mask = mask & scored
        if not mask.any():
            continue
        found = ceilings[kind]
        said = {**about, 'trials': kind, **_about_ceiling(found)}
        options: dict[str, Any] = {'n_bootstrap': n_bootstrap, 'seed': seed}
        entropy = _NAN if found is None else found.entropy
        for name, values, better, ends, unit in (
            (NLL, choices.nll, 'smaller', {'ceiling_lower': entropy}, {'unit': 'nats'}),
            (R2, 1.0 - choices.nll / CHANCE_NLL, 'larger', {'ceiling_upper': 1.0 - entropy / CHANCE_NLL}, {}),
        ):
            known = {} if found is None else ends
            scores += _both(name, values, triplets, mask, {**said, 'better': better, **unit}, ceilings=known, **options)
    return scores


def difference_scores(
    one: tuple[str, np.ndarray],
    other: tuple[str, np.ndarray],
    triplets: Triplets,
    about: Mapping[str, Any],
    *,
    n_bootstrap: int,
    seed: int,
) -> list[Score]:
    """`odd_one_out/accuracy/difference`, the zero-shot accuracy of one representation less that of another, paired.

    Args:
        one: Name and credit of each trial, [t].
        other: Likewise.
        triplets: The trials.
        about: Provenance.
        n_bootstrap: Bootstrap samples of participants.
        seed: Seed of the samples.
    """
    scores = []
    for kind, mask in _kinds(triplets):
        said = {**about, 'model': one[0], 'other': other[0], 'trials': kind, 'better': 'larger'}
        values = one[1].astype(np.float64) - other[1]
        scores += _both(f'{ACCURACY}/difference', values, triplets, mask, said, n_bootstrap=n_bootstrap, seed=seed)
    return scores


def _kinds(triplets: Triplets) -> Iterator[tuple[str, np.ndarray]]:
    """All trials, then each kind of trial where there are several: its name and its mask [t]."""
    yield ALL, np.ones(len(triplets), bool)
    if triplets.kinds is not None:
        for kind in np.unique(triplets.kinds).tolist():
            yield str(kind), np.asarray(triplets.kinds) == kind


def _both(
    name: str,
    values: np.ndarray,
    triplets: Triplets,
    mask: np.ndarray,
    about: Mapping[str, Any],
    *,
    n_bootstrap: int,
    seed: int,
    ceilings: Mapping[str, float] | None = None,
) -> list[Score]:
    """A mean over the trials in the mask, over participants where they are known, and over triplets."""
    ends = dict(ceilings or {})
    made = []
    if triplets.participants is not None:
        people = np.asarray(triplets.participants)[mask]
        made.append(
            clusters.over_participants(name, values[mask], people, about, n_bootstrap=n_bootstrap, seed=seed, **ends)
        )
    return [*made, clusters.over_sets(name, values[mask], triplets.sets[mask], about, **ends)]


def _about_ceiling(found: Repeats | None) -> dict[str, Any]:
    if found is None:
        return {'ceiling': f'none: fewer than {odd_one_out.LEAST_REPEATED} triplets were shown twice'}
    whose = 'one person' if found.within else 'all people'
    return {
        'ceiling': f'from {found.n_trials} trials of {found.n_sets} repeated triplets, answers of {whose}; accuracy: '
        'lower, an answer by the most frequent of the others, upper, share of the most frequent answer; NLL and R2: '
        'entropy of the answers',
    }
