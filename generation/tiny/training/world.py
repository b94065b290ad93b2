"""The tiny model's whole world: one or two coloured shapes that move in front of a background, drawn with numpy alone.

No torch here: the judge, the tests and the benchmarks read the world too.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

SIZE = 96  # pixels, both ways
FRAMES = 17
FPS = 8

# RGB. Far enough from one another to be distinguished by distance alone.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 44),
    "green": (44, 178, 76),
    "blue": (48, 84, 226),
    "yellow": (246, 214, 52),
    "purple": (146, 62, 200),
    "orange": (244, 136, 30),
    "pink": (246, 128, 188),
    "white": (248, 248, 248),
    "black": (14, 14, 16),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond")
MOTIONS = ("right", "left", "up", "down", "jump", "spin", "grow", "shrink")
# Colour at the top and at the bottom.
BACKGROUNDS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "dark": ((38, 38, 46), (38, 38, 46)),
    "light": ((226, 224, 216), (226, 224, 216)),
    "blue field": ((116, 156, 204), (116, 156, 204)),
    "green field": ((124, 160, 108), (124, 160, 108)),
    "night": ((18, 22, 58), (18, 22, 58)),
    "rain": ((100, 112, 130), (100, 112, 130)),
    "sunset": ((88, 58, 118), (226, 150, 106)),
}
SIZES = {"small": 14.0, "medium": 17.5, "large": 21.0}  # a shape's radius in pixels
SPEEDS = {"slow": 0.6, "medium": 1.0, "fast": 1.45}
WAY = 28.0  # pixels that a shape moves at medium speed
JUMP = 24.0  # height of a jump, in pixels; a slow one is lower, a fast one comes twice
TURN = 0.42  # turns of a spin at medium speed
# A shape that grows is at first this share of its size; then it grows by a share, and by another times its speed.
AT_FIRST, GROWTH, GROWTH_BY_SPEED = 0.65, 0.25, 0.5
# Two shapes are smaller, this far from the middle: beside each other or, if they move sideways, above each other.
SMALLER, APART = 0.64, 25.0
TWO = 0.2  # share of scenes with two shapes

CLASH = 95.0  # a colour nearer than this to its background would not be seen
HELD_OUT_SHARE = 0.2
GRID, REACH = 192, 1.7  # of the tables of distances: cells, and how many radii they reach


@dataclass(frozen=True)
class Scene:
    """The content of a video. Each name is from one of the tables above.

    A second shape is at the right of the first or, if they move sideways, below it; it moves as the first does.
    """

    colour: str
    shape: str
    motion: str
    background: str = "dark"
    size: str = "medium"
    speed: str = "medium"
    second_colour: str | None = None
    second_shape: str | None = None

    @property
    def held_out(self) -> bool:
        """True if the training set lacks the scene's combination."""
        return held_out(self.colour, self.shape, self.motion)

    @property
    def visible(self) -> bool:
        """True if the shapes stand out from their background."""
        return all(visible(colour, self.background) for colour, _ in self.shapes)

    @property
    def shapes(self) -> list[tuple[str, str]]:
        """The colour and shape of the one shape, or of both."""
        first = [(self.colour, self.shape)]
        if not (self.second_colour and self.second_shape):
            return first
        return [*first, (self.second_colour, self.second_shape)]


@cache
def held_out(colour: str, shape: str, motion: str) -> bool:
    """Return True if the training set lacks this combination: one in five, chosen by its hash and so by nobody."""
    digest = hashlib.sha256(f"{colour} {shape} {motion}".encode()).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32


@cache
def visible(colour: str, background: str) -> bool:
    """Return True if the colour stands out everywhere before that background."""
    top, bottom = (np.array(c, float) for c in BACKGROUNDS[background])
    steps = np.linspace(0, 1, 9)[:, None]
    behind = top * (1 - steps) + bottom * steps
    return bool(np.linalg.norm(behind - np.array(COLOURS[colour], float), axis=1).min() > CLASH)


def measurable(shape: str, motion: str) -> bool:
    """Return False for a circle that spins: it looks like one that does not."""
    return (shape, motion) != ("circle", "spin")


def random_scene(dice: np.random.Generator, *, unseen: bool = False, two: bool | None = None) -> Scene:
    """Return a visible, measurable scene of the training set or, with `unseen`, of the held-out combinations.

    With `two` it has two shapes or one; else some scenes have two.
    """
    two = bool(dice.random() < TWO) if two is None else two
    while True:
        scene = Scene(
            colour=str(dice.choice(list(COLOURS))),
            shape=str(dice.choice(SHAPES)),
            motion=str(dice.choice(MOTIONS)),
            background=str(dice.choice(list(BACKGROUNDS))),
            size=str(dice.choice(list(SIZES))),
            speed=str(dice.choice(list(SPEEDS))),
            second_colour=str(dice.choice(list(COLOURS))) if two else None,
            second_shape=str(dice.choice(SHAPES)) if two else None,
        )
        spins = all(measurable(shape, scene.motion) for _, shape in scene.shapes)
        if scene.visible and spins and scene.held_out == unseen:
            return scene


# --------------------------------------------------------------------------- drawing


def outline(shape: str) -> NDArray[np.float64]:
    """Return the corners of a shape of radius 1 around its centre of mass, as (x, y) with y downwards."""
    if shape == "square":
        points = [(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)]
    elif shape == "triangle":
        points = [(1.3 * math.sin(a), -1.3 * math.cos(a)) for a in (0, 2 * math.pi / 3, 4 * math.pi / 3)]
    elif shape == "diamond":
        points = [(0, -1.35), (0.78, 0), (0, 1.35), (-0.78, 0)]
    elif shape == "star":
        points = [
            ((1.36 if k % 2 == 0 else 0.56) * math.sin(k * math.pi / 5),
             -(1.36 if k % 2 == 0 else 0.56) * math.cos(k * math.pi / 5))
            for k in range(10)
        ]  # fmt: skip
    elif shape == "heart":
        t = np.linspace(0, 2 * math.pi, 72, endpoint=False)
        x = 16 * np.sin(t) ** 3
        y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
        points = list(zip(x / 14.2, y / 14.2 - 0.1, strict=True))
    else:
        points = [(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 96, endpoint=False)]
    return np.array(points, float)


@cache
def distances(shape: str) -> NDArray[np.float32]:
    """Return signed distances to the outline, in radii, negative inside: GRID x GRID, as far as REACH radii."""
    corners = outline(shape)
    axis = (np.arange(GRID) + 0.5) / GRID * 2 * REACH - REACH
    x, y = np.meshgrid(axis, axis)
    points = np.stack([x.ravel(), y.ravel()], 1)
    nearest = np.full(len(points), np.inf)
    inside = np.zeros(len(points), bool)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        edge, to = b - a, points - a
        along = np.clip(to @ edge / (edge @ edge), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(to - along[:, None] * edge, axis=1))
        crosses = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            at = a[0] + (points[:, 1] - a[1]) / (b[1] - a[1]) * edge[0]
        inside ^= crosses & (points[:, 0] < at)
    return np.where(inside, -nearest, nearest).reshape(GRID, GRID).astype(np.float32)


def coverage(
    shape: str, x: float, y: float, radius: float, angle: float
) -> tuple[tuple[slice, slice], NDArray[np.float32]]:
    """Return the share of each pixel that a shape covers, 0 to 1, after the rows and columns of these pixels.

    Units are pixels, and radians clockwise.
    """
    reach = math.ceil(radius * 1.5) + 1
    first, last = max(0, int(x) - reach), min(SIZE, int(x) + reach + 1)
    top, bottom = max(0, int(y) - reach), min(SIZE, int(y) + reach + 1)
    across = (np.arange(first, last, dtype=np.float32) + 0.5 - x) / radius
    along = (np.arange(top, bottom, dtype=np.float32) + 0.5 - y)[:, None] / radius
    cos, sin = math.cos(angle), math.sin(angle)
    column = ((across * cos + along * sin) / REACH + 1) * (GRID / 2) - 0.5
    row = ((along * cos - across * sin) / REACH + 1) * (GRID / 2) - 0.5
    column, row = column.clip(0, GRID - 1.001), row.clip(0, GRID - 1.001)
    c, r = column.astype(np.int32), row.astype(np.int32)
    u, v = column - c, row - r
    table = distances(shape)
    near = (table[r, c] * (1 - u) + table[r, c + 1] * u) * (1 - v)
    near += (table[r + 1, c] * (1 - u) + table[r + 1, c + 1] * u) * v
    return (slice(top, bottom), slice(first, last)), (0.5 - near * radius).clip(0, 1).astype(np.float32)


@cache
def _specks() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and columns of the stars of the night: always the same sky."""
    dice = np.random.default_rng(7)
    return dice.integers(4, SIZE - 5, 24), dice.integers(4, SIZE - 5, 24)


@cache
def backdrop(background: str, frames: int) -> NDArray[np.float32]:
    """Return the background of every frame: (frames, SIZE, SIZE, 3), 0 to 255."""
    top, bottom = (np.array(c, np.float32) for c in BACKGROUNDS[background])
    fall = np.linspace(0, 1, SIZE, dtype=np.float32)[None, :, None, None]
    picture = np.broadcast_to(top * (1 - fall) + bottom * fall, (frames, SIZE, SIZE, 3)).copy()
    if background == "night":
        rows, columns = _specks()
        for right, down, light in ((0, 0, 75), (1, 0, 40), (0, 1, 40), (1, 1, 25)):
            picture[:, rows + down, columns + right] += light
    elif background == "rain":
        y, x = np.mgrid[:SIZE, :SIZE]
        for number in range(frames):
            fallen = (x * 3 + y + 7 * (x // 16) - 8 * number) % 48
            streak = (fallen < 16) & (x % 16 >= 7) & (x % 16 <= 8)
            picture[number][streak] += 24
    return picture


def path(scene: Scene, frames: int, dice: np.random.Generator) -> list[tuple[float, float, float, float]]:
    """Return the place of the first shape in every frame, alone: x, y, radius in pixels, angle in radians."""
    pace, radius = SPEEDS[scene.speed], SIZES[scene.size] * dice.uniform(0.98, 1.02)
    t = np.linspace(0, 1, frames)
    middle = SIZE / 2
    x = np.full(frames, middle + dice.uniform(-2.5, 2.5))
    y = np.full(frames, middle + dice.uniform(-2.5, 2.5))
    angle = np.zeros(frames)
    r = np.full(frames, radius)
    sign = -1 if scene.motion in {"left", "up"} else 1
    if scene.motion in {"right", "left", "up", "down"}:
        along = middle + dice.uniform(-2, 2) + sign * WAY * pace * (t - 0.5)
        if scene.motion in {"right", "left"}:
            x = along
        else:
            y = along
    elif scene.motion == "jump":
        hops = 2 if scene.speed == "fast" else 1
        height = JUMP * dice.uniform(0.96, 1.04) * (0.7 if scene.speed == "slow" else 1)
        y = middle + height / 2 + dice.uniform(-2, 2) - height * np.abs(np.sin(math.pi * hops * t))
    elif scene.motion == "spin":
        angle = t * 2 * math.pi * TURN * pace
    elif scene.motion in {"grow", "shrink"}:
        size = 1 + (GROWTH + GROWTH_BY_SPEED * pace) * (t if scene.motion == "grow" else 1 - t)
        r = radius * AT_FIRST * size
    return list(zip(x, y, r, angle, strict=True))


def render(scene: Scene, dice: np.random.Generator, frames: int = FRAMES) -> NDArray[np.uint8]:
    """Return a clip of the scene: (frames, SIZE, SIZE, 3), RGB. Place, exact colour and size vary with the dice."""
    clip = backdrop(scene.background, frames).astype(np.uint8)
    way = path(scene, frames, dice)
    two = len(scene.shapes) == 2
    sideways = scene.motion in {"left", "right"}
    for side, (colour, shape) in zip((-1, 1), scene.shapes, strict=False):
        ink = np.array(COLOURS[colour], np.float32) + dice.uniform(-5, 5, 3).astype(np.float32)
        aside = side * APART if two else 0.0
        for number, (x, y, radius, angle) in enumerate(way):
            centre = (x, y + aside) if sideways else (x + aside, y)
            place, covered = coverage(shape, *centre, radius * (SMALLER if two else 1), angle)
            behind, covered = clip[number][place], covered[..., None]
            clip[number][place] = (behind * (1 - covered) + ink * covered).clip(0, 255).round()
    return clip
