"""How far a model's outputs are from the labels: what classification and regression differ in."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

from hcdc.errors import InputError

Criterion = Literal["loss", "soft-accuracy"]
CRITERIA: tuple[Criterion, ...] = ("loss", "soft-accuracy")


def misfit(outputs: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Cross-entropy of `outputs` [m, classes] with classes [m] or probabilities [m, classes]; mean squared error of [m, 1] or
    [m] where `num_classes` is 0."""
    if num_classes:
        return functional.cross_entropy(outputs, labels)
    return (outputs.reshape(labels.shape) - labels).square().mean()


def criterion_of(outputs: Tensor, labels: Tensor, num_classes: int, criterion: Criterion) -> Tensor:
    """`misfit`, or 1 - mean probability of the true class ("soft-accuracy")."""
    return misfit(outputs, labels, num_classes) if criterion == "loss" else 1 - _true_class(outputs, labels)


def metrics_of(outputs: Tensor, labels: Tensor, num_classes: int) -> dict[str, Tensor]:
    """ "loss", "accuracy" and "soft_accuracy", the mean probability of the true class; of a regression "loss" and, in the
    place of "accuracy", R^2 = 1 - loss / variance of the labels."""
    loss = misfit(outputs, labels, num_classes)
    if not num_classes:
        return {"loss": loss, "accuracy": 1 - loss / labels.var(correction=0).clamp_min(1e-12)}
    classes = labels.argmax(-1) if labels.is_floating_point() else labels
    accuracy = (outputs.argmax(-1) == classes).to(outputs).mean()
    return {"loss": loss, "accuracy": accuracy, "soft_accuracy": _true_class(outputs, labels)}


def check_criterion(criterion: str, num_classes: int) -> None:
    """Raise `InputError` for a criterion that is not known, or that needs classes where there are none."""
    if criterion not in CRITERIA:
        raise InputError("criterion", criterion, f"must be one of {', '.join(CRITERIA)}", "choose one of these")
    if criterion == "soft-accuracy" and not num_classes:
        raise InputError("criterion", criterion, "needs classes, and this is a regression", 'use "loss"')


def _true_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Of soft labels, the probability that a draw from the model is one from the labels."""
    if labels.is_floating_point():
        return (logits.softmax(-1) * labels).sum(-1).mean()
    return logits.softmax(-1).gather(-1, labels.unsqueeze(-1)).mean()
