"""The supernet of GraphNAS: one-hot weights are the network of one architecture, node by node."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from hcdc._tensors import stack, take
from hcdc.data import GraphData, Sparse
from hcdc.errors import InputError
from hcdc.models import GraphNasNet
from hcdc.models.graphnas import AGGREGATORS, ATTENTIONS, edges_of, softmax
from hcdc.models.mixture import ACTIVATIONS
from tests.cases import as_double, dense_graph, double, generator, normal, random_graph

GRAPHS = {"sparse": lambda: as_double(random_graph(seed=1).train), "dense": lambda: as_double(dense_graph())}


def problem_and_params(**settings: Any) -> tuple[GraphNasNet, dict[str, Tensor]]:
    problem = GraphNasNet(3, num_features=5, **{"activations": ("tanh", "softplus"), "heads": (1, 2), "widths": (2, 3), "pool": 4} | settings)
    params = problem.init({}, generator(0))
    return problem, {key: normal(*value.shape, seed=i) / 2 for i, (key, value) in enumerate(params.items())}


def coefficient(name: str, i: int, j: int, z: Tensor, vectors: Tensor) -> Tensor:
    """e_ij of one head, of z [n, width] and (l, r, g) [3, width]."""
    left, right, outer = vectors

    def leaky(value: Tensor) -> Tensor:
        return torch.where(value > 0, value, 0.2 * value)

    if name == "gat":
        return leaky(left @ z[i] + right @ z[j])
    if name == "gat_sym":
        return leaky(left @ z[i] + right @ z[j]) + leaky(left @ z[j] + right @ z[i])
    if name == "cos":
        return (left * z[i]) @ (right * z[j])
    return (right @ z[j]).tanh() if name == "linear" else outer @ (left * z[i] + right * z[j]).tanh()


def head(config: dict[str, Any], params: dict[str, Tensor], weights: Tensor, z: Tensor, layer: int, units: slice, number: int) -> Tensor:
    """[n, width] of one head, node by node, of the weights [n, n] of A + I."""
    attention, aggregator = config[f"attention.{layer}"], config[f"aggregator.{layer}"]
    vectors, rows = params[f"attention{layer + 1}"][:, number, units], []
    degree = weights.sum(1)
    for i in range(len(z)):
        near = weights[i].nonzero().squeeze(1).tolist()
        if attention == "const":
            alpha = weights[i, near]
        elif attention == "gcn":
            alpha = weights[i, near] / (degree[i] * degree[near]).sqrt()
        else:
            alpha = torch.stack([coefficient(attention, i, j, z, vectors).exp() * weights[i, j] for j in near])
            alpha = alpha / alpha.sum()
        messages = alpha.unsqueeze(1) * z[near]
        if aggregator == "mlp":
            pool = f"pool{layer + 1}"
            deep = (messages @ params[f"{pool}.in"][units] + params[f"{pool}.bias"]).relu() @ params[f"{pool}.out"][:, units]
            messages = weights[i, near].unsqueeze(1) * deep
        rows.append({"max": messages.amax(0), "mean": messages.sum(0) / degree[i]}.get(aggregator, messages.sum(0)))
    return torch.stack(rows)


def discrete(config: dict[str, Any], params: dict[str, Tensor], data: GraphData) -> Tensor:
    """The network of one architecture, with the first of the heads and units and no more."""
    dense = data.adjacency.dense() if isinstance(data.adjacency, Sparse) else data.adjacency
    weights, h = dense + torch.eye(len(dense), dtype=dense.dtype), data.x
    used = None
    for layer in range(2):
        heads, full = int(config[f"heads.{layer}"]), params[f"attention{layer + 1}"].shape
        units = slice(0, full[2] if layer else int(config["hidden"]))
        w = (
            params[f"w{layer + 1}"]
            if used is None
            else params["w2"].reshape(*used, -1)[: int(config["heads.0"]), : int(config["hidden"])].flatten(0, 1)
        )
        w, b = w.reshape(len(w), *full[1:]), params[f"b{layer + 1}"].reshape(full[1:])
        act = ACTIVATIONS[config[f"activation.{layer}"]]
        out = [act(head(config, params, weights, h @ w[:, k, units], layer, units, k) + b[k, units]) for k in range(heads)]
        h, used = torch.stack(out).mean(0) if layer else torch.cat(out, 1), full[1:]
    return h[data.mask]


@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("aggregator", AGGREGATORS)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_one_hot_weights_are_the_network_of_one_architecture(attention: str, aggregator: str, make: Any) -> None:
    data, (problem, params) = make(), problem_and_params()
    sizes = {"heads.0": "2", "heads.1": "1", "hidden": "2", "activation.0": "tanh", "activation.1": "softplus"}
    config = sizes | {f"attention.{layer}": attention for layer in range(2)} | {f"aggregator.{layer}": aggregator for layer in range(2)}
    torch.testing.assert_close(problem.logits(params, double(problem.space().relax(config)), data, {}), discrete(config, params, data))


def test_the_space_is_that_of_graphnas() -> None:
    space = GraphNasNet(3).space()
    widths = {name: axis.width for name, axis in space.axes.items()}
    layer = {"attention": 7, "aggregator": 4, "activation": 8, "heads": 6}
    assert widths == {f"{name}.{number}": width for number in range(2) for name, width in layer.items()} | {"hidden": 7}


@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)
def test_a_batch_is_its_members_and_derivatives_are_those_of_differences(make: Any) -> None:
    """Of the softmax and of all aggregates; the maxima keep their places at so small a step."""
    data, (problem, params) = make(), problem_and_params(regularisers=("decay", "edge_drop", "smoothing"))
    space = problem.space()
    hyper = double(stack([space.interior(generator(seed)) for seed in range(2)]))
    many = stack([{key: value + 0.1 * i for key, value in params.items()} for i in range(2)])
    together = vmap(lambda p, h: problem.inner(p, h, data))(many, hyper)
    torch.testing.assert_close(together, torch.stack([problem.inner(take(many, i), take(hyper, i), data) for i in range(2)]))
    point = take(hyper, 0)

    def slope(p: dict[str, Tensor]) -> Tensor:
        return torch.cat([value.flatten() for value in grad(lambda q: problem.inner(q, point, data))(p).values()])

    way = {key: normal(*value.shape, seed=50 + i) for i, (key, value) in enumerate(params.items())}
    product = jvp(slope, (params,), (way,))[1]
    ahead, back = ({key: value + sign * 1e-6 * way[key] for key, value in params.items()} for sign in (1, -1))
    torch.testing.assert_close(product, (slope(ahead) - slope(back)) / 2e-6, rtol=1e-5, atol=1e-5)


def test_edges_are_dropped_in_expectation() -> None:
    """At rate p the graph is (1 - p) A, its self-loops whole."""
    data, (problem, params) = as_double(dense_graph()), problem_and_params()
    dropping, _ = problem_and_params(regularisers=("edge_drop",))
    hyper = double(problem.space().relax(problem.space().sample(generator(3))))
    thin = data.replace(adjacency=0.7 * data.adjacency)
    rate = {"edge_drop": torch.tensor([0.3], dtype=torch.float64)}
    torch.testing.assert_close(dropping.logits(params, hyper | rate, data, {}), problem.logits(params, hyper, thin, {}))


def test_the_decay_of_a_layer_acts_on_all_that_it_has() -> None:
    problem, params = problem_and_params(regularisers=("decay",))
    assert {name for layer in problem.layers() for name in layer} == params.keys()


BAD = {
    "attentions": [("gat",), ("gat", "gat"), ("gat", "dot")],
    "aggregators": [("sum",), ("sum", "median")],
    "heads": [(2,), (2, 1)],
    "widths": [(0, 2)],
    "pool": [0],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_settings_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"^`{name}` = .*: must be .*; "):
        GraphNasNet(3, **{name: value})


def test_a_pair_without_an_edge_has_no_attention_however_high_its_score() -> None:
    """Of a dense graph all pairs are scored; the softmax is that of the edges alone."""
    adjacency = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    data = GraphData(torch.eye(3), adjacency, torch.tensor([0, 1, 0]), torch.ones(3, dtype=torch.bool), 2)
    score = torch.zeros(9, 1)
    score[2] = 100.0
    assert softmax(score, edges_of(data)).flatten().tolist() == [0.5, 0.5, 0, 0.5, 0.5, 0, 0, 0, 1]
