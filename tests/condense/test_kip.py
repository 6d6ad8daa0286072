"""The tangent kernel against wide random networks, and the regression against its formula."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.nn import functional

from hcdc.condense import KIP, condense
from hcdc.condense.kip import tangent_kernel
from hcdc.store import DataCard
from tests import small
from tests.cases import generator, normal

CARD = DataCard(name="small", sha256="0" * 64, kind="images", num_classes=3)


def empirical(x: torch.Tensor, layers: int, width: int, weight_variance: float, bias_variance: float, seed: int) -> torch.Tensor:
    """Products of parameter gradients of one random network of finite width: [n, n]."""
    sides, draws = [x.shape[1], *[width] * layers, 1], generator(seed)
    weights = [torch.randn(b, a, generator=draws, dtype=torch.float64).requires_grad_() for a, b in itertools.pairwise(sides)]
    biases = [torch.randn(b, generator=draws, dtype=torch.float64).requires_grad_() for b in sides[1:]]
    rows = []
    for image in x:
        h = image
        for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            h = (h.relu() if number else h) @ weight.T * math.sqrt(weight_variance / weight.shape[1]) + math.sqrt(bias_variance) * bias
        rows.append(torch.cat([slope.flatten() for slope in torch.autograd.grad(h.sum(), [*weights, *biases])]))
    flat = torch.stack(rows)
    return flat @ flat.T


@pytest.mark.parametrize(("layers", "bias_variance"), [(1, 0.0), (2, 0.3)])
def test_the_kernel_is_that_of_wide_networks(layers, bias_variance):
    x = normal(4, 6, seed=0)
    found = tangent_kernel(x, x, layers, 2.0, bias_variance)
    estimate = torch.stack([empirical(x, layers, 512, 2.0, bias_variance, seed) for seed in range(12)]).mean(0)
    torch.testing.assert_close(found, estimate, rtol=0.06, atol=0.06)


def test_one_layer_without_bias_by_hand():
    """On the unit circle, for s_w^2 = 2 and d = 2: T = k(c) + c (pi - angle) / pi with k the arc-cosine kernel."""
    angle = 1.1
    a, b = torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    arc = (math.sin(angle) + (math.pi - angle) * math.cos(angle)) / math.pi
    assert tangent_kernel(a, b, 1).item() == pytest.approx(arc + math.cos(angle) * (math.pi - angle) / math.pi, rel=1e-9)
    assert float(tangent_kernel(a, a, 1)) == pytest.approx(2.0, rel=1e-3)


def test_the_kernel_is_positive_and_its_slope_finite_where_images_coincide():
    x = normal(5, 6, seed=1)
    assert torch.linalg.eigvalsh(tangent_kernel(x, x, 3)).min() > 0
    leaf = torch.cat([x, x[:1]]).requires_grad_()
    assert torch.isfinite(torch.autograd.grad(tangent_kernel(leaf, leaf, 3).sum(), leaf)[0]).all()


def test_the_loss_is_that_of_the_regression_and_its_slope_right():
    x, y, target, labels = normal(6, 1, 2, 2, seed=2), torch.arange(6) % 3, normal(7, 1, 2, 2, seed=3), torch.arange(7) % 3
    method = KIP(ridge=1e-2)
    inside, across = method.kernel(x, x), method.kernel(target, x)
    weights = torch.linalg.inv(inside + 1e-2 * inside.trace() / 6 * torch.eye(6, dtype=torch.float64)) @ (functional.one_hot(y, 3).double() - 1 / 3)
    expected = ((across @ weights - (functional.one_hot(labels, 3).double() - 1 / 3)) ** 2).sum() / (2 * 7 * 3)
    torch.testing.assert_close(method.loss(x, y, target, labels, 3), expected)
    leaf = x.clone().requires_grad_()
    slope = torch.autograd.grad(method.loss(leaf, y, target, labels, 3), leaf)[0]
    direction, step = normal(*x.shape, seed=4), 1e-5
    ends = [float(method.loss(x + sign * step * direction, y, target, labels, 3)) for sign in (1, -1)]
    assert float((slope * direction).sum()) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4)


def test_the_regression_improves():
    records = condense(KIP(steps=30, both=False), small.task(small.images()), CARD).card.history
    assert records[-1]["distance"] < 0.5 * records[0]["distance"]
