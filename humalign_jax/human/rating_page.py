"""One self-contained HTML page on which a person rates how similar the two images of each pair are.

The page fetches nothing and sends nothing. Each rater sees the pairs in a random order of their own; answers stay in
the browser until the last pair, when the page offers them as a table that `human.ratings.read_ratings` reads.
"""

import base64
import dataclasses
import importlib.resources
import io
from collections.abc import Sequence

import jinja2
import numpy as np
from PIL import Image

from humalign_jax import storage


@dataclasses.dataclass(frozen=True)
class RatedPair:
    """A pair of images as its row of the table names it.

    Attributes:
        name: Pair id.
        category: Class of both images.
        a: What the table says of the first image: its number or its stimulus id.
        b: The same of the second image.
        image_a: uint8, [h, w, c] with one or three channels.
        image_b: Likewise.
    """

    name: str
    category: str
    a: str
    b: str
    image_a: np.ndarray
    image_b: np.ndarray


@dataclasses.dataclass(frozen=True)
class Wording:
    """What the page says.

    Attributes:
        title: Name of the study.
        question: Stands above every pair.
        lowest: What a rating of 1 means.
        highest: What a rating of 10 means.
    """

    title: str
    question: str
    lowest: str
    highest: str


def render(pairs: Sequence[RatedPair], wording: Wording, *, columns: str, invert: bool) -> str:
    """The page's HTML.

    Args:
        pairs: The pairs, in the order of their ids.
        wording: What the page says.
        columns: Beginning of the table's columns for the images: 'test_idx' or 'stimulus'.
        invert: Show images as negatives, such as white digits on black in black on white.
    """
    rows = [[pair.name, pair.category, pair.a, pair.b] for pair in pairs]
    images = [[png_uri(255 - one if invert else one) for one in (pair.image_a, pair.image_b)] for pair in pairs]
    study = {
        'id': storage.text_digest(repr((rows, images, wording)))[:16],  # answers to another study are never taken up
        'columns': ['pair_id', 'digit', f'{columns}_a', f'{columns}_b', 'rater_id', 'rating'],
        'rows': rows,
        'images': images,
    }
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template('rating_page.html.j2').render(wording=wording, study=study)


def png_uri(image: np.ndarray) -> str:
    """An image, uint8 [h, w, c], as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, 'png')
    return f'data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}'


def _template(name: str) -> str:
    return (importlib.resources.files('humalign_jax.human') / 'templates' / name).read_text(encoding='utf-8')
