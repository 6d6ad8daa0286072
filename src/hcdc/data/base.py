"""What every kind of data has in common, and the triple that keeps test data away from condensers."""

from __future__ import annotations

from typing import Generic, NamedTuple, Protocol, Self, TypeVar

import torch
from torch import Tensor


class Data(Protocol):
    """A frozen container of examples; `GraphData`, `ImageData`, `TableData` and `Examples` are the kinds that ship."""

    @property
    def num_classes(self) -> int:
        """0 stands for regression."""
        ...

    @property
    def size(self) -> int:
        """Number of examples: images, rows, or nodes of the graph."""
        ...

    def labels(self) -> Tensor:
        """Labels [m] of the examples that enter the loss: int64 classes, or the floats of a regression."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Everything needed to rebuild the container, for hashing and saving."""
        ...

    def learnable(self) -> dict[str, Tensor]:
        """The tensors that a condenser may change, dense and floating."""
        ...

    def replace(self, **tensors: Tensor) -> Self: ...
    def project(self) -> Self:
        """The nearest container that is valid: called after every step of a condenser."""
        ...

    def take(self, index: Tensor) -> Self: ...
    def to(self, device: torch.device | str) -> Self: ...


D = TypeVar("D", bound=Data)


class Real(NamedTuple, Generic[D]):
    """What a condenser may see of the original data: training and validation examples, nothing else."""

    train: D
    val: D


class Splits(NamedTuple, Generic[D]):
    """A whole dataset. Only `evaluate` takes this type; condensers take `splits.real`."""

    train: D
    val: D
    test: D

    @property
    def real(self) -> Real[D]:
        return Real(self.train, self.val)
