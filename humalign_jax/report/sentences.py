"""Sentences with scores in them: the page links each score to the row that says where it comes from."""

import dataclasses
from collections.abc import Sequence

from humalign_jax.report import numbers
from humalign_jax.report.study import Entry

Part = str | Entry


@dataclasses.dataclass(frozen=True)
class Sentence:
    """Words and the scores between them."""

    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """Without links, for a terminal."""
        return ''.join(part if isinstance(part, str) else number(part) for part in self.parts)


@dataclasses.dataclass(frozen=True)
class Passage:
    """A heading and its sentences."""

    heading: str
    sentences: tuple[Sentence, ...]


def say(*parts: Part) -> Sentence:
    """A sentence of words and scores."""
    return Sentence(parts)


def passages_of(*headed: tuple[str, Sequence[Sentence]]) -> tuple[Passage, ...]:
    """Headings with their sentences; those without a sentence are left out."""
    return tuple(Passage(heading, tuple(sentences)) for heading, sentences in headed if sentences)


def number(entry: Entry) -> str:
    """A score inside a sentence: value and interval."""
    return numbers.score_text(entry.score)


def listed(entries: Sequence[Entry]) -> list[Part]:
    """name (number), name (number)"""
    parts: list[Part] = []
    for entry in entries:
        parts += [f'{entry.model} (', entry, '), ']
    return [*parts[:-1], ')']


def capital(text: str) -> str:
    """The text with a capital letter first."""
    return text[:1].upper() + text[1:]
