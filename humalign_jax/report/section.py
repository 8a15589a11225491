"""A section of the page: its place, its content and its sentences; and what every section is given.

A file of `sections/` has a function `section(study, options) -> Section | None`. The page finds the files by itself, so
that adding a file adds a section.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from humalign_jax.report.figures import Group, Picture
from humalign_jax.report.sentences import Passage
from humalign_jax.report.study import Entry
from humalign_jax.report.tables import Table

PANEL_INCHES = (3.5, 2.7)


@dataclasses.dataclass(frozen=True)
class Unlike:
    """One image and what people and the model call it.

    Attributes:
        stimulus: Its id.
        label: Its published label, '' if not known.
        people: Names with their shares, most frequent first; one name with NaN if only that is known; () if none is.
        model: The same of the model's probabilities.
        value: By how much they differ, in nats.
        measure: Column of per_image.npy that says so.
        picture: The image; None if its pixels were not extracted.
    """

    stimulus: str
    label: str
    people: tuple[tuple[str, float], ...]
    model: tuple[tuple[str, float], ...]
    value: float
    measure: str
    picture: Picture | None


@dataclasses.dataclass(frozen=True)
class Cards:
    """Images on which one model is least like people."""

    model: str
    unlike: tuple[Unlike, ...]
    measure: str


@dataclasses.dataclass(frozen=True)
class Behind:
    """The images behind a cell of a figure.

    Attributes:
        name: Its name in links.
        text: What the images are.
        picture: The images side by side; None where the page does not show them.
        stimuli: Their ids.
    """

    name: str
    text: str
    picture: Picture | None
    stimuli: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Images behind the cells of figures, folded away until they are asked for."""

    title: str
    parts: tuple[Behind, ...]


@dataclasses.dataclass(frozen=True)
class Words:
    """A paragraph, or a heading of the third level."""

    text: str
    is_heading: bool = False


@dataclasses.dataclass(frozen=True)
class Main:
    """The score that a section turns on; the page's answer is made from that of its first section with one.

    Attributes:
        label: What it measures, as the end of a sentence, such as 'odd-one-out accuracy'.
        of: Scores of models and baselines, by the name of their row.
        better: 'larger' or 'smaller'.
        lines: Further levels to compare with, such as chance, by name.
    """

    label: str
    of: Mapping[str, Entry]
    better: str = 'larger'
    lines: Mapping[str, float] = dataclasses.field(default_factory=dict)


Block = Table | Group | Cards | Gallery | Words | Passage


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        place: Its place on the page: sections stand in the order of this number.
        name: Its name in links, such as 'soft-labels'.
        title: Its heading.
        blocks: Tables, figures and paragraphs in their order; the page leaves out a section without any.
        passages: Its sentences, which stand in the reading of the whole study.
        main: The score that it turns on; None if there is no single one.
    """

    place: int
    name: str
    title: str
    blocks: tuple[Block, ...]
    passages: tuple[Passage, ...] = ()
    main: Main | None = None


@dataclasses.dataclass(frozen=True)
class Options:
    """What a page shows.

    Attributes:
        n_images: Most human-unlike images of each model.
        recipe_epochs: Epochs of the full recipe of each kind of model, by `config.model.name`.
        claims: Claims that the page judges, see `claims.KINDS`.
        figures: Folder for PDF and PNG files.
    """

    n_images: int
    recipe_epochs: Mapping[str, float]
    claims: Sequence[Sequence[str]]
    figures: pathlib.Path
