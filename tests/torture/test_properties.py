"""A few of the checks of `make torture`, that they see a wrong derivative, and that trouble names its step and its tensor."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from hcdc.bilevel import Adam, Recipe
from hcdc.condense import HCDC, Algorithm1, Bank, GCond, condense
from hcdc.condense.points import Points
from hcdc.errors import ConvergenceError
from hcdc.store import DataCard
from tests import small
from torture import properties

CARD = DataCard(name="small", sha256="0" * 64, kind="graph", num_classes=3)


SOME = (
    "sparse product", "product with a thinned graph", "normalisation of a learned graph", "total derivative in S_val", "correlation",
    "distance of class gradients", "inner loss of regularised sign",
)  # fmt: skip
DRIVERS = (Bank(starts=4, stages=1, chunk=4, steps=3, batch=4), Algorithm1(trajectories=2, repeats=1, updates=2, interval=3))


@pytest.mark.parametrize("name", SOME)
def test_derivatives_of_every_order_that_is_used(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(properties, "PIECES", {name: properties.PIECES[name]})
    assert dict(properties.checked(1, seed=3)) == {name: 2}


def test_a_wrong_second_derivative_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x.square()

        @staticmethod
        def backward(ctx: Any, slope: Tensor) -> Tensor:
            return 2 * ctx.saved_tensors[0].detach() * slope

    monkeypatch.setattr(properties, "PIECES", {"wrong": lambda g: (Wrong.apply, (properties.draw(g, 3),))})
    with pytest.raises(Exception, match=r"wrong|Jacobian|numerical"):
        dict(properties.checked(1, seed=0))


def test_threads_change_nothing_beyond_the_tolerance() -> None:
    assert properties.threads(("gcond",))["gcond"] <= properties.TOLERANCE


def diverging() -> Any:
    """A task whose training on S_train leaves the finite numbers."""
    task = small.task()
    return dataclasses.replace(task, condensed=Recipe(task.condensed.problem, Adam(3, 1e30)))


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: type(driver).__name__)
def test_a_training_that_diverges_is_named(driver: Any) -> None:
    with pytest.raises(ConvergenceError, match=r"step 0: none of \d points is finite, in .*target.*S_train diverges"):
        condense(HCDC(driver=driver), diverging(), CARD)


def test_points_that_are_not_finite_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a bank of four, one has a real hypergradient that is NaN."""
    original = Points.sound

    def poisoned(self: Points, step: int) -> Points:
        self.target[1] = float("nan")
        kept = original(self, step)
        assert kept.count == self.count - 1
        return kept

    monkeypatch.setattr(Points, "sound", poisoned)
    found = condense(HCDC(driver=Bank(starts=4, stages=1, chunk=4, steps=3, batch=4)), small.task(), CARD)
    assert torch.isfinite(found.val.x).all()
    assert all("alignment_loss" in record for record in found.card.history[1:])


def test_steps_of_s_val_that_are_not_finite_are_named() -> None:
    task, method = small.task(), HCDC(driver=Bank(starts=4, stages=1, chunk=4, steps=30, batch=4))
    state, _ = method.step(task, method.init(task), 0)
    state["val"] = state["val"] | {"x": torch.full_like(state["val"]["x"], float("inf"))}

    def on() -> None:
        after = state
        for number in range(1, 25):
            after, _ = method.step(task, after, number)

    with pytest.raises(ConvergenceError, match=r"20 steps in a row up to 19 .*the last in loss"):
        on()


def test_a_gcond_that_diverges_is_named() -> None:
    with pytest.raises(ConvergenceError, match=r"gcond-x: step 0 left values that are not finite in .*; lower `lr`"):
        condense(GCond(structure=False, epochs=2, outer=2, inner=1, lr=1e38), small.task(), CARD)


def test_a_set_that_is_not_finite_is_not_an_artefact(monkeypatch: pytest.MonkeyPatch) -> None:
    task, method = small.task(), small.METHODS["random"]
    made = method.extract(task, method.init(task))
    broken = made[0], made[1].replace(x=made[1].x * float("nan"))
    monkeypatch.setattr(type(method), "extract", lambda self, task, state: broken)
    with pytest.raises(ConvergenceError, match=r"random: after step 0 val\.x holds values that are not finite"):
        condense(method, task, CARD)
