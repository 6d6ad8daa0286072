"""Polynomial graph filters against dense matrices, and what must not change under a renaming of the nodes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vmap

from hcdc._tensors import expand, ravel, stack, take
from hcdc.bilevel import Adam, SecondOrder, fit
from hcdc.data import GraphData, Sparse
from hcdc.errors import InputError
from hcdc.models import PolyFilter, polyfilter
from hcdc.models.polyfilter import BASES
from tests.cases import as_double, dense_graph, double, generator, normal, random_graph
from tests.reference.graphs import normalised, polynomial

each_basis = pytest.mark.parametrize("basis", BASES)
GRAPHS = {"sparse": lambda: as_double(random_graph(seed=1).train), "dense": lambda: as_double(dense_graph())}
each_graph = pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)


def plain(data: GraphData) -> Tensor:
    return normalised(data.adjacency.dense() if isinstance(data.adjacency, Sparse) else data.adjacency)


def problem_and_params(**settings: Any) -> tuple[PolyFilter, dict[str, Tensor]]:
    problem = PolyFilter(3, num_features=5, hidden=4, **settings)
    params = double(problem.init({}, generator(0)))
    return problem, params | {"b1": normal(4, seed=1), "b2": normal(3, seed=2)}


@each_graph
@each_basis
@pytest.mark.parametrize("order", [0, 1, 2, 5])
def test_filter_is_the_polynomial(make: Any, basis: Any, order: int) -> None:
    data, weights, h = make(), normal(order + 1, seed=3), normal(make().size, 2, seed=4)
    found = PolyFilter(3, order=order, basis=basis).filter(weights, data.propagation, h)
    torch.testing.assert_close(found, polynomial(plain(data), weights, basis) @ h)


@each_graph
@each_basis
@pytest.mark.parametrize("order", [0, 1, 3])
def test_filtering_is_the_polynomial(make: Any, basis: Any, order: int) -> None:
    """As the matrix that a dense graph has, as products with a sparse one, and as the number that it is without edges."""
    data, weights, h = make(), normal(order + 1, seed=3), normal(make().size, 2, seed=4)
    problem = PolyFilter(3, order=order, basis=basis)
    bare = data.replace(adjacency=torch.zeros(data.size, data.size, dtype=torch.float64))
    assert isinstance(bare.propagation, Sparse)
    for graph in (data, bare):
        found = problem.filtering({"filter": weights}, graph)(h)
        torch.testing.assert_close(found, polynomial(plain(graph), weights, basis) @ h)


def test_the_matrices_of_a_graph_are_made_once_but_where_it_is_learned() -> None:
    problem, data = PolyFilter(3, order=2), as_double(dense_graph())
    assert data.basis(problem, problem.matrices) is data.basis(problem, problem.matrices)
    learned = data.replace(adjacency=data.adjacency.clone().requires_grad_())
    with torch.no_grad():
        problem.filtering({"filter": normal(3, seed=3)}, learned)
    value = problem.filtering({"filter": normal(3, seed=3)}, learned)(normal(8, 2, seed=4)).sum()
    assert torch.autograd.grad(value, learned.adjacency)[0].norm() > 0


def test_beyond_a_size_no_matrix_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, data, h = PolyFilter(3, order=2), as_double(dense_graph()), normal(8, 2, seed=4)
    expected = problem.filtering({"filter": normal(3, seed=3)}, data)(h)
    monkeypatch.setattr(polyfilter, "SMALL", 7)
    monkeypatch.setattr(PolyFilter, "matrices", None)
    torch.testing.assert_close(problem.filtering({"filter": normal(3, seed=3)}, data)(h), expected)


def test_a_fixed_decay_trains_as_its_penalty_does() -> None:
    """By the optimiser, and by the gradient of the penalty."""

    class Penalised(PolyFilter):
        def fixed_decay(self) -> float:
            return 0.0

    hyper, data = {"filter": normal(2, 3, seed=3)}, as_double(dense_graph())
    found = []
    for family in (PolyFilter, Penalised):
        problem = family(3, num_features=5, hidden=4, order=2, weight_decay=0.03)
        start = expand(problem_and_params(order=2)[1], 2)
        found.append(fit(problem, hyper, data, Adam(30, 0.05), seed=0, params=start))
        found.append(SecondOrder.at(problem, start, hyper, data, 0.1).hessian(ravel(start)))
    torch.testing.assert_close(found[0], found[2])
    torch.testing.assert_close(found[1], found[3])


def test_order_zero_reads_no_graph() -> None:
    data, h = as_double(dense_graph()), normal(8, 2, seed=5)
    edgeless = data.replace(adjacency=torch.zeros_like(data.adjacency))
    problem = PolyFilter(3, order=0)
    weights = torch.tensor([0.7], dtype=torch.float64)
    assert torch.equal(problem.filter(weights, data.propagation, h), 0.7 * h)
    assert torch.equal(problem.filter(weights, edgeless.propagation, h), 0.7 * h)


def test_chebyshev_identity() -> None:
    """T_m T_n = (T_{m+n} + T_{|m-n|}) / 2 for the operators that the family applies."""
    data, h = as_double(random_graph(seed=2).train), normal(15, 2, seed=6)
    problem = PolyFilter(3, order=6, basis="chebyshev")

    def t(k: int, h: Tensor) -> Tensor:
        return problem.filter(torch.eye(7, dtype=torch.float64)[k], data.propagation, h)

    for m, n in ((0, 3), (1, 1), (2, 4), (3, 2), (1, 5)):
        torch.testing.assert_close(t(m, t(n, h)), (t(m + n, h) + t(abs(m - n), h)) / 2)


@each_graph
@each_basis
def test_logits_are_those_of_the_dense_network(make: Any, basis: Any) -> None:
    data = make()
    problem, params = problem_and_params(order=2, basis=basis)
    weights = normal(3, seed=7)
    c = polynomial(plain(data), weights, basis)
    hidden = (c @ data.x @ params["w1"] + params["b1"]).clamp_min(0)
    expected = (c @ hidden @ params["w2"] + params["b2"])[data.mask]
    torch.testing.assert_close(problem.logits(params, {"filter": weights}, data, {}), expected)


def test_sparse_features_give_the_same_logits() -> None:
    data = as_double(random_graph().train)
    problem, params = problem_and_params(order=1)
    hyper = {"filter": normal(2, seed=8)}
    torch.testing.assert_close(problem.logits(params, hyper, data.replace(x=Sparse.from_dense(data.x)), {}), problem.logits(params, hyper, data, {}))


@each_graph
@each_basis
def test_losses_do_not_depend_on_the_order_of_the_nodes(make: Any, basis: Any) -> None:
    data = make()
    problem, params = problem_and_params(order=3, basis=basis)
    hyper, order = {"filter": normal(4, seed=9)}, torch.randperm(data.size, generator=generator(3))
    renamed = data.take(order)
    assert not torch.equal(renamed.x, data.x)
    for loss in (problem.inner, problem.outer):
        torch.testing.assert_close(loss(params, hyper, renamed), loss(params, hyper, data))


def test_labels_outside_of_the_mask_do_not_matter() -> None:
    data = as_double(random_graph().train)
    problem, params = problem_and_params()
    hyper = {"filter": normal(4, seed=10)}
    other = data.replace(y=torch.where(data.mask, data.y, 2))
    assert torch.equal(problem.inner(params, hyper, other), problem.inner(params, hyper, data))


def test_a_batch_is_its_members() -> None:
    data, (problem, params) = as_double(random_graph().train), problem_and_params(order=2)
    many = stack([{k: v + 0.1 * i for k, v in params.items()} for i in range(3)])
    hyper = {"filter": normal(3, 3, seed=11)}
    together = vmap(lambda p, h: problem.inner(p, h, data))(many, hyper)
    alone = torch.stack([problem.inner(take(many, i), take(hyper, i), data) for i in range(3)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("sparse_features", [True, False])
def test_dropout_acts_on_the_features_and_the_hidden_layer(sparse_features: bool) -> None:
    """Entries of one layer are dropped or doubled, one by one; nothing else changes."""
    data = as_double(dense_graph())
    data = data.replace(x=Sparse.from_dense(data.x)) if sparse_features else data
    problem, params = problem_and_params(order=0, dropout=0.5)
    noise = problem.noise(data, generator(0))
    before, x = (value.dense() if isinstance(value, Sparse) else value for value in (data.x, noise["x"]))
    assert ((x == 0) ^ (x == 2 * before)).all()
    for kept in (x != 0, noise["hidden"] != 0):
        assert 0.2 < kept.double().mean() < 0.8
    assert noise["hidden"].shape == (8, 4)
    expected = ((x @ params["w1"] + params["b1"]).relu() * noise["hidden"]) @ params["w2"] + params["b2"]
    torch.testing.assert_close(problem.logits(params, {"filter": torch.ones(1, dtype=torch.float64)}, data, noise), expected)


def test_noise_is_drawn_from_its_generator() -> None:
    problem, data = PolyFilter(3, num_features=5, dropout=0.5), as_double(dense_graph())
    draws = generator(0)
    one, two, again = problem.noise(data, draws), problem.noise(data, draws), problem.noise(data, generator(0))
    for key in ("x", "hidden"):
        assert torch.equal(one[key], again[key])
        assert not torch.equal(one[key], two[key])
    assert PolyFilter(3, num_features=5).noise(data, draws) == {}


def test_space_fits_the_family() -> None:
    problem = PolyFilter(3, num_features=5, order=2)
    hyper = problem.space().relax(problem.space(-2, 0.5).sample(generator(0)) | {"filter.0": 1.0})
    assert hyper["filter"].shape == (3,)
    axes = problem.space(-2, 0.5).axes
    assert {(axis.low, axis.high) for axis in axes.values()} == {(-2, 0.5)}


@pytest.mark.parametrize("coefficients", [2, 4])
def test_a_filter_of_another_length_is_refused(coefficients: int) -> None:
    problem = PolyFilter(3, num_features=5, order=2)
    params = problem.init({}, generator(0))
    with pytest.raises(InputError, match=r"`filter` = .* 3 coefficients"):
        problem.logits(params, {"filter": torch.ones(coefficients)}, dense_graph(), {})


def test_init_is_reproducible_and_bounded() -> None:
    problem = PolyFilter(3, num_features=100, hidden=16)
    one, again, other = (problem.init({}, generator(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["w1"], other["w1"])
    bound = (6 / 116) ** 0.5
    assert 0.95 * bound < one["w1"].abs().max() <= bound
    assert one["b1"].count_nonzero() == one["b2"].count_nonzero() == 0


@pytest.mark.parametrize("settings", [{"order": -1}, {"basis": "fourier"}, {"hidden": 0}, {"dropout": 1.0}, {"criterion": "accuracy"}], ids=str)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(InputError, match=f"^`{name}` = "):
        PolyFilter(3, **settings)
