"""Tuning towards the brain: accuracy kept against neural fit over alpha, with the controls as marks."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import matplotlib.figure

from humalign_jax.records import Score
from humalign_jax.report import figures, numbers
from humalign_jax.report.columns import Column, table_of
from humalign_jax.report.figures import Group
from humalign_jax.report.plots import pareto, style
from humalign_jax.report.section import Block, Main, Options, Section
from humalign_jax.report.sentences import Passage, Sentence, passages_of, say
from humalign_jax.report.study import Entry, Study
from humalign_jax.report.tables import Table

_TITLE = 'Tuning towards the brain'
_FALL, _R, _R2 = 'tuning/accuracy_fall', 'tuning/voxel_r', 'tuning/noise_normalised_r2'
_BEFORE, _KL = 'tuning/accuracy_before', 'tuning/distillation'
_CONTROLS = {
    'shuffled': 'shuffled responses',
    'distillation': 'distillation only',
    'untuned': 'not tuned',
}


@dataclasses.dataclass(frozen=True)
class _Run:
    """The scores of one tuned network, one of each name and region."""

    fall: Entry
    r: Mapping[str, Entry]
    others: Mapping[str, Entry]

    @property
    def is_control(self) -> bool:
        return self.fall.get('condition') in _CONTROLS

    @property
    def alpha(self) -> float:
        return float(self.fall.get('distillation_weight'))

    @property
    def name(self) -> str:
        """Network, recipe, condition and seed."""
        about = self.fall.score.provenance
        kind = _CONTROLS.get(str(about['condition']), f'α = {self.alpha:g}')
        return f'{about["model"]}, {about["recipe"]}, {kind}, seed {about["seed"]}'


def section(study: Study, options: Options) -> Section | None:
    """The Pareto curves and a table of each network; None without scores."""
    runs = _runs(study)
    networks = list(dict.fromkeys(str(run.fall.score.provenance['model']) for run in runs))
    blocks: list[Block] = []
    for number, network in enumerate(networks):
        of_network = [run for run in runs if run.fall.score.provenance['model'] == network]
        blocks += [block for block in (_figure(options, network, of_network, number),) if block is not None]
        blocks += [block for block in (_table(study, network, of_network, number),) if block is not None]
    roi = next((roi for run in runs for roi in run.r), '')
    main = Main(f'correlation with voxels of {roi}', {run.name: run.r[roi] for run in runs if roi in run.r})
    return Section(93, 'tuning', _TITLE, tuple(blocks), passages(study), main) if blocks else None


def passages(study: Study) -> tuple[Passage, ...]:
    """What each recipe costs and gains at its best neural fit, and what the controls reach."""
    runs = _runs(study)
    networks = dict.fromkeys(str(run.fall.score.provenance['model']) for run in runs)
    said = [sentence for network in networks for sentence in _said(network, runs)]
    return passages_of((_TITLE, said))


def _runs(study: Study) -> list[_Run]:
    """Tuned networks with accuracy and fit, in the order of recipe and alpha."""
    found = []
    for fall in study.find(_FALL):
        of_run = [entry for entry in study.entries if entry.run == fall.run]
        r = {str(entry.get('roi')): entry for entry in of_run if entry.score.name == _R}
        others = {}
        for entry in of_run:
            others.setdefault(entry.score.name, entry)
        if r:
            found.append(_Run(fall, r, others))
    return sorted(found, key=lambda run: (run.is_control, str(run.fall.get('recipe')), run.alpha, run.name))


def _kept(fall: Entry) -> Score:
    """Change of accuracy, in percentage points."""
    score = fall.score
    return dataclasses.replace(score, value=-100 * score.value, low=-100 * score.high, high=-100 * score.low)


def _figure(options: Options, network: str, runs: Sequence[_Run], number: int) -> Group | None:
    """A panel for each region."""
    pictures = []
    for roi in dict.fromkeys(roi for run in runs for roi in run.r):
        lines: dict[str, list[pareto.Point]] = {}
        marks: dict[str, list[pareto.Point]] = {}
        several = len({run.fall.get('seed') for run in runs}) > 1
        for run in (run for run in runs if roi in run.r):
            seed = f', seed {run.fall.get("seed")}' if several else ''
            if run.is_control:
                group = marks.setdefault(_CONTROLS[str(run.fall.get('condition'))], [])
            else:
                group = lines.setdefault(f'{run.fall.get("recipe")}{seed}', [])
            words = '' if run.is_control else f'α {run.alpha:g}'
            group.append((run.r[roi].score, _kept(run.fall), words))
        mark = ' (simulated)' if any(entry.simulated for run in runs for entry in run.r.values()) else ''
        with style.figure_style():
            figure = matplotlib.figure.Figure(figsize=(4.6, 3.4), layout='constrained')
            ax = figure.subplots()
            pareto.plot_pareto(
                ax, lines, marks, xlabel=f'Mean voxel r, {roi}{mark}', ylabel='Change of accuracy (percentage points)'
            )
            ax.axhline(0.0, color=style.GREY, linewidth=0.6, zorder=0)
            style.legend_below(figure, ax)
        alt = f'{network}, {roi}: ' + '; '.join(
            f'{run.name}: accuracy {numbers.text(_kept(run.fall).value, 1)} points, voxel r '
            f'{numbers.value_text(run.r[roi].score)}'
            for run in runs
            if roi in run.r
        )
        pictures.append(figures.picture_of(figure, f'{alt}.', title=roi))
        figures.save(figure, options.figures, f'tuning_{number}_{len(pictures) - 1}')
    if not pictures:
        return None
    caption = (
        f'{network}: accuracy kept on the test images against the fit to held-out voxels, along the weight of '
        'distillation α, with 95 % intervals over images. Up and to the right is better. Single marks are controls.'
    )
    return Group(f'tuning_{number}', caption, tuple(pictures))


def _table(study: Study, network: str, runs: Sequence[_Run], number: int) -> Table | None:
    def of(name: str) -> dict[str, Entry]:
        return {run.name: run.others[name] for run in runs if name in run.others}

    columns = [Column('Accuracy', 'larger', of('accuracy')), Column('Accuracy before', 'none', of(_BEFORE))]
    columns.append(Column('Fall of accuracy', 'smaller', {run.name: run.fall for run in runs}))
    for roi in dict.fromkeys(roi for run in runs for roi in run.r):
        columns.append(Column(f'Voxel r, {roi}', 'larger', {run.name: run.r[roi] for run in runs if roi in run.r}))
    columns += [Column('Normalised R2', 'larger', of(_R2)), Column('KL on voxel images, nats', 'smaller', of(_KL))]
    first = runs[0].fall
    notes = (
        'Voxel r: Pearson’s r over held-out images, mean over voxels. Normalised R2: r2 over the share of variance '
        'that is signal. KL: of the tuned network from the network before tuning.',
        f'Layer {first.get("layer")}; {first.get("n_voxel_images")} training images with voxels; '
        f'{numbers.text(float(first.get("epochs")), 0)} epochs.',
    )
    models, controls = (
        list(dict.fromkeys(run.name for run in runs if run.is_control is kind)) for kind in (False, True)
    )
    caption = f'{network}: tuned networks, and below them the controls.'
    return table_of(study, f'tuning_{number}', caption, columns, notes, rows=(models, controls), head='Tuning')


def _said(network: str, runs: Sequence[_Run]) -> list[Sentence]:
    """One sentence for each recipe and control of a network."""
    of_network = [run for run in runs if run.fall.score.provenance['model'] == network]
    sentences = []
    for recipe in dict.fromkeys(str(run.fall.get('recipe')) for run in of_network if not run.is_control):
        tuned = [run for run in of_network if not run.is_control and run.fall.get('recipe') == recipe]
        best = max(tuned, key=_fit)
        r = next(iter(best.r.values()))
        if math.isfinite(r.score.value):
            sentences.append(
                say(
                    f'{network} tuned by the recipe “{recipe}” fits held-out voxels best at α = {best.alpha:g}: mean '
                    'voxel r ', r, ', at a fall of accuracy of ', best.fall, '.',
                )
            )  # fmt: skip
    for condition, words in _CONTROLS.items():
        control = next((run for run in of_network if run.fall.get('condition') == condition), None)
        if control is not None:
            sentences.append(
                say(f'{network}, {words}: voxel r ', next(iter(control.r.values())), ', fall ', control.fall, '.')
            )
    return sentences


def _fit(run: _Run) -> float:
    value = next(iter(run.r.values())).score.value
    return value if math.isfinite(value) else -math.inf
