"""Algebra on dictionaries of tensors."""

from __future__ import annotations

import pytest
import torch

from hcdc._tensors import batch_size, concatenate, digest, expand, ravel, stack, take, unravel
from tests.cases import normal

BATCH = {"a": normal(3, 2, 4, seed=0), "b": normal(3, seed=1), "c": normal(3, 1, seed=2)}


def test_unravel_undoes_ravel() -> None:
    flat = ravel(BATCH)
    assert flat.shape == (3, 8 + 1 + 1)
    back = unravel(flat, BATCH)
    assert list(back) == list(BATCH)
    assert all(torch.equal(back[key], value) for key, value in BATCH.items())


def test_ravel_keeps_members_apart_and_keys_in_order() -> None:
    assert torch.equal(ravel(BATCH)[1], torch.cat([BATCH["a"][1].flatten(), BATCH["b"][1:2], BATCH["c"][1]]))


def test_take_undoes_stack() -> None:
    members = [take(BATCH, i) for i in range(3)]
    assert all(torch.equal(stack(members)[key], value) for key, value in BATCH.items())
    assert torch.equal(take(BATCH, slice(1, 3))["a"], BATCH["a"][1:])
    assert torch.equal(take(BATCH, torch.tensor([2, 0]))["b"], BATCH["b"][[2, 0]])


def test_concatenate_joins_batches() -> None:
    joined = concatenate([take(BATCH, slice(0, 1)), take(BATCH, slice(1, 3))])
    assert all(torch.equal(joined[key], value) for key, value in BATCH.items())


def test_expand_makes_copies() -> None:
    item = take(BATCH, 0)
    many = expand(item, 2)
    assert batch_size(many) == 2
    many["a"][0] += 1
    assert torch.equal(many["a"][1], item["a"])
    assert torch.equal(item["a"], BATCH["a"][0])


def test_digest_does_not_depend_on_order_or_memory() -> None:
    pairs = list(BATCH.items())
    assert digest(pairs) == digest(reversed(pairs))
    assert digest([("x", BATCH["a"].mT)]) == digest([("x", BATCH["a"].mT.contiguous())])


@pytest.mark.parametrize("other", [
    [("y", torch.zeros(4))], [("x", torch.zeros(2, 2))], [("x", torch.zeros(4, dtype=torch.float64))], [("x", torch.zeros(4, dtype=torch.int32))],
    [("x", torch.tensor([0, 0, 0, 1e-30]))], [("x", torch.tensor([0.0, 0.0, 0.0, -0.0]))], [],
], ids=["name", "shape", "wider", "type", "value", "sign", "none"])  # fmt: skip
def test_digest_sees_names_types_shapes_and_bytes(other: list[tuple[str, torch.Tensor]]) -> None:
    assert digest(other) != digest([("x", torch.zeros(4))])
