"""Labelled images of one size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from torch import Tensor
from torch.nn import functional

from hcdc._tensors import TensorDict, largest, simplex
from hcdc.data.base import Splits
from hcdc.data.examples import Examples, check_examples, check_parts
from hcdc.errors import DataError

LARGEST = 50.0
"""No standardised pixel is as large; a byte that was made a float is."""


@dataclass(frozen=True, eq=False)
class ImageData(Examples):
    """`x` [n, channels, height, width] floats, roughly of unit scale, and `y` [n] as in `Examples`, or of a synthetic set with
    soft labels [n, classes], the probability of each class, which are learned with the pixels."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.x.shape[1:]
        return channels, height, width

    def classes(self) -> Tensor:
        """[n]: the class of each image, of soft labels the likeliest."""
        return self.y.argmax(1) if self.y.ndim == 2 else self.y

    def softened(self) -> Self:
        """The same images with their classes as probabilities."""
        return self.replace(y=functional.one_hot(self.classes(), self.num_classes).to(self.x))

    def learnable(self) -> TensorDict:
        return {"x": self.x, "y": self.y} if self.y.ndim == 2 else {"x": self.x}

    def project(self) -> Self:
        return self.replace(y=simplex(self.y)) if self.y.ndim == 2 else self

    def check_shape(self, shape: tuple[int, int, int]) -> None:
        """Raise `DataError` unless the images have the channels, height and width that a model takes."""
        if self.shape != shape:
            raise DataError("x", self.shape, f"the model takes {shape} (channels, height, width)", "resize the images, or build the model for them")


def image_splits(x: Tensor, y: Tensor, parts: tuple[Tensor, Tensor, Tensor], num_classes: int | None = None) -> Splits[ImageData]:
    """Checked `Splits` from images [n, c, h, w] and the three index vectors of train, validation and test."""
    check_parts(parts)
    if x.ndim != 4 or not x.is_floating_point():
        raise DataError("x", f"{tuple(x.shape)} {x.dtype}", "must be floating [n, channels, height, width]", "divide bytes by 255")
    if LARGEST < (most := largest(x)) < math.inf:
        raise DataError("x", f"pixels up to {most:.4g}", "must be roughly of unit scale", "divide bytes by 255, or standardise")
    classes = check_examples(x, y, parts[0], num_classes, unit="image")
    whole = ImageData(x, y.long() if classes else y.float(), classes)
    return Splits(*(whole.take(part) for part in parts))
