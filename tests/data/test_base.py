"""What a condenser may see."""

from __future__ import annotations

import torch

from hcdc.data import Real, graph_splits
from tests.cases import graph_tensors, random_graph


def test_real_has_no_test_part() -> None:
    splits = random_graph()
    real = splits.real
    assert isinstance(real, Real)
    assert real._fields == ("train", "val")
    assert real.train is splits.train
    assert real.val is splits.val


def test_no_tensor_of_real_depends_on_a_test_label() -> None:
    arguments = graph_tensors()
    other = arguments["y"].clone()
    other[arguments["test"]] = (other[arguments["test"]] + 1) % 3
    assert not torch.equal(other, arguments["y"])
    both = random_graph().real, graph_splits(**(arguments | {"y": other})).real
    for one, two in zip(*both, strict=True):
        for name, value in one.tensors().items():
            assert torch.equal(value, two.tensors()[name]), name
