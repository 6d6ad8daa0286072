"""ConvMix against the same network out of modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vmap

from hcdc._tensors import stack, take
from hcdc.errors import InputError
from hcdc.models import ConvMix
from hcdc.models.convmix import OPERATIONS
from tests.cases import generator, normal, random_images
from tests.reference import convnet

DECAY = torch.tensor([-3.0], dtype=torch.float64)


def problem_and_params(blocks: int = 2, width: int = 3, **settings: Any) -> tuple[ConvMix, dict[str, Tensor]]:
    """Every tensor random, those that start as zeros and ones too."""
    problem = ConvMix(3, blocks=blocks, width=width, **settings)
    params = problem.init({}, generator(0))
    return problem, {key: 0.5 * normal(*value.shape, seed=i) for i, (key, value) in enumerate(params.items())}


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_logits_are_those_of_the_modules(blocks: int) -> None:
    """With four blocks the image would vanish: it stops being halved below 4 pixels."""
    problem, params = problem_and_params(blocks)
    data, op = random_images(), normal(blocks, 4, seed=20).softmax(-1)
    found = problem.logits(params, {"op": op, "log10_decay": DECAY}, data, {})
    torch.testing.assert_close(found, convnet.logits(params, op, data.x))


@pytest.mark.parametrize("chosen", range(4), ids=OPERATIONS)
def test_one_hot_weights_are_one_operation(chosen: int) -> None:
    """The parameters of the others do not matter."""
    problem, params = problem_and_params(blocks=1)
    data, op = random_images(), torch.eye(4, dtype=torch.float64)[[chosen]]
    hyper = {"op": op, "log10_decay": DECAY}
    found = problem.logits(params, hyper, data, {})
    torch.testing.assert_close(found, convnet.logits(params, op, data.x))
    for name, operation in (("conv3x3.0", 0), ("conv1x1.0", 1)):
        moved = problem.logits(params | {name: params[name] + 1}, hyper, data, {})
        assert torch.equal(moved, found) == (operation != chosen)


def test_rectangular_colour_images() -> None:
    problem, params = problem_and_params(shape=(3, 12, 6))
    data, op = random_images(n=2), normal(2, 4, seed=21).softmax(-1)
    data = data.replace(x=normal(2, 3, 12, 6, seed=22), y=data.y[:2])
    torch.testing.assert_close(problem.logits(params, {"op": op, "log10_decay": DECAY}, data, {}), convnet.logits(params, op, data.x))


def test_losses_do_not_depend_on_the_order_of_the_images() -> None:
    problem, params = problem_and_params()
    data, hyper = random_images(), {"op": normal(2, 4, seed=23), "log10_decay": DECAY}
    renamed = data.take(torch.tensor([3, 0, 5, 1, 4, 2]))
    for loss in (problem.inner, problem.outer):
        torch.testing.assert_close(loss(params, hyper, renamed), loss(params, hyper, data))


def test_the_decay_is_a_hyperparameter() -> None:
    """10^d / 2 ||theta||^2, whatever `weight_decay` says; the outer loss has none."""
    problem, params = problem_and_params(weight_decay=100.0)
    data, hyper = random_images(), {"op": normal(2, 4, seed=24), "log10_decay": DECAY}
    squares = sum(float(value.square().sum()) for value in params.values())
    torch.testing.assert_close(float(problem.inner(params, hyper, data) - problem.outer(params, hyper, data)), 1e-3 / 2 * squares)


def test_a_batch_is_its_members() -> None:
    problem, params = problem_and_params()
    many, data = stack([{k: v + 0.1 * i for k, v in params.items()} for i in range(3)]), random_images()
    hyper = {"op": normal(3, 2, 4, seed=25), "log10_decay": normal(3, 1, seed=26)}
    together = vmap(lambda p, h: problem.inner(p, h, data))(many, hyper)
    torch.testing.assert_close(together, torch.stack([problem.inner(take(many, i), take(hyper, i), data) for i in range(3)]))


def test_space_fits_the_family() -> None:
    problem = ConvMix(3, blocks=3, width=2)
    space = problem.space()
    hyper = space.relax(space.sample(generator(0)))
    assert hyper["op"].shape == (3, len(OPERATIONS))
    params = problem.init(hyper, generator(0))
    data = random_images(dtype=torch.float32)
    assert torch.isfinite(problem.inner(params, hyper, data))
    assert problem.logits(params, hyper, data, {}).shape == (6, 3)


def test_dropout_acts_on_the_features() -> None:
    problem, params = problem_and_params(dropout=0.4)
    data, hyper = random_images(), {"op": normal(2, 4, seed=27), "log10_decay": DECAY}
    noise = problem.noise(data, generator(0))
    assert noise["features"].shape == (6, 3)
    nothing = problem.logits(params, hyper, data, {"features": torch.zeros(6, 3, dtype=torch.float64)})
    torch.testing.assert_close(nothing, params["bias"].expand(6, 3))
    assert ConvMix(3).noise(data, generator(0)) == {}


@pytest.mark.parametrize("settings", [{"blocks": 0}, {"width": 0}], ids=str)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="blocks, width"):
        ConvMix(3, **settings)
