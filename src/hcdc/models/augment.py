"""Differentiable augmentation of images (Zhao and Bilen 2021), its strengths tensors where they are to be learned."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from hcdc.errors import InputError

Strength: TypeAlias = Tensor | float

TEMPERATURE = 0.1
"""Of the relaxed coin that decides about a flip (Maddison et al. 2017): the lower, the rarer are blends of both sides."""


class Draw(NamedTuple):
    """One operation and four numbers in [0, 1) [4]: all that is random about an augmentation.

    The same draw changes every image of every batch that it is applied to in the same way, which makes real and
    synthetic images siamese.
    """

    operation: str
    numbers: Tensor


def draw(operations: Sequence[str], generator: torch.Generator) -> Draw:
    """One of `operations`, drawn uniformly, and its numbers."""
    check_operations(operations)
    chosen = int(torch.randint(len(operations), (), generator=generator))
    return Draw(operations[chosen], torch.rand(4, generator=generator))


def augment(x: Tensor, drawn: Draw, strength: Strength = 1.0) -> Tensor:
    """Images [n, c, h, w] under one operation; twice differentiable in them, differentiable in `strength`.

    At strength 0 they stay as they are, at 1 the operation is as strong as in the published code: colour (brightness
    +-0.5, saturation 0 to 2, contrast 0.5 to 1.5), crop (shifts of up to 0.125 of a side), cutout (squares of half a
    side), flip (with probability 0.5), scale (each side by 1/1.2 to 1.2), rotate (+-15 degrees). What leaves the image
    is cut off, what enters is 0. Shifts are of fractions of a pixel, a cut pixel keeps the share that is left of it, and
    the coin of a flip is relaxed, so that each has a derivative.
    """
    return _FUNCTIONS[drawn.operation](x, drawn.numbers.to(x), strength)


def check_operations(operations: Sequence[str]) -> None:
    """Raise `InputError` unless there are operations and each is known."""
    if not operations or not set(operations) <= set(OPERATIONS):
        rule = f"must be of {', '.join(OPERATIONS)}, at least one"
        raise InputError("augmentation", tuple(operations), rule, "choose among these")


def _color(x: Tensor, numbers: Tensor, strength: Strength) -> Tensor:
    x = x + (numbers[0] - 0.5) * strength
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (1 + (2 * numbers[1] - 1) * strength) + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * (1 + (numbers[2] - 0.5) * strength) + mean


def _crop(x: Tensor, numbers: Tensor, strength: Strength) -> Tensor:
    shift = 2 * 0.125 * (2 * numbers[:2] - 1) * strength
    return _resample(x, (1.0, 0.0, shift[0]), (0.0, 1.0, shift[1]))


def _cutout(x: Tensor, numbers: Tensor, strength: Strength) -> Tensor:
    kept = [_covered(side, number, strength) for side, number in zip(x.shape[-2:], numbers, strict=False)]
    return x * (1 - kept[0].unsqueeze(-1) * kept[1])


def _covered(side: int, centre: Tensor, strength: Strength) -> Tensor:
    """Share of each of `side` pixels that lies within a quarter of the side from the centre: [side]."""
    left = torch.arange(side, device=centre.device).to(centre)
    half = 0.25 * side * torch.as_tensor(strength).to(centre)
    return (torch.minimum(left + 1, centre * side + half) - torch.maximum(left, centre * side - half)).clamp(0, 1)


def _flip(x: Tensor, numbers: Tensor, strength: Strength) -> Tensor:
    probability = (torch.as_tensor(strength).to(x) / 2).clamp(1e-6, 1 - 1e-6)
    weight = ((probability.logit() - numbers[0].logit(1e-6)) / TEMPERATURE).sigmoid()
    return (1 - weight) * x + weight * x.flip(-1)


def _scale(x: Tensor, numbers: Tensor, strength: Strength) -> Tensor:
    ratio = 1.2 ** torch.as_tensor(strength).to(x)
    factor = 1 / ratio + numbers[:2] * (ratio - 1 / ratio)
    return _resample(x, (factor[0], 0.0, 0.0), (0.0, factor[1], 0.0))


def _rotate(x: Tensor, numbers: Tensor, strength: Strength) -> Tensor:
    angle = (2 * numbers[0] - 1) * strength * (15 * math.pi / 180)
    return _resample(x, (angle.cos(), -angle.sin(), 0.0), (angle.sin(), angle.cos(), 0.0))


Row: TypeAlias = tuple[Strength, Strength, Strength]


def _resample(x: Tensor, across: Row, down: Row) -> Tensor:
    """Images read bilinearly at affine places, in coordinates from -1 to 1 between their outer edges.

    Written out with gathers, since `grid_sample` has no forward derivative.
    """
    height, width = x.shape[-2:]
    v = ((2 * torch.arange(height).to(x) + 1) / height - 1).unsqueeze(1)
    u = (2 * torch.arange(width).to(x) + 1) / width - 1
    columns, rows = ((row[0] * u + row[1] * v + row[2] + 1) * side / 2 - 0.5 for row, side in ((across, width), (down, height)))
    left, top = columns.detach().floor(), rows.detach().floor()
    total = torch.zeros_like(x)
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        weight = (1 - (rows - row).abs()) * (1 - (columns - column).abs())
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        place = row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long()
        total = total + torch.where(inside, weight, 0) * x[..., place[0], place[1]]
    return total


_FUNCTIONS: dict[str, Callable[[Tensor, Tensor, Strength], Tensor]] = {
    "color": _color, "crop": _crop, "cutout": _cutout, "flip": _flip, "scale": _scale, "rotate": _rotate,
}  # fmt: skip

OPERATIONS = tuple(_FUNCTIONS)
"""Every operation: those of the published code, in its order."""
