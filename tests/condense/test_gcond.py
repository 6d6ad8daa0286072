"""Closed-form class gradients, and the matching that GCond is made of."""

from __future__ import annotations

import torch
from torch.nn import functional

from hcdc.condense import GCond, condense
from hcdc.condense.gcond import class_gradients, row_distance
from hcdc.store import DataCard
from tests import small

CARD = DataCard(name="small", sha256="0" * 64, kind="graph", num_classes=3)


def test_class_gradients_are_those_of_autograd():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 5, generator=generator, dtype=torch.float64), torch.arange(12) % 3
    weights = {"w1": torch.randn(5, 4, generator=generator, dtype=torch.float64), "w2": torch.randn(4, 3, generator=generator, dtype=torch.float64)}
    first, second = class_gradients(x, y, weights, 3)
    for label in range(3):
        leaves = {name: value.clone().requires_grad_() for name, value in weights.items()}
        loss = functional.cross_entropy((x @ leaves["w1"] @ leaves["w2"])[y == label], y[y == label])
        a, b = torch.autograd.grad(loss, list(leaves.values()))
        torch.testing.assert_close(first[label], a)
        torch.testing.assert_close(second[label], b)


def test_distance_is_zero_on_equal_gradients_and_two_a_unit_on_opposite_ones():
    a = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    assert float(row_distance(a, a)) < 1e-4
    assert float(row_distance(a, -a)) == torch.tensor(24.0)


def test_gradients_come_closer():
    records = condense(GCond(structure=False, epochs=60, outer=3, inner=3, hidden=8, lr=3e-2, both=False), small.task(), CARD).card.history
    distances = [record["distance"] for record in records]
    assert sum(distances[-10:]) < 0.9 * sum(distances[:10])


def test_gcond_learns_structure_and_gcond_x_has_none():
    learned, absent = (condense(small.METHODS[name], small.task(), CARD) for name in ("gcond", "gcond-x"))
    assert learned.train.adjacency.sum() > 0
    assert absent.train.adjacency.sum() == 0
