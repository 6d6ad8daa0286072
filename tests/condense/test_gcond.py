"""Closed-form class gradients, and the matching that GCond is made of."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from hcdc.condense import GCond, condense
from hcdc.condense.gcond import Surrogate, column_distance
from hcdc.errors import InputError
from hcdc.store import DataCard
from tests import small
from tests.reference.graphs import pair_network

CARD = DataCard(name="small", sha256="0" * 64, kind="graph", num_classes=3)


def test_class_gradients_are_those_of_autograd():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 5, generator=generator), torch.arange(12) % 3
    surrogate = Surrogate(5, 3, 0.01, generator)
    found = surrogate.class_gradients(x, y)
    for label in range(3):
        leaf = surrogate.weight.clone().requires_grad_()
        loss = functional.cross_entropy((x @ leaf + surrogate.bias)[y == label], y[y == label])
        torch.testing.assert_close(found[label], torch.autograd.grad(loss, leaf)[0])


def test_the_surrogate_trains_as_adam_on_its_cross_entropy_does():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 5, generator=generator), torch.arange(12) % 3
    surrogate = Surrogate(5, 3, 0.05, generator)
    weight, bias = surrogate.weight.clone().requires_grad_(), surrogate.bias.clone().requires_grad_()
    optimiser = torch.optim.Adam([weight, bias], lr=0.05)
    for _ in range(7):
        optimiser.zero_grad()
        functional.cross_entropy(x @ weight + bias, y).backward()
        optimiser.step()
    surrogate.train(x, y, 7)
    torch.testing.assert_close(surrogate.weight, weight.detach())
    torch.testing.assert_close(surrogate.bias, bias.detach())


def test_distance_is_zero_on_equal_gradients_and_two_a_unit_on_opposite_ones():
    a = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    assert float(column_distance(a, a).sum()) < 1e-4
    torch.testing.assert_close(column_distance(a, -a), torch.full((3,), 8.0))


def test_gradients_come_closer():
    records = condense(GCond(structure=False, epochs=60, outer=3, inner=3, lr=3e-2, both=False), small.task(), CARD).card.history
    distances = [record["distance"] for record in records]
    assert sum(distances[-10:]) < 0.9 * sum(distances[:10])


def test_gcond_learns_structure_and_gcond_x_has_none():
    learned, absent = (condense(small.METHODS[name], small.task(), CARD) for name in ("gcond", "gcond-x"))
    assert learned.train.adjacency.sum() > 0
    assert absent.train.adjacency.sum() == 0


def test_without_both_the_validation_nodes_are_real_and_alone():
    task = small.task()
    method = GCond(epochs=1, outer=1, inner=1, hidden=4, both=False)
    train, val = method.extract(task, method.init(task))
    assert bool(train.adjacency.any())
    assert not bool(val.adjacency.any())


@pytest.mark.parametrize("settings", [{"epochs": 0}, {"outer": 0}, {"lr": -0.01}, {"lr_inner": float("nan")}, {"turns": (0, 0)}], ids=str)
def test_settings_that_learn_nothing_are_refused(settings):
    with pytest.raises(InputError, match=f"`{next(iter(settings))}` = "):
        GCond(**settings)


def test_the_adjacency_is_that_of_the_network_written_out_on_pairs():
    method, generator = GCond(hidden=6), torch.Generator().manual_seed(0)
    x = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    shapes = {"from": (5, 6), "to": (5, 6), "w2": (6, 6), "w3": (6, 1), "scale1": (6,), "shift1": (6,), "scale2": (6,), "shift2": (6,), "b3": (1,)}
    learned = {f"mlp.{name}": torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
    leaves = {"x": x.requires_grad_()} | {name: value.requires_grad_() for name, value in learned.items()}
    found, wanted = method._adjacency(leaves), pair_network(leaves)
    torch.testing.assert_close(found, wanted)
    weights = torch.randn(7, 7, generator=generator, dtype=torch.float64)
    slopes = [torch.autograd.grad((weights * value).sum(), list(leaves.values())) for value in (found, wanted)]
    for ours, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(ours, theirs)
