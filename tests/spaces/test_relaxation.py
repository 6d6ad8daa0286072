"""Weights over operations: what they sum to, what is sampled, and what the derivative is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.func import jacrev

from hcdc.spaces import RELAXATIONS, gumbel, relaxed
from tests.cases import generator, normal

ALPHA, NOISE = normal(6, 5, seed=0), gumbel((6, 5), generator(1)).double()


@pytest.mark.parametrize("kind", RELAXATIONS)
def test_weights_sum_to_one(kind: Any) -> None:
    weights = relaxed(ALPHA, NOISE, kind, 0.5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(6, dtype=torch.float64))
    assert weights.min() >= 0
    assert bool(((weights == 0) | (weights == 1)).all()) == (kind == "gdas")


def test_softmax_reads_no_noise() -> None:
    torch.testing.assert_close(relaxed(ALPHA, NOISE, "softmax", 2.0), (ALPHA / 2).softmax(-1))


def test_a_sampled_operation_has_the_derivative_of_the_soft_one() -> None:
    soft, hard = (jacrev(lambda alpha, kind=kind: relaxed(alpha, NOISE, kind, 0.5))(ALPHA) for kind in ("gumbel", "gdas"))
    torch.testing.assert_close(hard, soft)
    assert relaxed(ALPHA, NOISE, "gdas", 0.5).argmax(-1).equal((ALPHA + NOISE).argmax(-1))


def test_operations_are_sampled_as_often_as_softmax_says() -> None:
    alpha = torch.tensor([0.0, 1.0, -1.0])
    noise = gumbel((20_000, 3), generator(0))
    shares = relaxed(alpha.expand(20_000, 3), noise, "gdas", 1.0).mean(0)
    torch.testing.assert_close(shares, alpha.softmax(-1), atol=0.015, rtol=0)


def test_a_low_temperature_is_nearly_one_hot() -> None:
    torch.testing.assert_close(relaxed(ALPHA, NOISE, "gumbel", 1e-3), relaxed(ALPHA, NOISE, "gdas", 1.0), atol=1e-6, rtol=0)
