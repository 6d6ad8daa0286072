"""Tables: encoding fixed by the training rows, checks, files."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from hcdc.data import Column, TableData, load, read_columns, table_splits
from hcdc.errors import DataError, FormatError

PARTS = (torch.tensor([0, 1, 2, 3, 4]), torch.tensor([5, 6]), torch.tensor([7]))
COLUMNS: dict[str, Any] = {"age": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], "town": ["b", "a", "c", "a", "b", "a", "b", "c"]}
CLASSES = [0, 1, 0, 1, 0, 1, 0, 1]


def test_numbers_are_standardised_and_text_is_one_hot_by_the_training_rows() -> None:
    train, val, test = table_splits(COLUMNS, CLASSES, PARTS)
    assert train.columns == (Column("age", (), 3.0, 2**0.5), Column("town", ("a", "b", "c")))
    assert train.widths == (1, 3)
    torch.testing.assert_close(train.x[:, 0].mean(), torch.tensor(0.0))
    torch.testing.assert_close(train.x[:, 0].var(correction=0), torch.tensor(1.0))
    assert test.x[0, 1:].tolist() == [0, 0, 1]
    torch.testing.assert_close(val.x[0, 0], torch.tensor(3 / 2**0.5))
    assert (train.num_classes, val.y.tolist()) == (2, [1, 0])


def test_frames_arrays_and_mappings_are_one() -> None:
    frame = pandas.DataFrame(COLUMNS)
    for part, other in zip(table_splits(COLUMNS, CLASSES, PARTS), table_splits(frame, frame.index % 2, PARTS), strict=True):
        assert torch.equal(part.x, other.x)
        assert part.y.tolist() == other.y.tolist()
    numbers = np.arange(16.0).reshape(8, 2)
    assert [column.name for column in table_splits(numbers, CLASSES, PARTS).train.columns] == ["x0", "x1"]


def test_floating_targets_make_a_regression_on_the_standardised_target() -> None:
    splits = table_splits(COLUMNS, np.arange(8.0), PARTS, target_name="price")
    assert (splits.train.num_classes, splits.train.target.name) == (0, "price")
    torch.testing.assert_close(splits.train.y.mean(), torch.tensor(0.0))


@pytest.mark.parametrize(("target", "names"), [([10, 2, 10, 2, 2, 2, 10, 2], ("2", "10")), (list("baabbaba"), ("a", "b"))], ids=["numbers", "text"])
def test_classes_are_in_their_order_and_keep_their_names(target: list[Any], names: tuple[str, ...]) -> None:
    train = table_splits(COLUMNS, target, PARTS).train
    assert train.target.categories == names
    assert [names[at] for at in train.y.tolist()] == [str(value) for value in target[:5]]


def test_learned_categories_stay_on_the_simplex() -> None:
    train = table_splits(COLUMNS, CLASSES, PARTS).train
    moved = train.replace(x=train.x + torch.tensor([5.0, 0.3, -0.7, 0.1])).project()
    assert torch.equal(moved.x[:, 0], train.x[:, 0] + 5)
    torch.testing.assert_close(moved.x[:, 1:].sum(1), torch.ones(5))
    assert (moved.x[:, 1:] >= 0).all()


def with_(name: str, at: int, value: Any) -> dict[str, Any]:
    return COLUMNS | {name: [*COLUMNS[name][:at], value, *COLUMNS[name][at + 1 :]]}


BROKEN: dict[str, tuple[Any, Any, str]] = {
    "NaN": (with_("age", 2, float("nan")), CLASSES, "`age` = '1 of 8 values missing"),
    "no text": (with_("town", 2, None), CLASSES, "`town` = '1 of 8 values missing"),
    "unseen category": (with_("town", 6, "d"), CLASSES, "`town` = ['d']: categories without a training row"),
    "another length": (COLUMNS | {"age": [1.0]}, CLASSES, "of one length"),
    "labels missing": (COLUMNS, CLASSES[:5], "one target a row"),
    "labels as a column": (COLUMNS, np.asarray(CLASSES)[:, None], "must have shape [n]"),
    "negative labels": (COLUMNS, np.asarray(CLASSES) - 1, "classes are not negative"),
    "a class without a training row": (COLUMNS, [0, 1, 0, 1, 0, 2, 0, 1], "categories without a training row"),
    "one class": (COLUMNS, [1] * 8, "two classes or more"),
    "an identifier": ({"name": [f"n{at}" for at in range(900)]}, np.arange(900) % 2, "900 categories"),
    "three dimensions": (np.zeros((8, 2, 2)), CLASSES, "must have shape [n, columns]"),
    "numbers past squaring": (with_("age", 0, 1e200), CLASSES, "`age` = 'up to 1e+200'"),
    "numbers below squaring": (COLUMNS | {"age": [1e-200 * at for at in range(8)]}, CLASSES, "`age` = 'up to 4e-200'"),
    "no table": (3, CLASSES, "must be a frame"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_tables_are_refused(case: str) -> None:
    table, target, said = BROKEN[case]
    parts = PARTS if case != "an identifier" else (torch.arange(900), torch.arange(1), torch.arange(1))
    with pytest.raises(DataError) as caught:
        table_splits(table, target, parts)
    assert said in str(caught.value)


def test_encoded_width_must_be_that_of_the_columns() -> None:
    with pytest.raises(DataError, match="columns encode to 4"):
        TableData(torch.zeros(2, 3), torch.zeros(2), 0, (Column("age"), Column("town", ("a", "b", "c"))), Column("y"))


def test_booleans_are_text() -> None:
    assert read_columns({"a": np.asarray([True, False])})["a"].tolist() == ["True", "False"]


def csv(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text)
    return path


def test_a_file_with_a_split_column(tmp_path: Path) -> None:
    rows = "a,b,split,label\n1,x,train,no\n2,y,train,yes\n3,x,val,no\n4,y,test,yes\n"
    source = load(csv(tmp_path, rows))
    assert source.kind == "table"
    assert [part.size for part in source.splits] == [2, 1, 1]
    assert source.splits.train.target.categories == ("no", "yes")
    assert [column.name for column in source.splits.train.columns] == ["a", "b"]


@pytest.mark.parametrize("head", ["\ufeffsplit,a,label", "a, split ,label"], ids=["a mark of byte order", "spaces"])
def test_the_split_column_is_known_whatever_stands_around_its_name(tmp_path: Path, head: str) -> None:
    rows = ("train,no", "train,yes", "val,no", "test,yes")
    cells = [f"{row.split(',')[0]},{number},{row.split(',')[1]}" for number, row in enumerate(rows)]
    if head.startswith("a"):
        cells = [f"{number}, {row.split(',')[0]},{row.split(',')[1]}" for number, row in enumerate(rows)]
    train = load(csv(tmp_path, head + "\n" + "\n".join(cells) + "\n")).splits.train
    assert train.size == 2
    assert [column.name for column in train.columns] == ["a"]


@pytest.mark.parametrize(("last", "classes"), [("{}", 2), ("{}.0", 0)], ids=["whole numbers", "decimals"])
def test_a_file_is_cut_once(tmp_path: Path, last: str, classes: int) -> None:
    path = csv(tmp_path, "a,y\n" + "".join(f"{k},{last.format(k % 2)}\n" for k in range(20)))
    first, second = load(path), load(path)
    assert first.sha256 == second.sha256
    assert [part.size for part in first.splits] == [12, 4, 4]
    assert first.splits.train.num_classes == classes


def test_any_column_may_be_the_target(tmp_path: Path) -> None:
    path = csv(tmp_path, "price,split,town\n1.5,train,x\n2.5,train,y\n2.0,val,x\n1.0,test,y\n")
    train = load(f"{path},target=price").splits.train
    assert (train.target.name, train.num_classes) == ("price", 0)
    assert [column.name for column in train.columns] == ["town"]
    for wrong in ("cost", "split", ""):
        with pytest.raises(DataError, match=f"`target` = '?{wrong}'?: must be a column of .*: price, town"):
            load(f"{path},target={wrong}")


def test_what_a_target_is_may_be_said(tmp_path: Path) -> None:
    """Whole numbers that may be either are refused until it is."""
    path = csv(tmp_path, "a,price\n" + "".join(f"{k},{k * k % 97}\n" for k in range(90)))
    with pytest.raises(DataError, match=r"may be classes or numbers: 49 different .*,target=price,task=regression, or task=classes"):
        load(path)
    assert load(f"{path},task=regression").splits.train.num_classes == 0
    for said in ("target=price,task=regression", "task=regression,target=price"):
        train = load(f"{path},{said}").splits.train
        assert (train.target.name, train.num_classes) == ("price", 0)
    assert load(f"{csv(tmp_path, 'a,y' + ''.join(f'{chr(10)}{k},{k % 2}.0' for k in range(20)))},task=classes").splits.train.num_classes == 2
    with pytest.raises(DataError, match=r"`task` = 'guess': must be one of regression, classes"):
        load(f"{path},task=guess")
    with pytest.raises(DataError, match="has cells that are no numbers"):
        load(f"{csv(tmp_path, 'a,y' + ''.join(f'{chr(10)}{k},x{k % 2}' for k in range(20)))},task=regression")


def test_names_that_are_places_are_names(tmp_path: Path) -> None:
    assert load(csv(tmp_path, "0,1\n" + "".join(f"{k}.5,{k % 2}\n" for k in range(20)))).splits.train.num_classes == 2


@pytest.mark.parametrize("values", [[1, 2.5, 4], [Decimal("1"), Decimal("2.5"), Decimal("4")]], ids=["mixed", "decimals"])
def test_objects_that_are_numbers_are_numbers(values: list[Any]) -> None:
    column = np.array(values, dtype=object)
    assert read_columns({"a": column})["a"].tolist() == [1.0, 2.5, 4.0]
    parts = (torch.arange(3),) * 3
    assert table_splits({"a": column}, column, parts).train.num_classes == 0
    assert read_columns({"a": np.array([True, False], dtype=object)})["a"].tolist() == ["True", "False"]


def test_a_constant_column_is_centred_whatever_its_size() -> None:
    """And one of small numbers is scaled."""
    large = Column.fitted("a", np.full(601, 123456.7))
    assert float(large.encode(np.array([123456.8])).abs()) < 1
    tiny = np.array([1e-14, 3e-14])
    assert Column.fitted("a", tiny).encode(tiny).flatten().tolist() == pytest.approx([-1, 1])


FILES = {
    "an index of pandas": (",a,y\n0,1.5,0\n1,2.5,1\n2,3.5,0\n", FormatError, "column 1 has no name"),
    "no line of names": ("1.5,0\n2.5,1\n3.5,0\n4.5,1\n", FormatError, "its first line holds numbers, 1.5, 0"),
    "uneven": ("a,y\n1,2\n1\n1,2\n", FormatError, "line 3"),
    "short": ("a,y\n1,2\n", FormatError, "three rows"),
    "empty": ("", FormatError, "is empty"),
    "semicolons": ("a;y\n1;2\n1;2\n1;2\n", FormatError, "one column"),
    "NA": ("a,y\n1,0\nNA,1\n2,0\n3,1\n", DataError, "1 of 4 values missing or infinite, the first in row 2"),
    "names twice": ("a,a,y\n1,1,2\n1,1,2\n1,1,2\n", FormatError, "names that differ"),
    "an empty cell": ("a,y\n1,0\n,1\n2,0\n3,1\n", DataError, "missing"),
    "parts misspelt": ("a,split,y\n1,train,0\n2,train,1\n3,dev,1\n", DataError, "`split`"),
}


@pytest.mark.parametrize(("text", "error", "said"), FILES.values(), ids=FILES)
def test_broken_files_are_refused(tmp_path: Path, text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        load(csv(tmp_path, text))


@pytest.mark.parametrize(("name", "columns", "classes"), [("breast_cancer", 30, 2), ("wine", 13, 3), ("diabetes", 10, 0)])
def test_tables_that_ship_with_scikit_learn(name: str, columns: int, classes: int) -> None:
    train = load(name).splits.train
    assert (len(train.columns), train.num_classes) == (columns, classes)
