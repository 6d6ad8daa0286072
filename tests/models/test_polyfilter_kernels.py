"""Bernstein polynomials, and filters whose coefficients follow from one number."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from hcdc.models import GraphFilter, Heat, PolyFilter, Ppr
from tests.cases import as_double, dense_graph, double, generator, normal, random_graph
from tests.reference.graphs import normalised, polynomial


def number(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


CLOSED: dict[str, Any] = {
    "ppr": (Ppr, "alpha", lambda alpha, k, order: (1 - alpha) ** k * (1 if k == order else alpha)),
    "heat": (Heat, "t", lambda t, k, order: math.exp(-t) * t**k / math.factorial(k)),
}
each_kernel = pytest.mark.parametrize(("family", "name", "formula"), CLOSED.values(), ids=CLOSED)


@each_kernel
@pytest.mark.parametrize("order", [0, 1, 6])
@pytest.mark.parametrize("value", [0.2, 0.9])
def test_coefficients_in_closed_form(family: Any, name: str, formula: Any, order: int, value: float) -> None:
    found = family(3, order=order).coefficients({name: number(value)})
    assert found.tolist() == pytest.approx([formula(value, k, order) for k in range(order + 1)])


def test_the_coefficients_add_up() -> None:
    """PageRank always; the heat kernel up to the tail of a Poisson distribution."""
    for value in (0.05, 0.5, 0.95):
        assert float(Ppr(3).coefficients({"alpha": number(value)}).sum()) == pytest.approx(1)
    assert 0.98 < float(Heat(3).coefficients({"t": number(5.0)}).sum()) < 1


def test_the_heat_kernel_is_the_exponential_of_the_laplacian() -> None:
    data, h = as_double(random_graph(seed=1).train), normal(15, 2, seed=4)
    problem, a = Heat(3, order=30), normalised(random_graph(seed=1).train.adjacency.dense())
    found = problem.filter(problem.coefficients({"t": number(1.7)}), data.propagation, h)
    torch.testing.assert_close(found, torch.linalg.matrix_exp(-1.7 * (torch.eye(15, dtype=torch.float64) - a)) @ h)


def test_personalised_pagerank_is_its_resolvent() -> None:
    """alpha (I - (1 - alpha) Â)^-1, from enough steps."""
    data, h = as_double(dense_graph()), normal(8, 2, seed=4)
    problem, a = Ppr(3, order=80), normalised(dense_graph().adjacency)
    found = problem.filter(problem.coefficients({"alpha": number(0.4)}), data.propagation, h)
    torch.testing.assert_close(found, 0.4 * torch.linalg.solve(torch.eye(8, dtype=torch.float64) - 0.6 * a, h))


@each_kernel
def test_logits_are_those_of_the_dense_network(family: Any, name: str, formula: Any) -> None:
    data, problem = as_double(random_graph(seed=1).train), family(3, num_features=5, hidden=4, order=4)
    params = double(problem.init({}, generator(0))) | {"b1": normal(4, seed=1), "b2": normal(3, seed=2)}
    weights = torch.tensor([formula(0.6, k, 4) for k in range(5)], dtype=torch.float64)
    c = polynomial(normalised(data.adjacency.dense()), weights, "adjacency")
    hidden = (c @ data.x @ params["w1"] + params["b1"]).clamp_min(0)
    torch.testing.assert_close(problem.logits(params, {name: number(0.6)}, data, {}), (c @ hidden @ params["w2"] + params["b2"])[data.mask])


@each_kernel
def test_coefficients_differentiate_twice(family: Any, name: str, formula: Any) -> None:
    problem: GraphFilter = family(3, order=5)
    for value in (0.0, 0.4):
        point = number(value).requires_grad_()
        assert gradcheck(lambda p: problem.coefficients({name: p}), point)
        assert gradgradcheck(lambda p: problem.coefficients({name: p}), point)


def test_bernstein_polynomials_divide_unity() -> None:
    """Coefficients of one are the identity; coefficients 2k / order are the Laplacian."""
    data, h = as_double(dense_graph()), normal(8, 2, seed=3)
    for order in (1, 4, 9):
        problem = PolyFilter(3, order=order, basis="bernstein")
        ones = torch.ones(order + 1, dtype=torch.float64)
        torch.testing.assert_close(problem.filter(ones, data.propagation, h), h)
        line = 2 * torch.arange(order + 1, dtype=torch.float64) / order
        torch.testing.assert_close(problem.filter(line, data.propagation, h), h - data.propagation @ h)
