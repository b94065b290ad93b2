"""The judge, an independent reading of frames: colour, shape, motion. Arithmetic alone, nothing learned.

It knows the tables of the world and nothing of the model: it reads any frames. No torch here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from generation.tiny.training.world import COLOURS, GRID, REACH, SHAPES, distances

MARGIN = 4  # columns at the left and right that show background alone
STANDS_OUT = 48.0  # distance in RGB from the background; the world's colours are at least twice as far
SMALLEST = 40  # pixels
CELLS, TURNS = 40, 48  # of the shapes' templates
WINDOW = 1.15  # half of a template's side, in square roots of the shape's area

MOVES = 0.1  # of the picture's side: a shape that gets less far has not moved
GROWS = 1.35  # ratio of areas
TURNED = 0.88  # overlap with its first frame below which a shape has turned

Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class Reading:
    """The reading of a clip; None for each attribute that cannot be told."""

    colour: str | None
    shape: str | None
    motion: str | None
    visible: float  # share of the frames in which something stands out


def read(frames: NDArray[np.uint8]) -> Reading:
    """Read a clip of the shape (frames, height, width, 3), RGB."""
    masks = find(frames)
    big = masks.sum((1, 2)) >= SMALLEST
    if big.sum() < max(2, len(frames) // 2):
        return Reading(None, None, None, float(big.mean()))
    clear, masks = frames[big], masks[big]
    # Both ends of the clip must show the shape, else its path cannot be read.
    whole = bool(big[:2].any() and big[-2:].any())
    return Reading(_colour(clear, masks), _shape(masks), _motion(masks) if whole else None, float(big.mean()))


def find(frames: NDArray[np.uint8]) -> Masks:
    """Return masks of what stands out from the background: the largest connected piece of each frame.

    The background of a row is the median of its ends, over all frames.
    """
    ends = np.concatenate([frames[:, :, :MARGIN], frames[:, :, -MARGIN:]], axis=2).astype(np.float32)
    behind = np.median(ends.transpose(1, 0, 2, 3).reshape(frames.shape[1], -1, 3), axis=1)
    out = np.linalg.norm(frames.astype(np.float32) - behind[None, :, None], axis=3) > STANDS_OUT
    return np.stack([_largest(mask) for mask in out])


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
    templates, _ = _templates()
    overlap = _overlap(normalised(masks), templates).reshape(len(masks), len(SHAPES), TURNS).max(2)
    return SHAPES[int(np.median(overlap, axis=0).argmax())]


def _motion(masks: Masks) -> str | None:
    """Return the motion, by the path of the centroid, the areas, and the overlap with the first frame."""
    side = masks.shape[1]
    centres = np.array([[v.mean() for v in np.nonzero(mask)] for mask in masks]) / side
    areas = masks.sum((1, 2)).astype(float)
    ends = max(1, len(masks) // 10)
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
    alike = _overlap(normalised(masks[:1]), normalised(masks))[0]
    return "spin" if np.sort(alike)[len(alike) // 4] < TURNED else None
