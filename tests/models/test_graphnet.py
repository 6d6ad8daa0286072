"""Regularisers that are searched, and hypergradients of every graph family at a retrained optimum."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional

from hcdc.bilevel import Direct, Implicit, hypergradient
from hcdc.data import GraphData, Sparse
from hcdc.errors import InputError
from hcdc.models import Appnp, GraphNet, Heat, PolyFilter, Ppr, Sign
from tests.cases import GRAPH_POINTS, as_double, dense_graph, normal, random_graph
from tests.reference import optimum
from tests.reference.graphs import normalised
from tests.reference.second_order import flatten

FAMILIES = [PolyFilter, Ppr, Heat, Sign, Appnp]
PLAIN = [name for name in GRAPH_POINTS if not name.startswith("regularised")]
DECAY, DROP, SMOOTHING = (torch.tensor(v, dtype=torch.float64) for v in ([-2.0, -3.0], [0.4], [0.2]))


def dense_thinned(adjacency: Tensor | Sparse, p: float) -> Tensor:
    """The normalised adjacency with self-loops of the graph whose edges are weakened by 1 - p."""
    return normalised((1 - p) * (adjacency.dense() if isinstance(adjacency, Sparse) else adjacency).double())


def regular(name: str, *regularisers: str) -> tuple[GraphNet, Any]:
    """The problem of a point of `GRAPH_POINTS` with other regularisers, and the point."""
    point = GRAPH_POINTS[name]()
    settings = {key: getattr(point.problem, key) for key in point.problem.__dataclass_fields__}
    return type(point.problem)(**settings | {"regularisers": regularisers}), point


@pytest.mark.parametrize("name", PLAIN)
def test_decay_is_one_of_each_layer(name: str) -> None:
    """In the training loss, instead of `weight_decay`, and nowhere else."""
    problem, point = regular(name, "decay")
    hyper = point.hyper | {"decay": DECAY}
    first, second = (sum(float(point.params[key].square().sum()) for key in layer) for layer in (("w1", "b1"), ("w2", "b2")))
    bare = point.problem.outer(point.params, point.hyper, point.train)
    torch.testing.assert_close(float(problem.inner(point.params, hyper, point.train) - bare), (1e-2 * first + 1e-3 * second) / 2)
    assert torch.equal(problem.outer(point.params, hyper, point.val), point.problem.outer(point.params, point.hyper, point.val))


@pytest.mark.parametrize("name", PLAIN)
def test_smoothing_is_in_the_training_loss_alone(name: str) -> None:
    problem, point = regular(name, "smoothing")
    hyper = point.hyper | {"smoothing": SMOOTHING}
    logits, labels = problem.logits(point.params, hyper, point.train, {}), point.train.labels()
    expected = functional.cross_entropy(logits, labels, label_smoothing=0.2) + point.problem.penalty(point.params, hyper)
    torch.testing.assert_close(problem.inner(point.params, hyper, point.train), expected)
    assert torch.equal(problem.outer(point.params, hyper, point.val), point.problem.outer(point.params, point.hyper, point.val))
    assert problem.metrics(point.params, hyper, point.val) == point.problem.metrics(point.params, point.hyper, point.val)


@pytest.mark.parametrize("name", PLAIN)
def test_edge_drop_is_a_graph_of_weaker_edges(name: str) -> None:
    """The same logits as on a dense graph whose adjacency is scaled; none at rate 0."""
    problem, point = regular(name, "edge_drop")
    scaled = point.train.replace(adjacency=(1 - 0.4) * point.train.adjacency.dense())
    found = problem.logits(point.params, point.hyper | {"edge_drop": DROP}, point.train, {})
    torch.testing.assert_close(found, point.problem.logits(point.params, point.hyper, scaled, {}))
    none = problem.logits(point.params, point.hyper | {"edge_drop": 0 * DROP}, point.train, {})
    torch.testing.assert_close(none, point.problem.logits(point.params, point.hyper, point.train, {}))


GRAPHS = {"sparse": lambda: as_double(random_graph(seed=1).train), "dense": lambda: as_double(dense_graph())}


@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)
def test_the_thinned_graph(make: Any) -> None:
    data: GraphData = make()
    problem, h = PolyFilter(3, regularisers=("edge_drop",)), normal(data.size, 2, seed=1)

    def product(rate: Tensor) -> Tensor:
        return problem.graph({"edge_drop": rate}, data) @ h

    torch.testing.assert_close(product(DROP), dense_thinned(data.adjacency, 0.4) @ h)
    assert gradcheck(product, DROP.clone().requires_grad_())
    assert gradgradcheck(product, DROP.clone().requires_grad_())


def test_degrees() -> None:
    sparse = random_graph(seed=1).train
    torch.testing.assert_close(sparse.degree, sparse.adjacency.dense().sum(1))
    torch.testing.assert_close(dense_graph().degree, dense_graph().adjacency.sum(1))


RETRAINED = ["bernstein", "ppr", "heat", "sign", "appnp", "regularised filter"]


@pytest.mark.parametrize("name", RETRAINED)
def test_hypergradients_are_finite_differences_of_the_retrained_optimum(name: str) -> None:
    """With SiLU where the family has ReLU, whose minima lie on kinks, where nothing can be differentiated."""
    point = GRAPH_POINTS[name]()
    if name != "appnp":
        object.__setattr__(point.problem, "activate", functional.silu)
    found = optimum.minimise(point.problem, point.params, point.hyper, point.train)
    expected, _ = optimum.central_differences(point.problem, found, *point[2:])
    exact = flatten(hypergradient(point.problem, found, *point[2:], adjoint=Implicit(Direct()))[0])
    assert (exact.abs() > 1e-4).all(), "a hypergradient of nothing shows nothing"
    torch.testing.assert_close(exact, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("regularisers", [("l1",), ("decay", "decay"), "decay"], ids=str)
def test_regularisers_that_are_none(family: Any, regularisers: Any) -> None:
    with pytest.raises(InputError, match=r"^`regularisers` = .* must be of decay, edge_drop, smoothing, each at most once; "):
        family(3, regularisers=regularisers)


@pytest.mark.parametrize("family", FAMILIES)
def test_axes_of_regularisers_follow_those_of_the_family(family: Any) -> None:
    plain, regular = list(family(3).space().axes), list(family(3, regularisers=["smoothing", "decay"]).space().axes)
    assert regular == [*plain, "smoothing", "decay.0", "decay.1"]
