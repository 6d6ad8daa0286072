"""One dataset in every form that is read, and what is refused."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from hcdc.data import ImageData, Intake, TableData, read_graph
from hcdc.errors import DataError

X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
Y = np.arange(12) % 3


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(zip(X, Y, strict=True))


def hugging_face(**columns: Any) -> datasets.Dataset:
    return datasets.Dataset.from_dict({name: values.tolist() if hasattr(values, "tolist") else values for name, values in columns.items()})


def doubled(pairs: list[Any]) -> Any:
    """What a loader makes of its batch: here inputs that were stored halved."""
    return torch.stack([torch.as_tensor(x) * 2 for x, _ in pairs]), torch.tensor([int(y) for _, y in pairs])


FORMS: dict[str, Any] = {
    "numpy": (X, Y),
    "doubles": (X.astype(np.float64), Y.astype(np.int32)),
    "tensors": (torch.from_numpy(X), torch.from_numpy(Y)),
    "a dataset": TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
    "a shuffling loader": DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=5, shuffle=True),
    "a stream": DataLoader(Stream(), batch_size=4),
    "a loader with a collate_fn": DataLoader(list(zip(X / 2, Y, strict=True)), batch_size=5, collate_fn=doubled),  # pyright: ignore
    "a subset": Subset(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), range(12)),
    "series of labels": (X, pandas.Series(Y)),
    "hugging face": hugging_face(x=X, label=Y),
    "hugging face, class names": hugging_face(x=X, label=Y).cast_column("label", datasets.ClassLabel(names=["p", "q", "r"])),
    "hugging face, as tensors": hugging_face(x=X, label=Y).with_format("torch"),
    "hugging face, as frames": hugging_face(x=X, label=Y).with_format("pandas"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_examples(form: str) -> None:
    state = torch.get_rng_state()
    intake, data = Intake.of(FORMS[form])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(data.x, torch.from_numpy(X))
    assert (data.y.tolist(), data.num_classes) == (Y.tolist(), 3)
    assert torch.equal(intake.read(FORMS[form], "val").x, data.x)


def test_four_dimensions_are_images_and_floating_labels_a_regression() -> None:
    assert isinstance(Intake.of((np.zeros((6, 1, 4, 4), np.float32), np.arange(6) % 2))[1], ImageData)
    assert Intake.of((X, np.linspace(0, 1, 12)))[1].num_classes == 0


def test_frames_are_encoded_as_the_training_rows_say() -> None:
    frame = pandas.DataFrame({"a": X[:, 0], "town": list("xyz" * 4), "y": Y})
    intake, train = Intake.of(frame, "y")
    assert isinstance(train, TableData)
    val = intake.read(frame.iloc[:4], "val")
    assert torch.equal(val.x, train.x[:4])
    columns = hugging_face(a=X[:, 0], town=list("xyz" * 4), label=Y)
    assert torch.equal(Intake.of(columns)[1].x, train.x)
    assert torch.equal(Intake.of(columns.with_format("torch"))[1].x, train.x)
    with pytest.raises(DataError, match="must be of the kind of the training data"):
        intake.read((X, Y), "val")


BROKEN: dict[str, tuple[Any, str]] = {
    "a number": (3, "must be "),
    "no pairs": (TensorDataset(torch.zeros(4, 2)), "pairs"),
    "ragged": ([(np.zeros(2), 0), (np.zeros(3), 1), (np.zeros(3), 1)], "one shape"),
    "integers": ((X.astype(np.int64), Y), "must be floating"),
    "text": ((np.asarray([["a"], ["b"]]), Y[:2]), "must become a tensor"),
    "no target": (pandas.DataFrame({"a": X[:, 0]}), "must name the label"),
    "labels of text": ([(np.zeros(2, np.float32), "cat")] * 3, "must be numbers"),
    "fewer labels than rows": ((pandas.DataFrame({"a": X[:, 0]}), Y[:5]), "as many"),
    "NaN": ((X * np.nan, Y), "NaN"),
    "NA of pandas": ((pandas.DataFrame({"a": pandas.array([1, None, 3] * 4, dtype="Int64")}), Y), "`a` = '4 of 12 values missing"),
    "text with NA": ((pandas.DataFrame({"a": pandas.array(["x", None, "z"] * 4, dtype="string")}), Y), "4 of 12 values missing"),
    "dates": ((pandas.DataFrame({"a": pandas.date_range("2020", periods=12)}), Y), "dates and durations are no numbers"),
    "a stream of hugging face": (hugging_face(x=X, label=Y).to_iterable_dataset(), "load it without streaming"),
    "splits of hugging face": (datasets.DatasetDict(train=hugging_face(x=X, label=Y)), r"must name the label among the columns \['train'\]"),
    "labels of text in an array": ((X, np.asarray(["cat", "dog"] * 6)), "`train` = 'cat': labels must be numbers"),
    "one-hot labels": ((X, np.eye(3)[Y]), "take its argmax"),
    "no examples": ((X[:0], Y[:0]), "`train` = 'no examples'"),
    "pictures with a palette": ([(Image.new("RGB", (4, 4)).quantize(4), 0)] * 3, "no palette"),
    "pictures of 16 bits": ([(Image.new("I;16", (4, 4)), 0)] * 3, "must have 8 bits a channel"),
}


@pytest.mark.parametrize(("given", "said"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_refused(given: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Intake.of(given)


@pytest.mark.parametrize(
    ("val", "said"),
    [((X[:, :2], Y), "as in training"), ((X, Y + 1), "`val` = 'class 3': training has classes 0 to 2; move"), ((X, Y * 0.5), "integers in")],
)
def test_validation_data_must_fit(val: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Intake.of((X, Y))[0].read(val, "val")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_labels_may_be_unsigned(dtype: type) -> None:
    assert torch.equal(Intake.of((X, Y.astype(dtype)))[1].y, torch.from_numpy(Y))


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
@pytest.mark.parametrize("of", ["hugging face", "torch"])
def test_pictures_become_images_of_unit_scale(mode: str, channels: int, of: str) -> None:
    pictures = [Image.new(mode, (5, 4), "white" if at % 2 else "black") for at in range(6)]
    labels = [at % 2 for at in range(6)]
    given = hugging_face(image=pictures, label=labels) if of == "hugging face" else list(zip(pictures, labels, strict=True))
    found = Intake.of(given)[1]
    assert isinstance(found, ImageData)
    assert found.shape == (channels, 4, 5)
    assert torch.equal(found.x[:2].amax((1, 2, 3)), torch.tensor([-1.0, 1.0]))


def test_a_graph_comes_with_its_parts() -> None:
    data = pytest.importorskip("torch_geometric.data").Data(
        x=torch.eye(12), edge_index=torch.tensor([[0, 1], [1, 2]]), y=torch.from_numpy(Y), train_mask=torch.arange(12) < 6,
        val_mask=(torch.arange(12) >= 6) & (torch.arange(12) < 9), test_mask=torch.arange(12) >= 9,
    )  # fmt: skip
    train, val, test = read_graph(data)
    assert torch.equal(train.x, torch.eye(12))
    assert [int(part.mask.sum()) for part in (train, val, test)] == [6, 3, 3]


PAIRS = TensorDataset(torch.arange(24.0).reshape(12, 2), torch.arange(12) % 3)


@pytest.mark.parametrize(
    "collate", [None, lambda batch: (torch.stack([x for x, _ in batch]), torch.stack([y for _, y in batch]))], ids=["plain", "own"]
)
def test_a_loader_of_a_subset_gives_that(collate: Any) -> None:
    """The usual way to cut one dataset into training and validation data."""
    parts = [list(range(3, 12)), [0, 1, 2]]
    for part in parts:
        loader = DataLoader(PAIRS, batch_size=2, sampler=SubsetRandomSampler(part), collate_fn=collate)
        assert torch.equal(Intake.of(loader)[1].x, PAIRS.tensors[0][part])
        assert torch.equal(Intake.of(DataLoader(PAIRS, batch_sampler=BatchSampler(SubsetRandomSampler(part), 2, False), collate_fn=collate))[1].x,
                           PAIRS.tensors[0][part])  # fmt: skip


class Odd(BatchSampler):
    """Batches of its own."""


@pytest.mark.parametrize("how", [
    {"sampler": WeightedRandomSampler([1.0] * 12, 12)}, {"sampler": RandomSampler(PAIRS, replacement=True)},
    {"sampler": RandomSampler(PAIRS, num_samples=5)}, {"batch_sampler": Odd(SequentialSampler(PAIRS), 2, False)},
], ids=["weighted", "with replacement", "some", "batches"])  # fmt: skip
def test_a_loader_that_draws_as_it_likes_is_refused(how: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="does not say what the examples are; give the dataset"):
        Intake.of(DataLoader(PAIRS, **how))
