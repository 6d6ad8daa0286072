"""What every classifier family shares: criterion, weight decay, metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hcdc._typing import Hyper, Noise, Params
from hcdc.errors import InputError
from hcdc.models.misfit import Criterion, check_criterion, criterion_of, metrics_of, misfit
from hcdc.spaces import Choice, Space


@dataclass(frozen=True)
class Classifier(ABC):
    """A `Bilevel`, `Decayed` and `Scored` problem made of one function, `logits`.

    inner = cross-entropy + weight_decay / 2 ||theta||^2; outer = cross-entropy ("loss") or 1 - mean probability of the
    true class ("soft-accuracy"), on the examples that enter the loss of the data given. Of a regression (`num_classes`
    0) both are mean squared errors.
    """

    num_classes: int
    weight_decay: float = 5e-4
    dropout: float = 0.0
    criterion: Criterion = "loss"

    def __post_init__(self) -> None:
        check_criterion(self.criterion, self.num_classes)
        if not 0 <= self.dropout < 1:
            raise InputError("dropout", self.dropout, "must lie in [0, 1)", "use 0 for none, 0.5 as Kipf and Welling do")
        if self.weight_decay < 0:
            raise InputError("weight_decay", self.weight_decay, "must not be negative", "use 0 for none")

    @abstractmethod
    def space(self) -> Space: ...

    def spares(self) -> bool:
        """A family with choices computes of one configuration what it chose (`mixed`)."""
        return any(isinstance(axis, Choice) for axis in self.space().axes.values())

    @abstractmethod
    def init(self, hyper: Hyper, generator: torch.Generator) -> Params: ...

    @abstractmethod
    def logits(self, params: Params, hyper: Hyper, data: Any, noise: Noise) -> Tensor:
        """[m, classes], one row an example that enters the loss; `noise` is empty outside of training."""

    @abstractmethod
    def noise(self, data: Any, generator: torch.Generator) -> Noise: ...

    @abstractmethod
    def footprint(self, data: Any) -> int:
        """Bytes that the forward and backward pass of one model on `data` keeps alive, an estimate."""

    def penalty(self, params: Params, hyper: Hyper) -> Tensor:
        """weight_decay / 2 ||theta||^2; families with a learned decay override it."""
        return self.weight_decay / 2 * squared(params)

    def fixed_decay(self) -> float:
        """`weight_decay` where `penalty`, `noisy` and `inner` are what they are here, and 0 of a family with others."""
        return self.weight_decay if self._penalised_as(Classifier) else 0.0

    def _penalised_as(self, family: type[Classifier]) -> bool:
        own = type(self)
        return own.penalty is family.penalty and own.noisy is Classifier.noisy and own.inner is Classifier.inner

    def misfit(self, logits: Tensor, labels: Tensor, hyper: Hyper) -> Tensor:
        """The data term of the inner objective, cross-entropy; families with a learned smoothing override it."""
        return misfit(logits, labels, self.num_classes)

    def undecayed(self, params: Params, hyper: Hyper, data: Any, noise: Noise) -> Tensor:
        return self.misfit(self.logits(params, hyper, data, noise), data.labels(), hyper)

    def noisy(self, params: Params, hyper: Hyper, data: Any, noise: Noise) -> Tensor:
        return self.undecayed(params, hyper, data, noise) + self.penalty(params, hyper)

    def inner(self, params: Params, hyper: Hyper, data: Any) -> Tensor:
        return self.noisy(params, hyper, data, {})

    def outer(self, params: Params, hyper: Hyper, data: Any) -> Tensor:
        return criterion_of(self.logits(params, hyper, data, {}), data.labels(), self.num_classes, self.criterion)

    def metrics(self, params: Params, hyper: Hyper, data: Any) -> dict[str, Tensor]:
        """See `metrics_of`; and "criterion", but of a family with an `outer` of its own."""
        found = metrics_of(self.logits(params, hyper, data, {}), data.labels(), self.num_classes)
        if type(self).outer is not Classifier.outer:
            return found
        return found | {"criterion": found["loss"] if self.criterion == "loss" else 1 - found["soft_accuracy"]}


def squared(params: Params) -> Tensor:
    """||theta||^2, over all tensors."""
    return torch.stack([value.square().sum() for value in params.values()]).sum()


def smoothed(loss: Tensor, logits: Tensor, rate: Tensor) -> Tensor:
    """(1 - rate) CE(y) + rate CE(uniform), label smoothing (Szegedy et al. 2016), of the cross-entropy `loss` of `logits`."""
    return (1 - rate) * loss - rate * functional.log_softmax(logits, -1).mean()


def glorot(shape: tuple[int, ...], fans: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    bound = (6 / sum(fans)) ** 0.5
    return (2 * torch.rand(shape, generator=generator) - 1) * bound


def dropout_mask(shape: tuple[int, ...], rate: float, generator: torch.Generator) -> Tensor:
    """0 with probability `rate`, else 1 / (1 - rate)."""
    return (torch.rand(shape, generator=generator) >= rate).float() / (1 - rate)
