"""Families for tables: what their hyperparameters do, and that they differentiate twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from hcdc.bilevel import Adam, Direct, Implicit, fit, hypergradient
from hcdc.data import Column, TableData
from hcdc.errors import InputError
from hcdc.models import Logistic, Mlp
from tests.cases import double, generator, normal


def table(classes: int, n: int = 12) -> TableData:
    """A number and a column of three categories."""
    town = torch.nn.functional.one_hot(torch.arange(n) % 3, 3).double()
    y = torch.arange(n) % classes if classes else normal(n, seed=1)
    columns = (Column("age"), Column("town", ("a", "b", "c")))
    return TableData(torch.cat([normal(n, 1, seed=0), town], 1), y, classes, columns, Column("y"))


FAMILIES: dict[str, Any] = {"logistic": Logistic, "mlp": Mlp}


@pytest.mark.parametrize("classes", [0, 3])
def test_the_hypergradient_is_the_slope_of_the_retrained_optimum(classes: int) -> None:
    data = table(classes)
    problem = Logistic(classes, columns=data.widths)
    hyper = double(problem.space().relax(problem.space().sample(generator(0))))
    hyper = {key: value * 0 - 1 for key, value in hyper.items()}
    start = double(problem.init(hyper, generator(1)))

    def optimum(point: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        batch = {key: value.unsqueeze(0) for key, value in point.items()}
        params = {key: value.unsqueeze(0) for key, value in start.items()}
        for rate in (0.05, 5e-3, 1e-4):
            params = fit(problem, batch, data, Adam(150, rate), seed=0, params=params)
        return {key: value[0] for key, value in params.items()}

    best = optimum(hyper)
    found, _ = hypergradient(problem, best, hyper, data, data, adjoint=Implicit(Direct()), throw=False)
    step = 1e-2
    shift = torch.zeros_like(hyper["log10_decay"])
    shift[0] = step
    ends = [hyper | {"log10_decay": hyper["log10_decay"] + sign * shift} for sign in (1, -1)]
    high, low = (float(problem.outer(optimum(end), end, data)) for end in ends)
    assert float(found["log10_decay"][0]) == pytest.approx((high - low) / (2 * step), rel=5e-2, abs=1e-4)


def test_each_column_has_its_own_decay() -> None:
    problem = Logistic(2, columns=(1, 3))
    params = {"w": torch.ones(4, 2), "b": torch.ones(2)}
    assert float(problem.penalty(params, {"log10_decay": torch.tensor([0.0, 1.0])})) == pytest.approx((2 + 10 * 6) / 2)


def test_narrow_networks_are_the_first_units_of_wide_ones() -> None:
    problem, data = Mlp(2, columns=(1, 3), hidden=(2, 4)), table(2)
    hyper = double(problem.space().relax({"activation": "tanh", "width": "2", "log10_decay": -2.0}))
    params = double(problem.init(hyper, generator(0)))
    narrow = torch.tanh(data.x @ params["w1"] + params["b1"])[:, :2] @ params["w2"][:2] + params["b2"]
    torch.testing.assert_close(problem.logits(params, hyper, data, {}), narrow)


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_is_noise_of_the_training(family: str) -> None:
    data, problem = table(2), FAMILIES[family](2, columns=(1, 3), dropout=0.5)
    hyper = double(problem.space().interior(generator(0)))
    params, noise = double(problem.init(hyper, generator(0))), problem.noise(data, generator(1))
    assert not torch.equal(problem.noisy(params, hyper, data, noise), problem.inner(params, hyper, data))
    assert replace(problem, dropout=0.0).noise(data, generator(1)) == {}


def test_metrics_of_a_regression() -> None:
    data, problem = table(0), Logistic(0, columns=(1, 3))
    hyper = double(problem.space().interior(generator(0)))
    mean = {"w": torch.zeros(4, 1).double(), "b": data.y.mean().reshape(1)}
    found = problem.metrics(mean, hyper, data)
    assert float(found["accuracy"]) == pytest.approx(0, abs=1e-9)
    assert float(found["loss"]) == pytest.approx(float(data.y.var(correction=0)))


BROKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "no columns": ("logistic", {"columns": ()}),
    "one activation": ("mlp", {"activations": ("tanh",)}),
    "an unknown activation": ("mlp", {"activations": ("tanh", "step")}),
    "falling widths": ("mlp", {"hidden": (4, 2)}),
    "one width": ("mlp", {"hidden": (4,)}),
    "soft accuracy of a regression": ("logistic", {"criterion": "soft-accuracy", "num_classes": 0}),
}


@pytest.mark.parametrize(("family", "settings"), BROKEN.values(), ids=BROKEN)
def test_settings_that_make_no_model(family: str, settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"^`{next(iter(settings))}` = "):
        FAMILIES[family](**({"num_classes": 2} | settings))
