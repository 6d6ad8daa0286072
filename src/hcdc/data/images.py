"""Labelled images of one size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from hcdc._tensors import TensorDict
from hcdc.data.base import Splits
from hcdc.errors import DataError

LARGEST = 50.0
"""No standardised pixel is as large; a byte that was made a float is."""


@dataclass(frozen=True, eq=False)
class ImageData:
    """`x` [n, channels, height, width] floats, roughly of unit scale, and `y` [n] int64."""

    x: Tensor
    y: Tensor
    num_classes: int

    @property
    def size(self) -> int:
        return int(self.y.shape[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.x.shape[1:]
        return channels, height, width

    def check_shape(self, shape: tuple[int, int, int]) -> None:
        """Raise `DataError` unless the images have the channels, height and width that a model takes."""
        if self.shape != shape:
            raise DataError("x", self.shape, f"the model takes {shape} (channels, height, width)", "resize the images, or build the model for them")

    def labels(self) -> Tensor:
        return self.y

    def tensors(self) -> TensorDict:
        return {"x": self.x, "y": self.y}

    def learnable(self) -> TensorDict:
        return {"x": self.x}

    def replace(self, **tensors: Tensor) -> Self:
        return replace(self, **tensors)  # pyright: ignore[reportArgumentType]

    def project(self) -> Self:
        return self

    def take(self, index: Tensor) -> Self:
        return replace(self, x=self.x[index], y=self.y[index])

    def to(self, device: torch.device | str) -> Self:
        return replace(self, x=self.x.to(device), y=self.y.to(device))


def image_splits(x: Tensor, y: Tensor, parts: tuple[Tensor, Tensor, Tensor], num_classes: int | None = None) -> Splits[ImageData]:
    """Checked `Splits` from images [n, c, h, w] and the three index vectors of train, validation and test."""
    if y.ndim != 1 or y.numel() == 0 or y.shape[0] != x.shape[0]:
        raise DataError("y", tuple(y.shape), f"must have shape [{x.shape[0]}], one class an image", "flatten it if it is [n, 1]")
    classes = int(y.max()) + 1 if num_classes is None else num_classes
    if x.ndim != 4 or not x.is_floating_point():
        raise DataError("x", f"{tuple(x.shape)} {x.dtype}", "must be floating [n, channels, height, width]", "divide bytes by 255")
    if not bool(torch.isfinite(x).all()):
        raise DataError("x", "NaN or infinite values", "pixels must be finite", "drop or impute them first")
    if float(x.abs().max()) > LARGEST:
        raise DataError("x", f"pixels up to {float(x.abs().max()):.4g}", "must be roughly of unit scale", "divide bytes by 255, or standardise")
    if int(y.min()) < 0 or int(y.max()) >= classes:
        raise DataError("y", f"{int(y.min())}..{int(y.max())}", f"labels run from 0 to {classes - 1}", "renumber the classes")
    if classes > y.numel():
        raise DataError("y", f"{classes} classes", f"there are {y.numel()} images, and every class needs a training image", "renumber the classes")
    missing = sorted(set(range(classes)) - set(y[parts[0]].tolist()))
    if missing:
        raise DataError("y", f"classes {missing} absent", "every class needs a training image", "add one or drop the class")
    whole = ImageData(x, y.long(), classes)
    return Splits(*(whole.take(part) for part in parts))
