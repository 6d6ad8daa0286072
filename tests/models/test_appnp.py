"""The supernet of APPNP: one-hot weights are a discrete network, soft ones a mixture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, vmap

from hcdc._tensors import stack, take
from hcdc.data import GraphData, Sparse
from hcdc.errors import InputError
from hcdc.models import Appnp
from hcdc.models.mixture import ACTIVATIONS
from tests.cases import HALVES, as_double, dense_graph, double, generator, normal, random_graph, small_appnp
from tests.reference.graphs import normalised

MODULES: dict[str, nn.Module] = {
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "relu": nn.ReLU(),
    "linear": nn.Identity(),
    "softplus": nn.Softplus(),
    "leaky_relu": nn.LeakyReLU(),
    "relu6": nn.ReLU6(),
    "elu": nn.ELU(),
}
HYPER = {name: torch.tensor(value, dtype=torch.float64) for name, value in HALVES.items()}


def problem_and_params(**settings: Any) -> tuple[Appnp, dict[str, Tensor]]:
    problem = small_appnp(**{"steps": (1, 2, 5), "widths": (2, 3, 6), "activations": tuple(MODULES)} | settings)
    params = problem.init({}, generator(0))
    return problem, {key: normal(*value.shape, seed=i) for i, (key, value) in enumerate(params.items())}


def discrete(params: dict[str, Tensor], config: dict[str, Any], data: GraphData) -> Tensor:
    """The network of one architecture, with the first of the hidden units and no more."""
    width, alpha = int(config["hidden"]), float(config["alpha"])
    a = normalised(data.adjacency.dense() if isinstance(data.adjacency, Sparse) else data.adjacency)
    hidden = MODULES[config["activation"]](data.x @ params["w1"][:, :width] + params["b1"][:width])
    start = z = hidden @ params["w2"][:width] + params["b2"]
    for _ in range(int(config["k"])):
        z = (1 - alpha) * a @ z + alpha * start
    return z[data.mask]


def test_the_grid_has_480_architectures() -> None:
    space = Appnp(3).space()
    configs = list(space.grid(7))
    assert len(configs) == 480 == len({tuple(config.values()) for config in configs})
    assert {name: axis.width for name, axis in space.axes.items()} == {"k": 5, "hidden": 6, "alpha": 2, "activation": 8}
    assert all(space.round(space.relax(config)) == config for config in configs)


@pytest.mark.parametrize("make", [lambda: as_double(random_graph(seed=1).train), lambda: as_double(dense_graph())], ids=["sparse", "dense"])
def test_one_hot_weights_are_the_discrete_network(make: Any) -> None:
    """Every architecture of a small grid."""
    data, (problem, params) = make(), problem_and_params()
    space = problem.space()
    for config in space.grid(2):
        torch.testing.assert_close(problem.logits(params, double(space.relax(config)), data, {}), discrete(params, config, data))


def test_units_outside_of_the_width_do_not_matter() -> None:
    data, (problem, params) = as_double(dense_graph()), problem_and_params()
    config = {"k": "2", "hidden": "3", "alpha": "0.2", "activation": "elu"}
    hyper = double(problem.space().relax(config))
    other = {key: value.clone() for key, value in params.items()}
    other["w1"][:, 3:], other["b1"][3:], other["w2"][3:] = 7.0, -3.0, 2.0
    assert torch.equal(problem.logits(params, hyper, data, {}), problem.logits(other, hyper, data, {}))


def test_soft_weights_are_mixtures() -> None:
    """Of the Z_K and of alpha on the logits, of widths and activations on the hidden layer."""
    problem, params = problem_and_params(steps=(1, 3), widths=(2, 4), activations=("tanh", "softplus"))
    data = as_double(dense_graph())
    h = data.x @ params["w1"] + params["b1"]
    mask = torch.tensor([1.0, 1.0, 0.7, 0.7], dtype=torch.float64)
    start = z = ((0.8 * h.tanh() + 0.2 * nn.functional.softplus(h)) * mask) @ params["w2"] + params["b2"]
    reached = []
    for _ in range(3):
        z = 0.85 * normalised(data.adjacency) @ z + 0.15 * start
        reached.append(z)
    torch.testing.assert_close(problem.logits(params, HYPER, data, {}), 0.6 * reached[0] + 0.4 * reached[2])


def test_a_batch_is_its_members() -> None:
    data, (problem, params) = as_double(random_graph().train), problem_and_params()
    space = problem.space()
    hyper = double(stack([space.interior(generator(seed)) for seed in range(3)]))
    many = stack([{k: v + 0.1 * i for k, v in params.items()} for i in range(3)])
    together = vmap(lambda p, h: problem.inner(p, h, data))(many, hyper)
    torch.testing.assert_close(together, torch.stack([problem.inner(take(many, i), take(hyper, i), data) for i in range(3)]))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_differentiate_twice(name: str) -> None:
    """Away from the kinks of the piecewise linear ones, backwards twice and forwards over backwards."""
    point = torch.tensor([-2.0, -0.5, 0.3, 1.5, 7.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(ACTIVATIONS[name], point)
    assert gradgradcheck(ACTIVATIONS[name], point)
    _, forward = torch.func.jvp(grad(lambda h: ACTIVATIONS[name](h).sum()), (point.detach(),), (torch.ones_like(point),))
    (slope,) = torch.autograd.grad(ACTIVATIONS[name](point).sum(), point, create_graph=True)
    backward = torch.autograd.grad(slope.sum(), point)[0] if slope.requires_grad else torch.zeros_like(point)
    torch.testing.assert_close(forward, backward)


def test_every_width_starts_near_its_own_scale() -> None:
    """The narrowest network as it would alone, the others within a factor of 2 of Glorot's variance in the second layer."""
    problem = Appnp(7, num_features=100)
    second = problem.init({}, generator(0))["w2"]
    assert second[:16].abs().max() <= (6 / 23) ** 0.5
    for width in problem.widths:
        ratio = float(second[:width].square().mean()) / (2 / (width + 7))
        assert 0.7 < ratio < 4
    again = problem.init({}, generator(0))["w2"]
    assert torch.equal(again, second)


def test_dropout_acts_on_the_features_and_the_hidden_layer() -> None:
    data, (problem, params) = as_double(dense_graph()), problem_and_params(dropout=0.5)
    noise = problem.noise(data, generator(0))
    assert noise["x"].shape == data.x.shape
    assert noise["hidden"].shape == (8, 6)
    space = problem.space()
    hyper = double(space.relax(space.sample(generator(0))))
    silent = problem.logits(params, hyper, data, noise | {"hidden": torch.zeros(8, 6, dtype=torch.float64)})
    bias = problem.propagate(hyper, data.propagation, params["b2"].expand(8, 3))
    torch.testing.assert_close(silent, bias)


BAD: dict[str, Any] = {
    "steps": [(2,), (4, 2), (0, 2)],
    "widths": [(16,), (16, 16), (-1, 2)],
    "alphas": [(0.1,), (0.2, 0.1), (0.5, 1.0)],
    "activations": [("tanh",), ("tanh", "tanh"), ("tanh", "swish")],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_settings_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"^`{name}` = .*: must be .*; "):
        Appnp(3, **{name: value})
