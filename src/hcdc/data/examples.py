"""Independent examples of any shape, and the checks that every kind of them passes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from hcdc._tensors import TensorDict, largest
from hcdc.data.base import Data, Splits
from hcdc.errors import DataError


@dataclass(frozen=True, eq=False)
class Examples:
    """`x` [n, ...] floats, roughly of unit scale, and `y` [n]: int64 classes, or floats where `num_classes` is 0, which
    stands for regression."""

    x: Tensor
    y: Tensor
    num_classes: int

    @property
    def size(self) -> int:
        return int(self.y.shape[0])

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

    def dataset(self) -> TensorDataset:
        """The pairs (x, y) as a torch `Dataset`."""
        return TensorDataset(self.x, self.y)

    def to(self, device: torch.device | str) -> Self:
        return replace(self, x=self.x.to(device), y=self.y.to(device))


def check_parts(parts: tuple[Tensor, Tensor, Tensor]) -> None:
    """Raise `DataError` where one of the index vectors of train, validation and test is empty."""
    for name, part in zip(Splits._fields, parts, strict=True):
        check_filled(part, name)


def check_filled(part: Tensor, name: str) -> None:
    """Raise `DataError` where a part, given by its indices or its labels, is empty."""
    if part.numel() == 0:
        raise DataError(name, "no examples", "every part needs one or more", "cut the data again")


def example_splits(x: Tensor, y: Tensor, parts: tuple[Tensor, Tensor, Tensor], num_classes: int | None = None) -> Splits[Examples]:
    """Checked `Splits` from `x` [n, ...] and the three index vectors of train, validation and test.

    Integer `y` are classes 0, 1, ...; floating ones make a regression. Raises `DataError` as `check_examples` does.
    """
    check_parts(parts)
    classes = check_examples(x, y, parts[0], num_classes)
    whole = Examples(x, y.long() if classes else y.float(), classes)
    return Splits(*(whole.take(part) for part in parts))


def check_spread(data: Data, name: str) -> None:
    """Raise `DataError` where the targets of a regression are one number throughout, against which R^2 has no meaning."""
    targets = data.labels()
    if not data.num_classes and bool((targets == targets[0]).all()):
        rule = "those of a part must differ, since R^2 is measured against their variance"
        raise DataError(name, f"{targets.numel()} equal targets", rule, "check the target, or cut the data again")


def check_examples(x: Tensor, y: Tensor, train: Tensor | None, num_classes: int | None = None, *, unit: str = "example") -> int:
    """The number of classes of `y`, 0 for a regression; `train` are the examples among which every class must be.

    Raises `DataError` for shapes that do not fit each other, types other than floats for `x`, values that are not finite,
    labels out of range, and a class without a training example.
    """
    if y.ndim != 1 or y.numel() == 0 or x.ndim < 2 or y.shape[0] != x.shape[0]:
        given = f"x {list(x.shape)}, y {list(y.shape)}"
        remedy = "flatten y if it is [n, 1], take its argmax if it is one-hot, give x a row a label"
        raise DataError("y", given, f"x must be [n, ...] and y [n], a label for each {unit}", remedy)
    if not x.is_floating_point():
        raise DataError("x", f"{list(x.shape)} {x.dtype}", "must be floating", "convert it, and bring it to unit scale")
    for name, value in {"x": x, "y": y}.items():
        if value.is_floating_point() and not math.isfinite(largest(value)):
            count = int((~torch.isfinite(value)).sum())
            raise DataError(name, f"{count} NaN or infinite values", "values must be finite", "drop or impute them first")
    if y.is_floating_point():
        if num_classes:
            raise DataError("y", y.dtype, f"{num_classes} classes were asked for, and floating labels make a regression", "give integers")
        return 0
    return _check_classes(y, train, num_classes, unit)


def _check_classes(given: Tensor, train: Tensor | None, num_classes: int | None, unit: str) -> int:
    y = given.long()  # of unsigned integers torch knows no maximum
    classes = int(y.max()) + 1 if num_classes is None else num_classes
    if int(y.min()) < 0 or int(y.max()) >= classes:
        raise DataError("y", f"{int(y.min())}..{int(y.max())}", f"labels run from 0 to {classes - 1}", "renumber the classes")
    if classes > y.numel() and (train is not None or num_classes is None):
        raise DataError("y", f"{classes} classes", f"there are {y.numel()} {unit}s, and every class needs one to train on", "renumber the classes")
    if classes < 2:
        raise DataError("y", f"{classes} class", "needs two classes or more", "give floating labels for a regression")
    missing = [] if train is None else sorted(set(range(classes)) - set(y[train].tolist()))
    if missing:
        shown: Any = missing if len(missing) <= 10 else [*missing[:10], "..."]
        remedy = "count the classes from 0" if 0 in missing else "add one, drop the class, or give floating labels for a regression"
        raise DataError("y", f"classes {shown} absent", f"every class needs a training {unit}", remedy)
    return classes
