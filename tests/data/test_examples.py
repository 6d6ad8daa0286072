"""Examples of any shape and their checks."""

from __future__ import annotations

import pytest
import torch

from hcdc.data import Examples, ImageData, Intake, Splits, example_splits, image_splits, table_splits
from hcdc.errors import DataError
from tests import small

PARTS = (torch.arange(4), torch.arange(4, 6), torch.arange(6, 8))
X, Y = torch.zeros(8, 3, 5), torch.arange(8) % 2


def test_integers_are_classes_and_floats_a_regression() -> None:
    assert example_splits(X, Y, PARTS).train.num_classes == 2
    regression = example_splits(X, Y.double(), PARTS)
    assert (regression.val.num_classes, regression.val.y.dtype) == (0, torch.float32)


BROKEN = {
    "bytes": (X.byte(), Y, None, "must be floating"),
    "no features": (X[:, 0, 0], Y, None, r"x must be \[n, ...\]"),
    "NaN": (X.log() * 0, Y, None, "NaN"),
    "infinite target": (X, Y / 0, None, "`y` = .* NaN or infinite"),
    "class absent": (X, Y, 3, r"classes \[2\] absent"),
    "out of range": (X, Y + 5, 2, "labels run from 0 to 1"),
    "one class": (X, Y * 0, None, "two classes"),
    "classes of floats": (X, Y.float(), 2, "2 classes were asked for"),
    "rows missing": (X[:5], Y, None, "a label for each"),
}


@pytest.mark.parametrize(("x", "y", "classes", "said"), BROKEN.values(), ids=BROKEN)
def test_what_breaks_a_rule_is_refused(x: torch.Tensor, y: torch.Tensor, classes: int | None, said: str) -> None:
    with pytest.raises(DataError, match=said):
        example_splits(x, y, PARTS, classes)


@pytest.mark.parametrize(
    "splits", [example_splits(X.float() + Y.view(8, 1, 1), Y, PARTS), small.images(), small.table()], ids=["any", "images", "table"]
)
def test_as_a_dataset_and_back(splits: Splits[Examples]) -> None:
    part = splits.train
    found = Intake.of(part.dataset())[1]
    assert isinstance(found, ImageData) == isinstance(part, ImageData)
    assert torch.equal(found.x, part.x)
    assert torch.equal(found.y, part.y)
    assert found.num_classes == part.num_classes


@pytest.mark.parametrize(("part", "name"), list(enumerate(Splits._fields)))
def test_an_empty_part_is_refused(part: int, name: str) -> None:
    """Of examples, images and tables alike."""
    parts = tuple(torch.arange(0) if at == part else each for at, each in enumerate(PARTS))
    columns = {"a": torch.arange(8.0).numpy()}
    for made in (
        lambda: example_splits(X, Y.double(), parts),
        lambda: image_splits(X.unsqueeze(1), Y, parts),
        lambda: table_splits(columns, Y.numpy(), parts),
    ):
        with pytest.raises(DataError, match=f"`{name}` = 'no examples'"):
            made()


def test_a_small_validation_set_may_lack_classes() -> None:
    intake, _ = Intake.of((torch.randn(50, 3), torch.arange(50) % 10))
    assert intake.read((torch.randn(5, 3), torch.arange(5)), "val").num_classes == 10
