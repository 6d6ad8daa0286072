"""Labelled images of one size."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hcdc.data.base import Splits
from hcdc.data.examples import Examples, check_examples
from hcdc.errors import DataError


@dataclass(frozen=True, eq=False)
class ImageData(Examples):
    """`x` [n, channels, height, width] floats, roughly of unit scale, and `y` [n] as in `Examples`."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.x.shape[1:]
        return channels, height, width


def image_splits(x: Tensor, y: Tensor, parts: tuple[Tensor, Tensor, Tensor], num_classes: int | None = None) -> Splits[ImageData]:
    """Checked `Splits` from images [n, c, h, w] and the three index vectors of train, validation and test."""
    if x.ndim != 4 or not x.is_floating_point():
        raise DataError("x", f"{tuple(x.shape)} {x.dtype}", "must be floating [n, channels, height, width]", "divide bytes by 255")
    classes = check_examples(x, y, parts[0], num_classes, unit="image")
    whole = ImageData(x, y.long() if classes else y.float(), classes)
    return Splits(*(whole.take(part) for part in parts))
