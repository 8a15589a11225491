"""Pictures of simulated objects from latents and nuisance parameters.

An object is a body whose outline is a circle with a few harmonics, with a stripe texture, a head and a colour, on a
shaded background. Every attribute is a smooth function of the latents, so objects with similar latents look
alike, and a mixture of two categories looks intermediate.
"""

import dataclasses

import numpy as np

_CHUNK = 128  # images at a time, so that the arrays of one chunk stay in the processor's cache


@dataclasses.dataclass(frozen=True)
class Nuisance:
    """Parameters that vary between images and are independent of the latents; all [n] unless noted.

    Attributes:
        angle: Tilt of the object, radians.
        size: Radius of the object as a fraction of half the image.
        shift: Centre of the object in the same unit, [n, 2], x and y.
        hue: Rotation of the body's colour, radians.
        contrast: Brightness of the body relative to the background, signed, 0 to 1.
        ground: Brightness of the background, 0 to 1.
        slope: Gradient of the background's brightness, [n, 2].
        phase: Phase of the texture, radians.
    """

    angle: np.ndarray
    size: np.ndarray
    shift: np.ndarray
    hue: np.ndarray
    contrast: np.ndarray
    ground: np.ndarray
    slope: np.ndarray
    phase: np.ndarray


def draw_nuisance(np_rng: np.random.Generator, n: int) -> Nuisance:
    """Nuisance parameters of n images; the first m do not depend on n."""
    u = np_rng.random((n, 11))
    signed = 2.0 * u - 1.0
    return Nuisance(
        angle=0.45 * signed[:, 0],
        size=0.48 + 0.09 * signed[:, 1],
        shift=0.17 * signed[:, 2:4],
        hue=0.7 * signed[:, 4],
        contrast=np.where(u[:, 5] < 0.85, 1.0, -1.0) * (0.2 + 0.3 * u[:, 6]),
        ground=0.5 + 0.18 * signed[:, 7],
        slope=0.22 * signed[:, 8:10],
        phase=2.0 * np.pi * u[:, 10],
    )


def render(latent: np.ndarray, nuisance: Nuisance, noise: np.ndarray, *, image: str) -> np.ndarray:
    """Pictures of n objects.

    Args:
        latent: Latents of the objects, [n, 4]; see `humalign_jax.data.synthetic`.
        nuisance: Nuisance parameters of the images.
        noise: Added to every pixel, in units of the full range, [n, h, w].
        image: 'rgb' for three channels, 'grey' for one.

    Returns:
        uint8, [n, h, w, c].
    """
    n, size_px = noise.shape[:2]
    pictures = np.empty((n, size_px, size_px, 3 if image == 'rgb' else 1), np.uint8)
    fields = {field.name: getattr(nuisance, field.name) for field in dataclasses.fields(nuisance)}
    for first in range(0, n, _CHUNK):
        rows = slice(first, first + _CHUNK)
        part = Nuisance(**{name: values[rows].astype(np.float32) for name, values in fields.items()})
        colours = _render_chunk(latent[rows].astype(np.float32), part, noise[rows])
        if image == 'grey':
            colours = colours @ np.array([[0.299], [0.587], [0.114]], np.float32)  # luma of ITU-R BT.601
        pictures[rows] = np.clip(colours * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)
    return pictures


def _render_chunk(latent: np.ndarray, nuisance: Nuisance, noise: np.ndarray) -> np.ndarray:
    """Colours 0 to 1 (before clipping): [m, 4], ..., [m, h, w] -> [m, h, w, 3]."""
    kind, group, first, second = (column[:, None, None] for column in latent.T)  # each [m, 1, 1]
    column = {field.name: getattr(nuisance, field.name) for field in dataclasses.fields(nuisance)}
    angle, size, hue, contrast, ground, phase = (
        column[name][:, None, None] for name in ('angle', 'size', 'hue', 'contrast', 'ground', 'phase')
    )
    axis = (np.arange(noise.shape[1], dtype=np.float32) + 0.5) * (2.0 / noise.shape[1]) - 1.0
    x, y = axis[None, None, :], axis[None, :, None]
    background = ground + nuisance.slope[:, 0, None, None] * x + nuisance.slope[:, 1, None, None] * y

    dx, dy = x - nuisance.shift[:, 0, None, None], y - nuisance.shift[:, 1, None, None]
    cos, sin = np.cos(angle), np.sin(angle)
    u, v = (dx * cos + dy * sin) / size, (dy * cos - dx * sin) / size  # the object's own axes, unit radius
    radius = np.sqrt(u * u + v * v) + 1e-6
    # cos(k t) for the angle t from the upright, by the recurrence of the Chebyshev polynomials.
    c1 = -v / radius
    c2 = 2.0 * c1 * c1 - 1.0
    c3 = 2.0 * c1 * c2 - c1
    c4 = 2.0 * c2 * c2 - 1.0
    outline = 1.0 + 0.30 * first * c2 + 0.28 * second * c3 - 0.13 * kind * c4
    blur = 3.0 / noise.shape[1] / size  # an edge about one and a half pixels wide
    body = _step((outline - radius) / blur)

    # The head: large for one kind, absent for the other.
    head_radius = 0.26 - 0.26 * kind
    head = _step((head_radius - np.sqrt(u * u + (v + 1.05) ** 2)) / blur)

    stripes = np.sin((4.5 + 1.5 * kind) * (v - 0.4 * group * u) + phase)
    texture = (0.5 + 0.7 * group) * 0.55 * stripes
    brightness = ground + contrast * (1.0 + texture)
    turn = hue + 1.7 * group + 0.4 * first
    chroma = 0.17 - 0.05 * kind
    cover = np.maximum(body, head)
    colours = np.empty((*cover.shape, 3), np.float32)
    for channel in range(3):
        tint = chroma * np.cos(turn - 2.0 * np.pi / 3.0 * channel)
        colours[..., channel] = background + cover * (brightness + tint - background) + noise
    return colours


def _step(x: np.ndarray) -> np.ndarray:
    """0 below -1, 1 above 1, smooth between."""
    t = np.clip(0.5 * x + 0.5, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
