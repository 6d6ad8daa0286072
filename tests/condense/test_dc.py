"""Gradient matching against loops, autograd and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from hcdc._tensors import as_leaves
from hcdc.condense import DC, condense
from hcdc.condense.dc import gradient_distance, loops
from hcdc.condense.images import cross_entropy
from hcdc.models import ConvNet
from hcdc.store import DataCard
from tests import small
from tests.cases import normal

CARD = DataCard(name="small", sha256="0" * 64, kind="images", num_classes=3)
SHAPES = {"conv": (4, 2, 3, 3), "scale": (4,), "head": (3, 8), "bias": (3,)}


def gradients(seed: int) -> dict[str, torch.Tensor]:
    return {name: normal(*shape, seed=seed + i).float() for i, (name, shape) in enumerate(SHAPES.items())}


@pytest.mark.parametrize("matched", ["matrices", "all"])
def test_the_distance_is_a_loop_over_units(matched):
    a, b = gradients(0), gradients(10)
    expected = 0.0
    for name, shape in SHAPES.items():
        rows = [(a[name][unit].flatten(), b[name][unit].flatten()) for unit in range(shape[0])] if len(shape) > 1 else [(a[name], b[name])]
        for one, other in rows if len(shape) > 1 or matched == "all" else []:
            expected += 1 - float(one @ other) / math.sqrt(float(one @ one) * float(other @ other))
    assert float(gradient_distance(a, b, matched)) == pytest.approx(expected, rel=1e-5)


def test_the_distance_knows_no_scale_and_is_two_a_unit_at_most():
    a = gradients(0)
    assert abs(float(gradient_distance(a, {name: 3 * value for name, value in a.items()}))) < 1e-5
    assert float(gradient_distance(a, {name: -value for name, value in a.items()})) == pytest.approx(2 * (4 + 3), rel=1e-5)


def test_the_slope_of_a_match_is_that_of_the_distance():
    """Directional derivative, by central differences of the distance written anew, in float64."""
    task = small.task(small.images())
    method = DC(steps=1, width=4, real_batch=999)
    real = task.real.train.replace(x=task.real.train.x.double())
    own = {key.removeprefix("train/"): value for key, value in method.init(task).items() if key.startswith("train/")}
    x, y = own["learned"]["x"].double(), own["labels"]["y"]
    network = ConvNet(3, shape=real.shape, width=4, searched=())
    params = as_leaves({name: value.double() for name, value in network.init({}, torch.Generator().manual_seed(0)).items()})
    matrices = [value for value in params.values() if value.ndim > 1]

    def distance(images: torch.Tensor) -> float:
        total = 0.0
        for label in range(3):
            parts = [
                torch.autograd.grad(cross_entropy(network, params, some[at == label], at[at == label]), matrices)
                for some, at in ((images, y), (real.x, real.y))
            ]
            total += sum(float((1 - functional.cosine_similarity(a.flatten(1), b.flatten(1), dim=1)).sum()) for a, b in zip(*parts, strict=True))
        return total

    slope, total = method.match(network, params, real, own | {"learned": {"x": x}}, torch.Generator())
    assert total == pytest.approx(distance(x), rel=1e-6)
    direction, step = normal(*x.shape, seed=3), 1e-6
    numeric = (distance(x + step * direction) - distance(x - step * direction)) / (2 * step)
    assert float((slope * direction).sum()) == pytest.approx(numeric, rel=1e-3)


def test_the_published_loops():
    assert [loops(count) for count in (1, 10, 20, 50)] == [(1, 1), (10, 50), (20, 25), (50, 10)]


def test_gradients_come_closer():
    records = condense(DC(steps=12, outer=3, inner=2, width=8, both=False), small.task(small.images()), CARD).card.history
    distances = [record["distance"] for record in records]
    assert sum(distances[-4:]) < 0.7 * sum(distances[:4])
