"""Criteria, weight decay and metrics, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from hcdc.bilevel import judged
from hcdc.data import ImageData
from hcdc.errors import InputError
from hcdc.models import Classifier
from hcdc.models.classifier import dropout_mask
from hcdc.spaces import Real, Space
from tests.cases import generator

LOGITS = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0], [0.0, 0.0, 0.5], [1.0, 1.5, 0.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 1])
DATA = ImageData(torch.zeros(4, 1, 1, 1), LABELS, 3)
PARAMS = {"w": LOGITS, "b": torch.tensor([2.0], dtype=torch.float64)}
"""Three of four are classified as they should be."""


class Constant(Classifier):
    """Its parameters are its logits."""

    def space(self) -> Space:
        return Space({"gate": Real(0.0, 1.0)})

    def init(self, hyper: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        return PARAMS

    def logits(self, params: dict[str, Tensor], hyper: dict[str, Tensor], data: Any, noise: dict[str, Tensor]) -> Tensor:
        return params["w"] + noise.get("shift", 0.0)

    def noise(self, data: Any, generator: torch.Generator) -> dict[str, Tensor]:
        return {"shift": torch.randn(3, generator=generator, dtype=torch.float64)}

    def footprint(self, data: Any) -> int:
        return 8 * PARAMS["w"].numel()


def probability(row: int) -> float:
    """Of the true class of one example."""
    weights = [math.exp(value) for value in LOGITS[row].tolist()]
    return weights[int(LABELS[row])] / sum(weights)


CROSS_ENTROPY = -sum(math.log(probability(row)) for row in range(4)) / 4
SOFT_ACCURACY = sum(probability(row) for row in range(4)) / 4


def test_inner_is_cross_entropy_and_decay() -> None:
    problem = Constant(3, weight_decay=0.1)
    squares = float(LOGITS.square().sum()) + 4
    assert float(problem.inner(PARAMS, {}, DATA)) == pytest.approx(CROSS_ENTROPY + 0.05 * squares)


@pytest.mark.parametrize(("criterion", "expected"), [("loss", CROSS_ENTROPY), ("soft-accuracy", 1 - SOFT_ACCURACY)])
def test_outer_is_the_criterion(criterion: Any, expected: float) -> None:
    """Without the decay."""
    assert float(Constant(3, weight_decay=9.0, criterion=criterion).outer(PARAMS, {}, DATA)) == pytest.approx(expected)


def test_metrics() -> None:
    found = Constant(3).metrics(PARAMS, {}, DATA)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {"loss": CROSS_ENTROPY, "accuracy": 0.75, "soft_accuracy": SOFT_ACCURACY, "criterion": CROSS_ENTROPY}
    )


class Own(Constant):
    """With a criterion, and a penalty, of its own."""

    def outer(self, params: Any, hyper: Any, data: Any) -> Any:
        return 2 * super().outer(params, hyper, data)

    def penalty(self, params: Any, hyper: Any) -> Any:
        return 3 * super().penalty(params, hyper)


def test_a_family_with_a_criterion_of_its_own_is_judged_by_it() -> None:
    assert "criterion" not in Own(3).metrics(PARAMS, {}, DATA)
    for problem in (Own(3), Constant(3), Constant(3, criterion="soft-accuracy")):
        assert judged(problem, PARAMS, {}, DATA)["criterion"] == problem.outer(PARAMS, {}, DATA)


def test_a_decay_is_fixed_where_the_penalty_is_nothing_else() -> None:
    plain = Constant(3, weight_decay=0.5)
    assert plain.fixed_decay() == 0.5
    assert Own(3, weight_decay=0.5).fixed_decay() == 0
    torch.testing.assert_close(plain.inner(PARAMS, {}, DATA), plain.undecayed(PARAMS, {}, DATA, {}) + plain.penalty(PARAMS, {}))


def test_noise_is_in_the_noisy_loss_alone() -> None:
    problem = Constant(3)
    noise = problem.noise(DATA, generator(0))
    assert problem.noisy(PARAMS, {}, DATA, {}) == problem.inner(PARAMS, {}, DATA)
    assert problem.noisy(PARAMS, {}, DATA, noise) != problem.inner(PARAMS, {}, DATA)


def test_dropout_mask() -> None:
    mask = dropout_mask((200, 100), 0.3, generator(0))
    assert mask.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert float((mask == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    assert (dropout_mask((10, 10), 0.0, generator(0)) == 1).all()


@pytest.mark.parametrize("settings", [{"criterion": "accuracy"}, {"dropout": 1.0}, {"dropout": -0.1}, {"weight_decay": -1e-4}], ids=str)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(InputError, match=f"^`{name}` = "):
        Constant(3, **settings)
