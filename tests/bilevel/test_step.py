"""An optimiser that is taken apart after every step takes the steps of a whole one."""

from __future__ import annotations

import pytest
import torch

from hcdc.bilevel import stepped

OPTIMISERS = {
    "adam": lambda groups: torch.optim.Adam(groups, fused=True),
    "adam with decay": lambda groups: torch.optim.Adam(groups, betas=(0.5, 0.9), weight_decay=0.1),
    "momentum": lambda groups: torch.optim.SGD(groups, momentum=0.9),
    "plain descent": torch.optim.SGD,
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_optimiser_taken_apart_after_every_step_is_the_whole_one(name):
    rates = {"x": 0.1, "x.y": 0.3, "z": 0.1}
    target = {key: torch.arange(3.0) + place for place, key in enumerate(rates)}
    leaves = {key: torch.zeros(3, requires_grad=True) for key in rates}
    whole = OPTIMISERS[name]([{"params": [leaf], "lr": rates[key]} for key, leaf in leaves.items()])
    tensors, moments = {key: torch.zeros(3) for key in rates}, {}
    for _ in range(4):
        for key, leaf in leaves.items():
            leaf.grad = leaf.detach() - target[key]
        whole.step()
        before = {key: value.clone() for key, value in tensors.items()}
        after, moments = stepped(tensors, {key: tensors[key] - target[key] for key in rates}, moments, OPTIMISERS[name], rates)
        assert all(torch.equal(tensors[key], before[key]) for key in rates)
        tensors = after
    for key, leaf in leaves.items():
        torch.testing.assert_close(tensors[key], leaf.detach(), rtol=0, atol=0)
        assert not tensors[key].requires_grad


def test_the_moments_are_named_by_tensor_and_kind():
    tensors, moments = stepped({"x": torch.ones(2)}, {"x": torch.ones(2)}, {}, OPTIMISERS["momentum"], {"x": 0.5})
    assert set(moments) == {"x.momentum_buffer"}
    torch.testing.assert_close(tensors["x"], torch.full((2,), 0.5))
