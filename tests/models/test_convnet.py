"""ConvNet against the same network out of modules, and each of its axes against what it says."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn import functional

from hcdc._tensors import ravel, stack, take
from hcdc.bilevel import Direct, Implicit, hypergradient
from hcdc.data import ImageData
from hcdc.errors import DataError, InputError
from hcdc.models import ConvNet, Draw, augment
from hcdc.models.convnet import ACTIVATIONS, KERNELS, POOLINGS, SEARCHABLE
from tests.cases import double, generator, normal, random_images

MODULES: dict[str, nn.Module] = {"relu": nn.ReLU(), "silu": nn.SiLU(), "tanh": nn.Tanh(), "sigmoid": nn.Sigmoid(), "leaky_relu": nn.LeakyReLU()}
POOLS: dict[str, nn.Module] = {"average": nn.AvgPool2d(2), "maximum": nn.MaxPool2d(2), "stride": nn.AvgPool2d(1, stride=2)}


def made(searched: tuple[str, ...] = (), **settings: Any) -> tuple[ConvNet, dict[str, Tensor], dict[str, Tensor]]:
    """A problem, random parameters and a point inside of its space, in float64."""
    problem = ConvNet(3, **{"width": 8, "depth": 2, "searched": searched} | settings)
    params = {name: 0.5 * normal(*value.shape, seed=i) for i, (name, value) in enumerate(problem.init({}, generator(0)).items())}
    return problem, params, double(problem.space().interior(generator(1))) if searched else {}


def module(
    params: dict[str, Tensor], x: Tensor, *, width: int = 8, depth: int = 2, kernel: int = 3, activation: str = "relu", pooling: str = "average"
) -> Tensor:
    h = x
    for b in range(depth):
        weight = params[f"conv.{b}"]
        edge = (weight.shape[-1] - kernel) // 2
        weight = weight[:width, : h.shape[1], edge : edge + kernel, edge : edge + kernel]
        norm = nn.InstanceNorm2d(width, affine=True, dtype=torch.float64)
        with torch.no_grad():
            norm.weight.copy_(params[f"scale.{b}"][:width])
            norm.bias.copy_(params[f"shift.{b}"][:width])
        h = POOLS[pooling](MODULES[activation](norm(functional.conv2d(h, weight, padding="same"))))
    head = params[f"head.{depth - 1}"].reshape(3, -1, *h.shape[-2:])[:, :width].flatten(1)
    return h.flatten(1) @ head.T + params[f"bias.{depth - 1}"]


def test_logits_are_those_of_the_modules() -> None:
    problem, params, _ = made()
    data = random_images()
    torch.testing.assert_close(problem.logits(params, {}, data, {}), module(params, data.x).detach())


CONFIGS = [{"width": str(w)} for w in (2, 4, 8)] + [{"depth": d} for d in ("1", "2")] + [{"kernel": k} for k in KERNELS]
CONFIGS += [{"activation": a} for a in ACTIVATIONS] + [{"pooling": p} for p in POOLINGS]
CONFIGS += [{"width": "4", "depth": "1", "kernel": "5", "activation": "silu", "pooling": "maximum"}]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_one_hot_weights_are_the_network_of_that_option(config: dict[str, str]) -> None:
    problem, params, _ = made(tuple(config))
    hyper, data = double(problem.space().relax(config)), random_images()
    wanted = {name: int(value) if value.isdigit() else value for name, value in config.items()}
    torch.testing.assert_close(problem.logits(params, hyper, data, {}), module(params, data.x, **wanted).detach())


def test_the_decay_of_each_block_and_of_the_linear_layer() -> None:
    problem, params, _ = made(("decay",), weight_decay=9.0)
    hyper = {"decay": torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64)}
    groups = (("conv.0", "scale.0", "shift.0"), ("conv.1", "scale.1", "shift.1"), ("head.1", "bias.1"))
    expected = sum(10.0 ** -(i + 1) / 2 * sum(float(params[name].square().sum()) for name in names) for i, names in enumerate(groups))
    assert float(problem.penalty(params, hyper)) == pytest.approx(expected)


@pytest.mark.parametrize("searched", ["augment", "mixup"])
def test_every_draw_of_the_training_loss_is_weighed(searched: str) -> None:
    """The loss of all draws keeps what each of them keeps."""
    kept = [problem.footprint(random_images()) for problem in (made((searched,))[0], made(("smoothing",))[0])]
    assert kept[0] == len(made((searched,))[0].operations) * kept[1]


def test_smoothing_and_class_weights_by_hand() -> None:
    problem, params, _ = made(("smoothing", "weights"), weight_decay=0.0, groups=2)
    hyper = {"smoothing": torch.tensor([0.3], dtype=torch.float64), "weights": torch.tensor([0.5, -0.4], dtype=torch.float64)}
    data = random_images()
    logs, total, weight = problem.logits(params, hyper, data, {}).log_softmax(-1), 0.0, 0.0
    for row, label in zip(logs, data.y.tolist(), strict=True):
        importance = math.exp([0.5, -0.4][label % 2])
        total += importance * (-0.7 * float(row[label]) - 0.3 * float(row.mean()))
        weight += importance
    assert float(problem.inner(params, hyper, data)) == pytest.approx(total / weight)
    torch.testing.assert_close(problem.outer(params, hyper, data), functional.cross_entropy(problem.logits(params, hyper, data, {}), data.y))


def test_mixup_mixes_images_and_losses() -> None:
    problem, params, _ = made(("mixup",), weight_decay=0.0)
    data, hyper = random_images(), {"mixup": torch.tensor([0.8], dtype=torch.float64)}
    order, number = torch.tensor([1, 0, 3, 2, 5, 4]), torch.tensor(0.5, dtype=torch.float64)
    logits = problem.logits(params, hyper, data.replace(x=0.8 * data.x + 0.2 * data.x[order]), {})
    expected = 0.8 * functional.cross_entropy(logits, data.y) + 0.2 * functional.cross_entropy(logits, data.y[order])
    torch.testing.assert_close(problem.noisy(params, hyper, data, {"mix": (order, number)}), expected)


def test_augmentation_acts_in_training_at_the_strength_of_its_operation() -> None:
    problem, params, _ = made(("augment",), operations=("crop", "rotate"))
    data, hyper = random_images(), {"augment": torch.tensor([0.3, 1.7], dtype=torch.float64)}
    drawn = Draw("rotate", torch.tensor([0.9, 0.1, 0.2, 0.3]))
    moved = data.replace(x=augment(data.x, drawn, hyper["augment"][1]))
    torch.testing.assert_close(problem.noisy(params, hyper, data, {"draw": drawn}), made()[0].inner(params, {}, moved))
    torch.testing.assert_close(problem.outer(params, hyper, data), made()[0].outer(params, {}, data))
    assert {problem.noise(data, generator(seed))["draw"].operation for seed in range(20)} == {"crop", "rotate"}


@pytest.mark.parametrize("name", SEARCHABLE)
def test_every_hyperparameter_has_a_hypergradient(name: str) -> None:
    """Each enters the loss without noise: the mean over fixed draws, which is pure, for "mixup" and "augment"."""
    problem, params, hyper = made((name,), width=4, shape=(1, 4, 4), depth=1 if name != "depth" else 2)
    data = ImageData(normal(6, 1, 4, 4, seed=3), torch.tensor([0, 1, 2, 0, 1, 1]), 3)
    assert torch.equal(problem.inner(params, hyper, data), problem.inner(params, hyper, data))
    found, _ = hypergradient(problem, params, hyper, data, data, adjoint=Implicit(Direct(), damping=1.0), throw=False)
    assert torch.isfinite(found[name]).all()
    assert found[name].abs().sum() > 0


@pytest.mark.parametrize("name", [name for name in SEARCHABLE if name not in ("activation", "pooling")])
def test_the_slope_in_each_hyperparameter_is_right(name: str) -> None:
    problem, params, hyper = made((name,), width=4)
    data = random_images()
    slope = grad(problem.inner, argnums=1)(params, hyper, data)[name]
    direction, step = normal(slope.numel(), seed=9).reshape(slope.shape), 1e-6
    ends = [float(problem.inner(params, {name: hyper[name] + sign * step * direction}, data)) for sign in (1, -1)]
    assert float((slope * direction).sum()) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-8)


def test_a_batch_is_its_members() -> None:
    problem, _, _ = made(SEARCHABLE)
    points = [double(problem.space().interior(generator(seed))) for seed in range(2)]
    many = [double(problem.init({}, generator(seed))) for seed in range(2)]
    params, hyper, data = stack(many), stack(points), random_images()
    noise = problem.noise(data, generator(0))
    for loss in (lambda p, h: problem.inner(p, h, data), lambda p, h: problem.noisy(p, h, data, noise)):
        alone = torch.stack([loss(take(params, i), take(hyper, i)) for i in range(2)])
        torch.testing.assert_close(vmap(loss)(params, hyper), alone)


def test_the_space_is_what_is_searched() -> None:
    axes = ConvNet(10, shape=(3, 32, 32)).space().axes
    assert list(axes) == ["width", "activation", "pooling", "decay.0", "decay.1", "decay.2", "decay.3"]
    every = ConvNet(10, shape=(3, 32, 32), searched=SEARCHABLE).space()
    assert len(every.axes) == 5 + 4 + 1 + 10 + 1 + 6
    assert ravel({k: v.unsqueeze(0) for k, v in every.interior(generator(0)).items()}).shape == (1, 3 + 3 + 3 + 5 + 3 + 22)


@pytest.mark.parametrize(("side", "width", "depth"), [(32, 128, 3), (28, 128, 3), (8, 64, 2), (4, 64, 1)])
def test_the_size_of_the_images_fits_the_network(side: int, width: int, depth: int) -> None:
    assert (ConvNet(3, shape=(1, side, side)).width, ConvNet(3, shape=(1, side, side)).depth) == (width, depth)


BROKEN = [
    {"width": 3},
    {"width": 4.5},
    {"depth": 0},
    {"depth": 4},
    {"searched": ("lr",)},
    {"searched": ("depth",), "depth": 1},
    {"searched": ("width", "width")},
    {"groups": 4},
    {"operations": ("shear",)},
]


@pytest.mark.parametrize("settings", BROKEN, ids=str)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        ConvNet(3, **settings)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 4)], ids=str)
def test_images_of_another_shape_are_refused(shape: tuple[int, int, int]) -> None:
    problem, params, _ = made()
    with pytest.raises(DataError, match=r"^`x` = .*the model takes \(1, 8, 8\) \(channels, height, width\); resize"):
        problem.logits(params, {}, ImageData(normal(2, *shape, seed=0), torch.tensor([0, 1]), 3), {})


def test_dropout_acts_on_what_the_linear_layer_reads() -> None:
    problem, params, _ = made(dropout=0.4)
    data = random_images()
    noise = problem.noise(data, generator(0))
    assert {name: value.shape for name, value in noise.items()} == {"features.1": (6, 32)}
    nothing = problem.logits(params, {}, data, {"features.1": torch.zeros(6, 32, dtype=torch.float64)})
    torch.testing.assert_close(nothing, params["bias.1"].expand(6, 3))
