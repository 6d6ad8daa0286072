"""SIGN against the dense formula, and the powers that it keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from hcdc._tensors import stack, take
from hcdc.data import GraphData, Sparse
from hcdc.errors import InputError
from hcdc.models import Sign, sign
from tests.cases import as_double, dense_graph, double, generator, normal, random_graph
from tests.reference.graphs import normalised

GRAPHS = {"sparse": lambda: as_double(random_graph(seed=1).train), "dense": lambda: as_double(dense_graph())}
each_graph = pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)
HOPS = torch.tensor([0.9, 0.5, 0.2], dtype=torch.float64)


def problem_and_params(**settings: Any) -> tuple[Sign, dict[str, Tensor]]:
    problem = Sign(3, **{"num_features": 5, "hidden": 4, "order": 2} | settings)
    params = double(problem.init({}, generator(0)))
    return problem, params | {"b1": normal(problem.order + 1, 4, seed=1), "b2": normal(3, seed=2)}


def dense_logits(params: dict[str, Tensor], hops: Tensor, data: GraphData) -> Tensor:
    a = normalised(data.adjacency.dense() if isinstance(data.adjacency, Sparse) else data.adjacency)
    parts = [hop * torch.linalg.matrix_power(a, k) @ data.x @ params["w1"][k] + params["b1"][k] for k, hop in enumerate(hops)]
    return (torch.cat(parts, 1).clamp_min(0) @ params["w2"] + params["b2"])[data.mask]


@each_graph
@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("limit", [sign.KEPT, 0], ids=["kept", "propagated"])
def test_logits_are_those_of_the_dense_network(make: Any, order: int, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign, "KEPT", limit)
    data, hops = make(), normal(order + 1, seed=3)
    problem, params = problem_and_params(order=order)
    torch.testing.assert_close(problem.logits(params, {"hop": hops}, data, {}), dense_logits(params, hops, data))
    assert bool(data._powers) == bool(limit)


@pytest.mark.parametrize("limit", [sign.KEPT, 0], ids=["kept", "propagated"])
def test_sparse_features_give_the_same_logits(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign, "KEPT", limit)
    data, (problem, params) = as_double(random_graph().train), problem_and_params()
    found = problem.logits(params, {"hop": HOPS}, data.replace(x=Sparse.from_dense(data.x)), {})
    torch.testing.assert_close(found, problem.logits(params, {"hop": HOPS}, data, {}))


def test_powers_are_made_once_a_container() -> None:
    data = as_double(random_graph().train)
    first = data.powers(2)
    assert data.powers(2) is first
    assert first.shape == (3, data.nodes.numel(), 5)
    changed = data.replace(x=2 * data.x)
    torch.testing.assert_close(changed.powers(2), 2 * first)
    assert data.powers(2) is first
    other = random_graph().val
    assert data.only(other.mask).powers(2).shape[1] == other.nodes.numel()


def test_powers_made_inside_a_transform_serve_outside_of_it() -> None:
    """The first look may be under `vmap(grad)`; what is kept is a plain tensor by then."""
    data, fresh, (problem, params) = random_graph().train, random_graph().train, problem_and_params()
    params, hops = {key: value.float() for key, value in params.items()}, HOPS.float()
    many, hyper = stack([params, params]), {"hop": torch.stack([hops, 2 * hops])}
    vmap(grad(lambda p, h: problem.inner(p, h, data)))(many, hyper)
    assert torch.equal(data.powers(2), fresh.powers(2))
    torch.testing.assert_close(problem.inner(params, {"hop": hops}, data), problem.inner(params, {"hop": hops}, fresh))


def test_gradients_reach_learned_features_and_structure() -> None:
    """As a condenser asks for: of the outer loss in the tensors of a dense container, made anew for each value."""
    data, (problem, params) = as_double(dense_graph()), problem_and_params()

    def outer(x: Tensor, adjacency: Tensor) -> Tensor:
        return problem.outer(params, {"hop": HOPS}, data.replace(x=x, adjacency=adjacency))

    leaves = [data.x.clone().requires_grad_(), data.adjacency.clone().requires_grad_()]
    assert torch.autograd.gradcheck(outer, leaves)
    for found, leaf in zip(grad(outer, argnums=(0, 1))(data.x, data.adjacency), leaves, strict=True):
        torch.testing.assert_close(found, torch.autograd.grad(outer(*leaves), leaf)[0])


def test_a_batch_is_its_members() -> None:
    data, (problem, params) = as_double(random_graph().train), problem_and_params()
    many = stack([{k: v + 0.1 * i for k, v in params.items()} for i in range(3)])
    hyper = {"hop": normal(3, 3, seed=11)}
    together = vmap(lambda p, h: problem.inner(p, h, data))(many, hyper)
    torch.testing.assert_close(together, torch.stack([problem.inner(take(many, i), take(hyper, i), data) for i in range(3)]))


def test_a_hop_of_no_weight_is_not_there() -> None:
    data, (problem, params) = as_double(random_graph().train), problem_and_params()
    hyper = {"hop": HOPS * torch.tensor([1, 0, 1])}
    other = params | {"w1": params["w1"] + torch.tensor([0.0, 5.0, 0.0], dtype=torch.float64).reshape(3, 1, 1)}
    assert torch.equal(problem.logits(params, hyper, data, {}), problem.logits(other, hyper, data, {}))


def test_dropout_acts_on_the_hidden_layer() -> None:
    data, (problem, params) = as_double(random_graph().train), problem_and_params(dropout=0.5)
    noise = problem.noise(data, generator(0))
    assert noise["hidden"].shape == (data.nodes.numel(), 12)
    assert noise["hidden"].unique().tolist() == [0, 2]
    nothing = problem.logits(params, {"hop": HOPS}, data, {"hidden": torch.zeros_like(noise["hidden"])})
    torch.testing.assert_close(nothing, params["b2"].expand_as(nothing))


@pytest.mark.parametrize("settings", [{"order": -1}, {"hidden": 0}], ids=str)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(InputError, match=f"^`{name}` = "):
        Sign(3, **settings)


def test_hop_weights_of_another_length_are_refused() -> None:
    problem, params = problem_and_params()
    with pytest.raises(InputError, match=r"`hop` = .* 3 coefficients"):
        problem.logits(params, {"hop": HOPS[:2]}, as_double(dense_graph()), {})
