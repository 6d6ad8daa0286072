"""Means of embeddings, by hand."""

from __future__ import annotations

import pytest
import torch

from hcdc.condense import DM, condense
from hcdc.condense.images import embedding
from hcdc.store import DataCard
from tests import small

CARD = DataCard(name="small", sha256="0" * 64, kind="images", num_classes=3)


def test_one_step_is_down_the_distance_of_the_means():
    task = small.task(small.images())
    method, real = DM(steps=1, lr=0.3, width=4, augmentation=(), both=False), task.real.train
    state = method.init(task)
    x, y = state["train/learned"]["x"].clone().requires_grad_(), state["train/labels"]["y"]
    network = method.network(real)
    params = network.init({}, task.generator(33, 0, 0))
    total = torch.zeros(())
    for label in range(3):
        means = [embedding(network, params, images[of == label]).mean(0) for images, of in ((x, y), (real.x, real.y))]
        total = total + (means[0] - means[1]).square().sum()
    after, metrics = method.step(task, state, 0)
    assert metrics["distance"] == pytest.approx(float(total.detach()), rel=1e-4)
    torch.testing.assert_close(after["train/learned"]["x"], (x - 0.3 * torch.autograd.grad(total, x)[0]).detach())


def test_means_come_closer():
    records = condense(DM(steps=30, width=8, augmentation=(), both=False), small.task(small.images()), CARD).card.history
    distances = [record["distance"] for record in records]
    assert sum(distances[-5:]) < 0.3 * sum(distances[:5])
