"""Labelled images and their splits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hcdc.data import image_splits
from hcdc.errors import DataError
from tests.cases import normal, random_images

PARTS = (torch.tensor([0, 1, 2, 6]), torch.tensor([3, 4]), torch.tensor([5]))


def arguments(**changes: Any) -> dict[str, Any]:
    return {"x": normal(7, 1, 4, 4, seed=0).float(), "y": torch.tensor([0, 1, 2, 0, 1, 2, 0]), "parts": PARTS} | changes


def test_splits_take_their_parts() -> None:
    given = arguments()
    splits = image_splits(**given)
    for part, index in zip(splits, PARTS, strict=True):
        assert torch.equal(part.x, given["x"][index])
        assert torch.equal(part.labels(), given["y"][index])
        assert part.num_classes == 3
    assert (splits.train.size, splits.train.shape) == (4, (1, 4, 4))


def with_(tensor: torch.Tensor, index: Any, value: float) -> torch.Tensor:
    out = tensor.clone()
    out[index] = value
    return out


BROKEN = {
    "bytes": (arguments(x=torch.zeros(7, 1, 4, 4, dtype=torch.uint8)), "x"),
    "bytes as floats": (arguments(x=with_(torch.zeros(7, 1, 4, 4), (0, 0, 1, 1), 255.0)), "x"),
    "no channels": (arguments(x=torch.zeros(7, 4, 4)), "x"),
    "NaN": (arguments(x=with_(torch.zeros(7, 1, 4, 4), (0, 0, 1, 1), float("nan"))), "x"),
    "images missing": (arguments(x=torch.zeros(6, 1, 4, 4)), "y"),
    "label below": (arguments(y=torch.tensor([0, 1, 2, 0, 1, -2, 0])), "y"),
    "label above": (arguments(num_classes=2), "y"),
    "class without training image": (arguments(num_classes=4), "y"),
    "labels as a column": (arguments(y=arguments()["y"].unsqueeze(1)), "y"),
}


@pytest.mark.parametrize(("given", "named"), BROKEN.values(), ids=BROKEN)
def test_broken_images_are_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(DataError, match=f"^`{named}` = "):
        image_splits(**given)


def test_a_model_for_another_shape_is_told() -> None:
    data = random_images()
    data.check_shape((1, 8, 8))
    with pytest.raises(DataError, match=r"^`x` = \(1, 8, 8\): the model takes \(3, 8, 8\)"):
        data.check_shape((3, 8, 8))


def test_take_and_replace() -> None:
    data = random_images(n=6)
    small = data.take(torch.tensor([4, 1]))
    assert torch.equal(small.x, data.x[[4, 1]])
    assert small.y.tolist() == [1, 1]
    assert torch.equal(small.replace(x=small.x + 1).x, data.x[[4, 1]] + 1)
    assert set(data.learnable()) == {"x"}
    assert set(data.tensors()) == {"x", "y"}
    assert data.project() is data
    assert data.to("meta").x.device.type == data.to("meta").y.device.type == "meta"
