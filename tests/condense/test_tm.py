"""Trajectory matching: the unrolled gradient, experts, and the distance."""

from __future__ import annotations

import pytest
import torch

from hcdc.condense import TM, condense
from hcdc.condense.images import cross_entropy
from hcdc.models import ConvNet
from hcdc.store import DataCard
from tests import small
from tests.cases import generator, normal

CARD = DataCard(name="small", sha256="0" * 64, kind="images", num_classes=3)
METHOD = TM(steps=4, experts=2, epochs=3, ahead=2, inner=3, max_start=2, batch=4, lr=1.0, width=4, both=False, augmentation=())


def test_the_gradient_through_the_steps_is_right():
    """In the images and in the rate, against central differences in float64."""
    network = ConvNet(3, shape=(1, 4, 4), width=4, searched=())
    params = {name: value.double() for name, value in network.init({}, generator(0)).items()}
    y = torch.arange(6) % 3
    learned = {"x": normal(6, 1, 4, 4, seed=1), "rate": torch.tensor(0.1, dtype=torch.float64)}

    def objective(some):
        end = METHOD.unrolled(network, params, some, y, generator(5))
        return torch.stack([(value - 0.1).square().sum() for value in end.values()]).sum()

    leaves = {name: value.clone().requires_grad_() for name, value in learned.items()}
    slopes = torch.autograd.grad(objective(leaves), list(leaves.values()))
    for (name, value), slope in zip(learned.items(), slopes, strict=True):
        direction, step = normal(value.numel(), seed=2).reshape(value.shape), 1e-6
        ends = [float(objective(learned | {name: value + sign * step * direction}).detach()) for sign in (1, -1)]
        assert float((slope * direction).sum()) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4)


def test_the_steps_are_gradient_descent_on_every_image_once_a_round():
    network = ConvNet(3, shape=(1, 4, 4), width=4, searched=())
    params, y = network.init({}, generator(0)), torch.arange(6) % 3
    learned = {"x": normal(6, 1, 4, 4, seed=1).float(), "rate": torch.tensor(0.1)}
    found = METHOD.unrolled(network, params, learned, y, generator(5))
    draws = generator(5)
    first, second = torch.randperm(6, generator=draws), torch.randperm(6, generator=draws)
    current = params
    for index in (first[:4], first[4:], second[:4]):
        leaves = {name: value.detach().requires_grad_() for name, value in current.items()}
        slopes = torch.autograd.grad(cross_entropy(network, leaves, learned["x"][index], y[index]), list(leaves.values()))
        current = {name: value - 0.1 * slope for (name, value), slope in zip(leaves.items(), slopes, strict=True)}
    for name, value in current.items():
        torch.testing.assert_close(found[name].detach(), value.detach())


def test_experts_keep_their_parameters_before_training_and_after_every_epoch():
    task = small.task(small.images())
    state, metrics = METHOD.step(task, METHOD.init(task), 0)
    path = state["train/expert-0"]["path"]
    params = METHOD.network(task.real.train).init({}, task.generator(33, 0, 0))
    assert path.shape == (4, sum(value.numel() for value in params.values()))
    torch.testing.assert_close(path[0], torch.cat([value.flatten() for value in params.values()]))
    assert (path[1:] - path[:-1]).norm(dim=1).min() > 0
    assert metrics["expert_loss"] > 0


def test_a_set_on_which_nothing_is_learned_is_at_distance_one():
    task = small.task(small.images())
    state = METHOD.init(task)
    for number in range(2):
        state, _ = METHOD.step(task, state, number)
    state["train/learned"] = state["train/learned"] | {"rate": torch.zeros(())}
    _, metrics = METHOD.step(task, state, 2)
    assert metrics["distance"] == pytest.approx(1.0)


def test_the_images_lead_closer_to_the_experts():
    method = TM(
        steps=40, experts=2, epochs=4, ahead=2, inner=3, max_start=2, lr=3.0, lr_rate=1e-4, width=4, both=False, augmentation=(), real_batch=8
    )
    records = condense(method, small.task(small.images()), CARD).card.history
    distances = [record["distance"] for record in records if "distance" in record]
    assert sum(distances[-8:]) < 0.9 * sum(distances[:8])
