"""One dataset in every form that is read, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from hcdc.data import ImageData, Intake, TableData, read_graph
from hcdc.errors import DataError

X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
Y = np.arange(12) % 3


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(zip(X, Y, strict=True))


class HuggingFace:
    """The shape of a `datasets.Dataset`, as far as it is read."""

    def __init__(self, **columns: Any) -> None:
        self.columns_by_name, self.column_names, self.features = columns, list(columns), None

    def __getitem__(self, name: str) -> Any:
        return self.columns_by_name[name]


FORMS: dict[str, Any] = {
    "numpy": (X, Y),
    "doubles": (X.astype(np.float64), Y.astype(np.int32)),
    "tensors": (torch.from_numpy(X), torch.from_numpy(Y)),
    "a dataset": TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
    "a shuffling loader": DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=5, shuffle=True),
    "a stream": DataLoader(Stream(), batch_size=4),
    "hugging face": HuggingFace(x=X.tolist(), label=Y.tolist()),
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
    columns = HuggingFace(a=X[:, 0].tolist(), town=list("xyz" * 4), label=Y.tolist())
    assert torch.equal(Intake.of(columns)[1].x, train.x)
    with pytest.raises(DataError, match="must be of the kind of the training data"):
        intake.read((X, Y), "val")


BROKEN: dict[str, tuple[Any, str]] = {
    "a number": (3, "must be "),
    "no pairs": (TensorDataset(torch.zeros(4, 2)), "pairs"),
    "ragged": ([(np.zeros(2), 0), (np.zeros(3), 1), (np.zeros(3), 1)], "one shape"),
    "integers": ((X.astype(np.int64), Y), "must be floating"),
    "text": ((np.asarray([["a"], ["b"]]), Y[:2]), "must become a tensor"),
    "no target": (pandas.DataFrame({"a": X[:, 0]}), "must name the label"),
    "NaN": ((X * np.nan, Y), "NaN"),
}


@pytest.mark.parametrize(("given", "said"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_refused(given: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Intake.of(given)


@pytest.mark.parametrize(("val", "said"), [((X[:, :2], Y), "as in training"), ((X, Y + 1), "labels run from 0 to 2"), ((X, Y * 0.5), "integers in")])
def test_validation_data_must_fit(val: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Intake.of((X, Y))[0].read(val, "val")


def test_a_graph_comes_with_its_parts() -> None:
    data = pytest.importorskip("torch_geometric.data").Data(
        x=torch.eye(12), edge_index=torch.tensor([[0, 1], [1, 2]]), y=torch.from_numpy(Y), train_mask=torch.arange(12) < 6,
        val_mask=(torch.arange(12) >= 6) & (torch.arange(12) < 9), test_mask=torch.arange(12) >= 9,
    )  # fmt: skip
    train, val, test = read_graph(data)
    assert torch.equal(train.x, torch.eye(12))
    assert [int(part.mask.sum()) for part in (train, val, test)] == [6, 3, 3]
