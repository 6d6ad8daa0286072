"""The networks of NAS-Bench-201 against the same out of modules, and against themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import vmap

from hcdc._tensors import stack, take
from hcdc.data import ImageData
from hcdc.errors import DataError, InputError, SpaceError
from hcdc.models import NasBench201
from hcdc.spaces import OPS, Cell, Choice, Real, sample_cells
from tests.cases import generator, normal
from tests.reference import nasbench

ACTIVATIONS = {"relu": nn.ReLU(), "silu": nn.SiLU(), "softplus": nn.Softplus()}
BIASED = Cell.parse("|none~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|none~0|nor_conv_1x1~1|avg_pool_3x3~2|")
"""A convolution of nothing, whose norm has a shift."""
NOTHING = Cell(("none",) * 6)


def images(n: int = 4, side: int = 8) -> ImageData:
    return ImageData(normal(n, 3, side, side, seed=3), torch.arange(n) % 3, 3)


def family(**settings: Any) -> NasBench201:
    return NasBench201(3, **{"shape": (3, 8, 8), "channels": 2} | settings)


def params_of(problem: NasBench201) -> dict[str, Tensor]:
    """Every tensor random, those that start as zeros and ones too."""
    made = problem.init({}, generator(0))
    return {key: value.double() + 0.3 * normal(*value.shape, seed=i) for i, (key, value) in enumerate(made.items())}


def soft(seed: int = 7) -> Tensor:
    return normal(6, 5, seed=seed).softmax(-1)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_logits_are_those_of_the_modules(norm: Any, activation: Any) -> None:
    problem = family(cells=2, norm=norm, activation=activation)
    params, op, data = params_of(problem), soft(), images()
    expected = nasbench.logits(params, dict(zip(OPS, op.T, strict=True)), data.x, 2, norm, ACTIVATIONS[activation])
    torch.testing.assert_close(problem.logits(params, {"op": op}, data, {}), expected)


@pytest.mark.parametrize("fused", [False, True], ids=["written out", "fused"])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_a_network_is_the_soft_forward_at_one_hot_weights(norm: Any, fused: bool) -> None:
    """With the parameters that it keeps, and gradients that are the same."""
    problem, data = family(norm=norm), images()
    params = params_of(problem)
    for cell in (BIASED, NOTHING, *sample_cells(6, 0, distinct=False)):
        network = problem.network(str(cell), fused=fused)
        own = {name: params[name].clone().requires_grad_() for name in network.init({}, generator(0))}
        whole = {name: value.clone().requires_grad_() for name, value in params.items()}
        found, expected = network.logits(own, {}, data, {}), problem.logits(whole, {"op": cell.weights().double()}, data, {})
        torch.testing.assert_close(found, expected)
        slopes = torch.autograd.grad(found.square().sum(), list(own.values()), materialize_grads=True)
        others = torch.autograd.grad(expected.square().sum(), [whole[name] for name in own], materialize_grads=True)
        for slope, other in zip(slopes, others, strict=True):
            torch.testing.assert_close(slope, other, rtol=1e-5, atol=1e-7)


def test_a_network_stores_what_it_needs_and_starts_where_the_others_do() -> None:
    problem = family()
    whole = problem.init({}, generator(0))
    kept = problem.network(BIASED).init({}, generator(0))
    assert all(torch.equal(kept[name], whole[name]) for name in kept)
    cell = {name for name in kept if name.startswith("cell1")}
    conv = {f"cell1.0.1.nor_conv_1x1.{kind}" for kind in ("weight", "scale", "shift")}
    assert cell == conv | {"cell1.0.2.nor_conv_3x3.shift", "cell1.0.4.nor_conv_1x1.shift"}
    assert not any(name.startswith("cell") for name in problem.network(NOTHING).init({}, generator(0)))
    footprints = [one.footprint(images()) for one in (problem.network(NOTHING), problem.network(BIASED), problem)]
    assert footprints == sorted(set(footprints))


def test_initial_values() -> None:
    params = NasBench201(10).init({}, generator(0))
    wide = params["cell2.0.3.nor_conv_3x3.weight"]
    assert wide.shape == (64, 64, 3, 3)
    assert float(wide.abs().max()) == pytest.approx(1 / 24, rel=1e-3)
    assert float(wide.mean()) == pytest.approx(0, abs=1e-3)
    assert (params["last.scale"] == 1).all()
    assert (params["stem.shift"] == 0).all()
    assert float(params["head.bias"].abs().max()) > 0


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_the_norm_differentiates_thrice(norm: Any) -> None:
    """gradgradcheck of the gradient: up to the third derivative, against differences in float64."""
    problem = family(norm=norm, activation="softplus")
    scale, shift = normal(2, seed=1).requires_grad_(), normal(2, seed=2).requires_grad_()
    h = normal(2, 2, 2, 2, seed=0).requires_grad_()

    def slope(h: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, ...]:
        value = (problem.normalise(h, {"x.scale": scale, "x.shift": shift}, "x").sin() * torch.arange(16.0).reshape(2, 2, 2, 2)).sum()
        return torch.autograd.grad(value, (h, scale, shift), create_graph=True)

    assert torch.autograd.gradcheck(slope, (h, scale, shift))
    assert torch.autograd.gradgradcheck(slope, (h, scale, shift), gen_non_contig_grad_outputs=False)


def test_the_loss_differentiates_twice_in_weights_parameters_and_pixels() -> None:
    """A directional derivative of a directional derivative against central differences."""
    problem = family(activation="softplus", shape=(3, 4, 4), weight_decay=0.1)
    data = images(3, 4)
    params = params_of(problem)
    values = {"op": soft(), "x": data.x, **params}
    ways = {name: normal(*value.shape, seed=50 + i) for i, (name, value) in enumerate(values.items())}

    def slope(step: float) -> Tensor:
        """Of the inner loss along the first directions, at a point moved along the second."""
        moved = {name: (value + step * ways[name].flip(0)).requires_grad_() for name, value in values.items()}
        loss = problem.inner({name: moved[name] for name in params}, {"op": moved["op"]}, data.replace(x=moved["x"]))
        slopes = torch.autograd.grad(loss, list(moved.values()), create_graph=True)
        total = torch.stack([(s * ways[name]).sum() for name, s in zip(moved, slopes, strict=True)]).sum()
        if step:
            return total
        again = torch.autograd.grad(total, list(moved.values()))
        return torch.stack([(s * ways[name].flip(0)).sum() for name, s in zip(moved, again, strict=True)]).sum()

    torch.testing.assert_close(slope(0.0), (slope(1e-5) - slope(-1e-5)) / 2e-5, rtol=1e-5, atol=1e-6)


def test_a_batch_is_its_members() -> None:
    problem, data = family(), images()
    many = stack([{k: v + 0.1 * i for k, v in params_of(problem).items()} for i in range(2)])
    hyper = {"op": torch.stack([soft(1), soft(2)])}
    together = vmap(lambda p, h: problem.inner(p, h, data))(many, hyper)
    torch.testing.assert_close(together, torch.stack([problem.inner(take(many, i), take(hyper, i), data) for i in range(2)]))


def test_batch_norm_reads_the_other_images_and_instance_norm_does_not() -> None:
    data, first = images(), torch.tensor([0])
    for norm, alone in (("batch", False), ("instance", True)):
        problem: Any = family(norm=norm)
        params, hyper = params_of(problem), {"op": soft()}
        whole, one = problem.logits(params, hyper, data, {})[:1], problem.logits(params, hyper, data.take(first), {})
        assert torch.allclose(whole, one) == alone


def test_the_space_has_an_axis_an_edge_and_those_of_the_regularisers() -> None:
    problem = family(regularisers=("decay", "smoothing"))
    space = problem.space()
    assert list(space.axes) == [*(f"op.{edge}" for edge in range(6)), "log10_decay", "smoothing"]
    assert space.axes["op.5"] == Choice(OPS)
    cell = sample_cells(1, 3)[0]
    hyper = space.relax({**cell.config(), "log10_decay": -3.0, "smoothing": 0.1})
    assert torch.equal(hyper["op"], cell.weights())
    assert Cell.of(space.round(hyper)) == cell
    assert problem.network(cell).space().axes == {"log10_decay": Real(-5.0, -2.0), "smoothing": Real(0.0, 0.5)}
    with pytest.raises(SpaceError):
        family().network(cell).space()


def test_regularisers_enter_the_training_loss_alone() -> None:
    problem, plain, data = family(regularisers=("decay", "smoothing")), family(weight_decay=0.0), images()
    params, op = params_of(plain), soft()
    hyper = {"op": op, "log10_decay": torch.tensor([-2.0]).double(), "smoothing": torch.tensor([0.2]).double()}
    logits = plain.logits(params, {"op": op}, data, {})
    squares = sum(float(value.square().sum()) for value in params.values())
    smooth = float(nn.functional.cross_entropy(logits, data.y, label_smoothing=0.0)) * 0.8 - 0.2 * float(logits.log_softmax(-1).mean())
    assert float(problem.inner(params, hyper, data)) == pytest.approx(smooth + 0.01 / 2 * squares)
    assert float(problem.outer(params, hyper, data)) == pytest.approx(float(plain.inner(params, {"op": op}, data)))


def test_dropout_acts_on_the_features() -> None:
    problem, data = family(dropout=0.4), images()
    params, noise = params_of(problem), problem.noise(data, generator(0))
    assert noise["features"].shape == (4, 8)
    nothing = problem.logits(params, {"op": soft()}, data, {"features": torch.zeros(4, 8)})
    torch.testing.assert_close(nothing, params["head.bias"].expand(4, 3))
    assert family().noise(data, generator(0)) == {}


@pytest.mark.parametrize(("settings", "named"), [
    ({"cells": 0}, "cells, channels"), ({"channels": 0}, "cells, channels"), ({"norm": "layer"}, "norm"), ({"activation": "tanh"}, "activation"),
    ({"regularisers": ("edge_drop",)}, "regularisers"), ({"regularisers": ("decay", "decay")}, "regularisers"),
], ids=str)  # fmt: skip
def test_settings_out_of_range(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=f"^`{named}` = "):
        family(**settings)


@pytest.mark.parametrize("shape", [(5, 6), (6, 4), (6,)], ids=str)
def test_weights_of_another_shape(shape: tuple[int, ...]) -> None:
    problem = family()
    with pytest.raises(InputError, match=r"`op` = .* must be \[6, 5\].*Cell.weights"):
        problem.logits(params_of(problem), {"op": torch.ones(shape)}, images(), {})


@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (4, 3, 16, 16)])
def test_images_of_another_size_or_channel_count_are_refused(shape: tuple[int, ...]) -> None:
    data = ImageData(torch.zeros(shape), torch.arange(4) % 3, 3)
    for network, hyper in ((family(), {"op": soft()}), (family().network(BIASED), {})):
        with pytest.raises(DataError, match=r"^`x` = .*the model takes \(3, 8, 8\)"):
            network.logits(network.init({}, generator(0)), hyper, data, {})


def test_a_sampled_cell_is_weighed_by_its_own_weights_alone() -> None:
    """Equal to the soft forward where the others are 0, whatever they are."""
    problem, data = family(), images()
    params, network = params_of(problem), problem.network(BIASED, fused=False)
    gates = BIASED.weights().double() * soft(3)
    own = {name: params[name] for name in network.init({}, generator(0))}
    found = network.logits(own, {"op": gates + (1 - BIASED.weights()) * 7}, data, {})
    torch.testing.assert_close(found, problem.logits(params, {"op": gates}, data, {}))
