"""Points in the coordinates of the span of S_train: the same numbers as in all coordinates, and fewer of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hcdc._tensors import stack
from hcdc.bilevel import Implicit, Neumann, sensitivities
from hcdc.condense import Measure, Points, narrowed, total_derivative
from hcdc.data import GraphData, Sparse
from hcdc.models import GraphNasNet, GraphNet, PolyFilter, Sign
from tests import small
from tests.cases import double, generator, normal, small_appnp

FEATURES, NODES = 20, 6
SIZES: dict[str, Any] = {"num_features": FEATURES, "hidden": 3, "order": 2, "weight_decay": 0.03}
FAMILIES: dict[str, GraphNet] = {
    "filter": PolyFilter(3, **SIZES),
    "sign": Sign(3, **SIZES),
    "appnp": small_appnp(num_features=FEATURES),
    "attention": GraphNasNet(3, num_features=FEATURES, activations=("tanh", "softplus"), heads=(1, 2), widths=(2, 3), pool=4),
    "regularised": PolyFilter(3, **SIZES, regularisers=("edge_drop", "smoothing")),
}
SERIES = Implicit(Neumann(5, 0.1), damping=0.1)
"""A polynomial of the Hessian keeps to the span as its inverse does, and is cheap."""


def graph(seed: int, nodes: int = NODES) -> GraphData:
    """Dense, float64, with more features than nodes."""
    weights = torch.rand(nodes, nodes, generator=generator(seed), dtype=torch.float64)
    return GraphData(normal(nodes, FEATURES, seed=seed), weights, torch.arange(nodes) % 3, torch.ones(nodes, dtype=torch.bool), 3).project()


def batch(problem: GraphNet) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(parameters, hyperparameters) of two points inside of the space; the parameters lie in nobody's span."""
    hyper = double(stack([problem.space().interior(generator(seed)) for seed in (0, 1)]))
    return double(stack([problem.init({}, generator(seed)) for seed in (2, 3)])), hyper


@pytest.mark.parametrize("problem", FAMILIES.values(), ids=FAMILIES)
def test_coordinates_are_those_of_the_sensitivities(problem: GraphNet) -> None:
    train, (params, hyper) = graph(0), batch(problem)
    expected, _ = sensitivities(problem, params, hyper, train, SERIES)
    narrow, coordinates, data, basis = narrowed(problem, params, train)
    found, _ = sensitivities(narrow, coordinates, hyper, data, SERIES)
    assert found["w1"].numel() * FEATURES == expected["w1"].numel() * NODES
    for name, value in found.items():
        torch.testing.assert_close(basis[name] @ value if name in basis else value, expected[name], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("problem", FAMILIES.values(), ids=FAMILIES)
def test_hypergradients_on_other_data_and_their_slopes_are_the_same(problem: GraphNet) -> None:
    train, (params, hyper) = graph(0), batch(problem)
    narrow, coordinates, data, basis = narrowed(problem, params, train)
    ways = [(sensitivities(problem, params, hyper, train, SERIES)[0], {}), (sensitivities(narrow, coordinates, hyper, data, SERIES)[0], basis)]
    found: list[tuple[Tensor, Tensor]] = []
    for sensitivity, known in ways:
        val = graph(1)
        x = val.x.requires_grad_()
        slope, _ = total_derivative(problem, params, hyper, sensitivity, val.replace(x=x), True, known)
        found.append((slope.detach(), torch.autograd.grad(slope.square().sum(), x)[0]))
    for expected, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-9)


def test_sparse_features_span_what_dense_ones_do() -> None:
    problem, train = FAMILIES["filter"], graph(0)
    params, _ = batch(problem)
    dense, sparse = (narrowed(problem, params, train.replace(x=x))[2].x for x in (train.x, Sparse.from_dense(train.x)))
    assert torch.equal(dense, sparse)


@pytest.mark.parametrize(
    ("problem", "train"),
    [(PolyFilter(3, **SIZES, regularisers=("decay",)), graph(0)), (FAMILIES["filter"], graph(0, FEATURES // 2 + 1))],
    ids=["a decay that is searched", "nearly as many nodes as features"],
)
def test_all_coordinates_are_kept_where_a_span_would_not_do(problem: GraphNet, train: GraphData) -> None:
    params, _ = batch(problem)
    assert narrowed(problem, params, train) == (problem, params, train, {})


def test_a_bank_keeps_its_basis() -> None:
    task = small.task()
    problem: Any = task.condensed.problem
    train = task.real.train.take(task.real.train.nodes[: problem.num_features // 2])
    hyper = stack([task.space.relax(config) for config in task.space.configs(3, 3)])
    points = Measure()(task, train, task.condensed.fit(hyper, train, seed=0), hyper, 0)
    assert set(points.basis) == {"w1"}
    again = Points.from_tensors(points.tensors())
    assert torch.equal(again.basis["w1"], points.basis["w1"])
    parts = [again.take(slice(0, 1)), again.take(torch.tensor([2, 1]))]
    joined = Points.join(parts)
    assert joined.count == 3
    for name, value in joined.sound(0).members().items():
        torch.testing.assert_close(value, points.take(torch.tensor([0, 2, 1])).members()[name], equal_nan=True)
    slopes = [each.slope(problem, task.real.val)[0] for each in (points, again)]
    assert torch.equal(*slopes)
    turn = torch.linalg.qr(torch.randn(points.basis["w1"].shape[1], points.basis["w1"].shape[1], generator=generator(0))).Q
    elsewhere = replace(points, basis={"w1": points.basis["w1"] @ turn}, sensitivity=points.sensitivity | {"w1": turn.T @ points.sensitivity["w1"]})
    both = Points.join([points, elsewhere]).slope(problem, task.real.val)[0]
    torch.testing.assert_close(both, torch.cat([slopes[0], slopes[0]]), rtol=1e-3, atol=1e-5)
