"""The judge, an independent reading of frames: colours, shapes, motion and the rest. Arithmetic alone, nothing learned.

It knows the tables of the world and nothing of the model: it reads any frames. No torch here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from generation.tiny.training.world import (
    AT_FIRST,
    BACKGROUNDS,
    COLOURS,
    GRID,
    GROWTH,
    GROWTH_BY_SPEED,
    JUMP,
    REACH,
    SHAPES,
    SIZE,
    SIZES,
    SMALLER,
    SPEEDS,
    TURN,
    WAY,
    distances,
)

MARGIN = 4  # columns at the left and right that show background alone
STANDS_OUT = 48.0  # distance in RGB from the background; the world's colours are at least twice as far
SMALLEST = 40  # pixels
CELLS, TURNS = 40, 48  # of the shapes' templates
WINDOW = 1.15  # half of a template's side, in square roots of the shape's area

MOVES = 0.1  # of the picture's side: a shape that gets less far has not moved
GROWS = 1.35  # ratio of areas
TURNED = 0.88  # overlap with its first frame below which a shape has turned

TWIN = 0.2  # share of the larger piece's pixels from which a second piece is a shape too
# Turns after which a shape looks the same; a circle shows no turn at all.
SYMMETRY = {"circle": 1, "square": 4, "triangle": 3, "star": 5, "heart": 1, "diamond": 2}

Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class Reading:
    """The reading of a clip; None for each attribute that cannot be told, and for a second shape that is not there."""

    colour: str | None = None
    shape: str | None = None
    motion: str | None = None
    background: str | None = None
    size: str | None = None
    speed: str | None = None
    second_colour: str | None = None
    second_shape: str | None = None
    visible: float = 0.0  # share of the frames in which something stands out


def read(frames: NDArray[np.uint8]) -> Reading:
    """Read a clip of the shape (frames, height, width, 3), RGB."""
    rows = behind(frames)
    place = background(rows)
    pieces = find(frames, rows)
    big = (pieces.sum((2, 3)) >= SMALLEST).all(0)
    if big.sum() < max(2, len(frames) // 2):
        return Reading(background=place, visible=float(big.mean()))
    clear, pieces = frames[big], pieces[:, big]
    # Both ends of the clip must show the shape, else its path cannot be read.
    whole = bool(big[:2].any() and big[-2:].any())
    shapes = [_shape(masks) for masks in pieces]
    colours = [_colour(clear, masks) for masks in pieces]
    motion = _motion(pieces) if whole else None
    return Reading(
        colour=colours[0],
        shape=shapes[0],
        motion=motion,
        background=place,
        size=_size(pieces, shapes, motion),
        speed=_speed(pieces, shapes, motion) if motion else None,
        second_colour=colours[1] if len(pieces) == 2 else None,
        second_shape=shapes[1] if len(pieces) == 2 else None,
        visible=float(big.mean()),
    )


def behind(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the background of each row, the median of its ends over all frames: (height, 3)."""
    ends = np.concatenate([frames[:, :, :MARGIN], frames[:, :, -MARGIN:]], axis=2).astype(np.float32)
    rows: NDArray[np.float32] = np.median(ends.transpose(1, 0, 2, 3).reshape(frames.shape[1], -1, 3), axis=1)
    return rows


def background(rows: NDArray[np.float32]) -> str:
    """Return the nearest of the world's backgrounds, to the colours of `behind`."""
    fall = np.linspace(0, 1, len(rows))[:, None]

    def distance(name: str) -> float:
        top, bottom = (np.array(colour, float) for colour in BACKGROUNDS[name])
        return float(np.linalg.norm(rows - (top * (1 - fall) + bottom * fall), axis=1).mean())

    return min(BACKGROUNDS, key=distance)


def find(frames: NDArray[np.uint8], rows: NDArray[np.float32]) -> Masks:
    """Return masks of the one or two pieces that stand out from the background: (pieces, frames, height, width).

    `rows` is the background (see `behind`). Two pieces come in the order of reading: from the left or, where they stand
    above each other, from the top. Each ends halfway between its colour and the background, however soft its edge.
    """
    distance = np.linalg.norm(frames.astype(np.float32) - rows[None, :, None], axis=3)
    pieces = _pieces(distance > STANDS_OUT)
    levels = [np.percentile(distance[masks], 75) / 2 if masks.any() else STANDS_OUT for masks in pieces]
    return np.stack([masks & (distance > level) for masks, level in zip(pieces, levels, strict=True)])


def _pieces(stands_out: Masks) -> Masks:
    """Return the one or two largest pieces of each mask, in the order of reading."""
    largest = np.stack([_largest(mask) for mask in stands_out])
    second = np.stack([_largest(mask & ~piece) for mask, piece in zip(stands_out, largest, strict=True)])
    second_areas = second.sum((1, 2))
    if np.median(second_areas >= np.maximum(SMALLEST, TWIN * largest.sum((1, 2)))) < 1:
        return largest[None]
    both = np.stack([largest, second], 1)
    with_two = second_areas >= SMALLEST
    apart = np.array([np.abs(_centre(pair[0]) - _centre(pair[1])) for pair in both[with_two]])
    axis = int(apart.mean(0).argmax())
    order = [
        int(two and _centre(pair[0])[axis] > _centre(pair[1])[axis]) for two, pair in zip(with_two, both, strict=True)
    ]
    return np.stack([[pair[first] for first, pair in zip(order, both, strict=True)],
                     [pair[1 - first] for first, pair in zip(order, both, strict=True)]])  # fmt: skip


def _centre(mask: Masks) -> NDArray[np.float64]:
    """Return the mean row and column."""
    return np.array([places.mean() for places in np.nonzero(mask)])


def _largest(mask: Masks) -> Masks:
    """Return the largest piece of pixels that touch by their four sides."""
    remaining = mask.copy()
    best = np.zeros_like(mask)
    while remaining.sum() > best.sum():
        piece = np.zeros_like(mask)
        row, column = np.unravel_index(int(np.argmax(remaining)), remaining.shape)
        piece[row, column] = True
        while True:
            wider = piece.copy()
            wider[1:] |= piece[:-1]
            wider[:-1] |= piece[1:]
            wider[:, 1:] |= piece[:, :-1]
            wider[:, :-1] |= piece[:, 1:]
            wider &= remaining
            if wider.sum() == piece.sum():
                break
            piece = wider
        remaining &= ~piece
        if piece.sum() > best.sum():
            best = piece
    return best


def _colour(frames: NDArray[np.uint8], masks: Masks) -> str:
    """Return the nearest of the world's colours to the median inside, away from the edges."""
    inner = masks.copy()
    inner[:, 1:-1, 1:-1] &= masks[:, :-2, 1:-1] & masks[:, 2:, 1:-1] & masks[:, 1:-1, :-2] & masks[:, 1:-1, 2:]
    pixels = frames[inner if inner.sum() > SMALLEST else masks]
    median = np.median(pixels, axis=0)
    return min(COLOURS, key=lambda name: float(np.linalg.norm(median - np.array(COLOURS[name], float))))


@cache
def _templates() -> tuple[NDArray[np.float32], list[str]]:
    """Return each shape in each turn, of area 1 around its centroid, as rows of CELLS x CELLS zeros and ones."""
    axis = ((np.arange(CELLS) + 0.5) / CELLS * 2 - 1) * WINDOW
    x, y = np.meshgrid(axis, axis)
    rows, names = [], []
    for shape in SHAPES:
        inside = distances(shape) < 0
        cell = 2 * REACH / GRID
        root = math.sqrt(inside.sum()) * cell
        centre = [float(v.mean() + 0.5) * cell - REACH for v in np.nonzero(inside)]
        for turn in range(TURNS):
            cos, sin = math.cos(2 * math.pi * turn / TURNS), math.sin(2 * math.pi * turn / TURNS)
            across = (x * cos + y * sin) * root + centre[1]
            along = (y * cos - x * sin) * root + centre[0]
            column = ((across + REACH) / cell).astype(int).clip(0, GRID - 1)
            row = ((along + REACH) / cell).astype(int).clip(0, GRID - 1)
            rows.append(inside[row, column].ravel())
            names.append(shape)
    return np.array(rows, np.float32), names


def normalised(masks: Masks) -> NDArray[np.float32]:
    """Return each mask around its centroid, scaled to area 1: (frames, CELLS * CELLS), zeros and ones."""
    axis = ((np.arange(CELLS) + 0.5) / CELLS * 2 - 1) * WINDOW
    out = []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        root = math.sqrt(len(rows))
        row = np.floor(rows.mean() + 0.5 + axis * root).astype(int)
        column = np.floor(columns.mean() + 0.5 + axis * root).astype(int)
        inside = (row[:, None] >= 0) & (row[:, None] < mask.shape[0]) & (column >= 0) & (column < mask.shape[1])
        picked = mask[row.clip(0, mask.shape[0] - 1)[:, None], column.clip(0, mask.shape[1] - 1)]
        out.append((picked & inside).ravel())
    return np.array(out, np.float32)


def _overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the intersection over union of each row of `a` with each of `b`."""
    both = a @ b.T
    overlap: NDArray[np.float32] = both / (a.sum(1)[:, None] + b.sum(1)[None] - both)
    return overlap


def _shape(masks: Masks) -> str:
    """Return the shape whose template, in its best turn, overlaps most, in the median over the frames."""
    return SHAPES[int(np.median(_likeness(masks).max(2), axis=0).argmax())]


def _likeness(masks: Masks) -> NDArray[np.float32]:
    """Return the overlap of each mask with each shape in each turn: (frames, shapes, TURNS)."""
    templates, _ = _templates()
    return _overlap(normalised(masks), templates).reshape(len(masks), len(SHAPES), TURNS)


def _motion(pieces: Masks) -> str | None:
    """Return the motion, by the path of the centroids, the areas, and the overlap with the first frame."""
    side = pieces.shape[2]
    centres = _path(pieces) / side
    areas = pieces.sum((0, 2, 3)).astype(float)
    ends = max(1, len(areas) // 10)
    way = centres[-ends:].mean(0) - centres[:ends].mean(0)
    ratio = areas[-ends:].mean() / areas[:ends].mean()
    swing = np.ptp(centres, axis=0)
    if ratio > GROWS or ratio < 1 / GROWS:
        return "grow" if ratio > 1 else "shrink"
    if swing[0] > MOVES and abs(way[0]) < 0.6 * swing[0] and swing[0] > swing[1]:
        return "jump"
    if max(abs(way)) > MOVES:
        if abs(way[1]) > abs(way[0]):
            return "right" if way[1] > 0 else "left"
        return "down" if way[0] > 0 else "up"
    alike = np.min([_overlap(normalised(masks[:1]), normalised(masks))[0] for masks in pieces], axis=0)
    return "spin" if np.sort(alike)[len(alike) // 4] < TURNED else None


def _path(pieces: Masks) -> NDArray[np.float64]:
    """Return the mean row and column of all pieces in each frame: (frames, 2)."""
    path: NDArray[np.float64] = np.array([[_centre(mask) for mask in masks] for masks in pieces]).mean(0)
    return path


def _radii(masks: Masks, shape: str) -> NDArray[np.float64]:
    """Return the radius in each frame, in pixels of the world's own size."""
    unit = float((distances(shape) < 0).sum()) * (2 * REACH / GRID) ** 2
    radii: NDArray[np.float64] = np.sqrt(masks.sum((1, 2)) / unit) * (SIZE / masks.shape[1])
    return radii


def _size(pieces: Masks, shapes: list[str], motion: str | None) -> str:
    """Return the nearest of the world's sizes: of the smaller end, if the shape grows or shrinks."""
    radii = np.mean([_radii(masks, shape) for masks, shape in zip(pieces, shapes, strict=True)], axis=0)
    radius = float(np.median(radii))
    if motion in {"grow", "shrink"}:
        radius = float(min(radii[:2].mean(), radii[-2:].mean()) / AT_FIRST)
    if len(pieces) == 2:
        radius /= SMALLER
    return min(SIZES, key=lambda name: abs(SIZES[name] - radius))


def _speed(pieces: Masks, shapes: list[str], motion: str) -> str:
    """Return the nearest of the world's speeds."""
    centres = _path(pieces) * (SIZE / pieces.shape[2])
    if motion == "jump":
        rows = centres[:, 0]
        swing = float(np.ptp(rows))
        if rows[len(rows) // 2] > rows.min() + swing / 2:  # it is down in the middle: between two jumps
            return "fast"
        return "slow" if swing < 0.85 * JUMP else "medium"
    if motion in {"grow", "shrink"}:
        radii = np.mean([_radii(masks, shape) for masks, shape in zip(pieces, shapes, strict=True)], axis=0)
        pace = (float(max(radii[0], radii[-1]) / min(radii[0], radii[-1])) - 1 - GROWTH) / GROWTH_BY_SPEED
    elif motion == "spin":
        turns = [_turns(masks, shape) for masks, shape in zip(pieces, shapes, strict=True)]
        pace = float(np.mean(turns)) / TURN
    else:
        pace = float(np.abs(centres[-1] - centres[0]).max()) / WAY
    return min(SPEEDS, key=lambda name: abs(SPEEDS[name] - pace))


def _turns(masks: Masks, shape: str) -> float:
    """Return how many turns the shape makes: the steps between frames, each less than half of its symmetry."""
    best = _likeness(masks)[:, SHAPES.index(shape)].argmax(1) / TURNS
    same = 1 / SYMMETRY[shape]
    steps = (np.diff(best) + same / 2) % same - same / 2
    return abs(float(steps.sum()))
