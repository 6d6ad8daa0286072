"""Tables: numeric columns standardised, categorical ones one-hot encoded, both as the training rows say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from numbers import Number
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from hcdc._tensors import simplex
from hcdc.data.base import Splits
from hcdc.data.examples import Examples, check_examples, check_parts
from hcdc.errors import DataError

ROUNDING = 1e-14
"""A column whose deviation is this share of its largest value or less is constant but for rounding."""

MOST = 256
"""Categories of a column beyond which it is taken for an identifier."""

EXTREME = 1e150
"""Magnitude beyond which a square leaves the numbers, as it does below its inverse."""


@dataclass(frozen=True)
class Column:
    """A column and how it is encoded: (value - `mean`) / `scale`, or one-hot over `categories` where there are any."""

    name: str
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0

    @property
    def width(self) -> int:
        """Number of encoded columns."""
        return max(1, len(self.categories))

    @classmethod
    def fitted(cls, name: str, values: np.ndarray) -> Column:
        """As the training values [n] say: text is categorical, numbers are brought to mean 0 and deviation 1."""
        if values.dtype.kind != "f":
            found = tuple(_ordered(set(values.tolist())))
            if len(found) > MOST:
                raise DataError(name, f"{len(found)} categories", f"a column may have at most {MOST}", "drop the column or group its values")
            return cls(name, found)
        largest = float(np.abs(values).max())
        if largest and not 1 / EXTREME < largest < EXTREME:
            rule = f"numbers must be 0, or their largest lie between {1 / EXTREME:g} and {EXTREME:g}, to be squared"
            raise DataError(name, f"up to {largest:.4g}", rule, "bring the column to another unit, or mark what stands for a missing value")
        deviation = float(values.std())
        constant = values.min() == values.max() or deviation <= ROUNDING * largest
        return cls(name, (), float(values.mean()), 1.0 if constant else deviation)

    def encode(self, values: np.ndarray) -> Tensor:
        """[n] -> [n, width] float32; raises `DataError` for a category that the training rows lack, or for another type."""
        if bool(self.categories) != (values.dtype.kind != "f"):
            rule = "must be text, as in the training rows" if self.categories else "must be numeric, as in the training rows"
            raise DataError(self.name, values[:3].tolist(), rule, "give the column one type in all parts")
        if not self.categories:
            return torch.from_numpy((values - self.mean) / self.scale).float().unsqueeze(1)
        unseen = sorted(set(values.tolist()) - set(self.categories))
        if unseen:
            remedy = "move a row with each to the training part, group them, or leave out a column that only names rows"
            raise DataError(self.name, unseen[:5], "categories without a training row", remedy)
        place = {category: at for at, category in enumerate(self.categories)}
        index = torch.tensor([place[value] for value in values.tolist()], dtype=torch.long)
        return torch.nn.functional.one_hot(index, len(self.categories)).float()


@dataclass(frozen=True, eq=False)
class TableData(Examples):
    """`x` [n, d] encoded columns, `y` [n] as in `Examples`; `columns` and `target` say what they were.

    The weights that a condenser learns for a categorical column stay on the simplex, so that a row is a mixture of
    categories. The target of a regression is standardised as its column is.
    """

    columns: tuple[Column, ...]
    target: Column

    def __post_init__(self) -> None:
        width = sum(self.widths)
        if self.x.shape[-1] != width:
            raise DataError("x", list(self.x.shape), f"its columns encode to {width}", "give x as `columns` encode it")

    @property
    def widths(self) -> tuple[int, ...]:
        """Encoded columns of each column."""
        return tuple(column.width for column in self.columns)

    @property
    def num_features(self) -> int:
        return int(self.x.shape[1])

    def project(self) -> Self:
        if all(width == 1 for width in self.widths):
            return self
        pairs = zip(self.columns, self.x.split(list(self.widths), 1), strict=True)
        return replace(self, x=torch.cat([simplex(part) if column.categories else part for column, part in pairs], 1))


def read_columns(table: Any, name: str = "x") -> dict[str, np.ndarray]:
    """Columns by name, float64 or text, from a pandas frame, a mapping of sequences or a 2-d array.

    Raises `DataError` for columns of different length, missing values, and for what is none of these.
    """
    found: Any = table
    if isinstance(table, (np.ndarray, Tensor)):
        if table.ndim != 2:
            raise DataError(name, list(table.shape), "must have shape [n, columns]", "flatten each row, or give a model of your own the array")
        found = {f"x{at}": table[:, at] for at in range(table.shape[1])}
    elif hasattr(table, "columns") and hasattr(table, "iloc"):
        found = {str(column): table[column].to_numpy() for column in table.columns}
    if not isinstance(found, Mapping) or not found:
        raise DataError(name, type(table).__name__, "must be a frame, a mapping of columns or an array [n, columns]", "convert it")
    columns = {str(column): read_column(str(column), values) for column, values in found.items()}
    lengths = {column: len(values) for column, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(name, lengths, "columns must be of one length", "drop or fill the rows that are not whole")
    return columns


def read_column(name: str, values: Iterable[Any]) -> np.ndarray:
    """[n] as float64, or as text where the values are not numbers; booleans are the text False and True."""
    array = numeric(np.asarray(values if isinstance(values, (np.ndarray, Tensor)) else list(values)))
    if array.ndim != 1:
        raise DataError(name, list(array.shape), "a column is [n]", "split it into columns of one number each")
    if array.dtype.kind in "mM":
        raise DataError(
            name, str(array.dtype), "dates and durations are no numbers", "give a number, as days since the first, or parts such as the month"
        )
    if array.dtype.kind in "iuf":
        out = array.astype(np.float64)
        missing = np.flatnonzero(~np.isfinite(out))
    else:
        missing = np.flatnonzero([_absent(value) for value in array.tolist()])
        out = np.asarray([str(value) for value in array.tolist()])
    if missing.size:
        found = f"{missing.size} of {len(out)} values missing or infinite, the first in row {missing[0] + 1}"
        raise DataError(name, found, "values must be there", "drop or impute them first")
    return out


def table_splits(table: Any, target: Any, parts: tuple[Tensor, Tensor, Tensor], *, target_name: str = "y") -> Splits[TableData]:
    """Checked `Splits` of a table (see `read_columns`) and its target [n], encoded as the training rows say.

    Text and integers are classes, in sorted order; floating numbers make a regression on the standardised target.
    """
    check_parts(parts)
    columns = read_columns(table)
    encoder = TableEncoder.fitted(columns, target, parts[0], target_name)
    whole = encoder(columns, target, parts[0])
    return Splits(*(whole.take(part) for part in parts))


@dataclass(frozen=True)
class TableEncoder:
    """How the columns and the target of a table become tensors, fixed by its training rows."""

    columns: tuple[Column, ...]
    target: Column

    @classmethod
    def fitted(cls, columns: Mapping[str, np.ndarray], target: Any, train: Tensor, target_name: str = "y") -> TableEncoder:
        rows, values = train.numpy(), _target(target_name, target)
        _check_length(target_name, values, len(next(iter(columns.values()))))
        fitted = tuple(Column.fitted(name, values[rows]) for name, values in columns.items())
        return cls(fitted, Column.fitted(target_name, values[rows]))

    def __call__(self, columns: Mapping[str, np.ndarray], target: Any, train: Tensor | None = None) -> TableData:
        """Encoded rows; `train` are those in which every class must be, where they are among these."""
        x = self.inputs(columns)
        values, classes = _target(self.target.name, target), len(self.target.categories)
        _check_length(self.target.name, values, x.shape[0])
        y = self.target.encode(values)
        y = y.argmax(1) if classes else y.squeeze(1)
        check_examples(x, y, train, classes or None, unit="row")
        return TableData(x, y, classes, self.columns, self.target)

    def inputs(self, columns: Mapping[str, np.ndarray]) -> Tensor:
        """Encoded columns [n, d] of rows whose targets are not known."""
        wanted = [column.name for column in self.columns]
        if sorted(columns) != sorted(wanted):
            differing = sorted(set(columns) ^ set(wanted))
            raise DataError("x", differing, f"must have the columns of the training rows, {wanted}", "add or drop these")
        return torch.cat([column.encode(columns[column.name]) for column in self.columns], 1)


def _check_length(name: str, targets: np.ndarray, rows: int) -> None:
    if len(targets) != rows:
        raise DataError(name, [len(targets)], f"must have shape [{rows}], one target a row", "give as many targets as there are rows")


def _target(name: str, values: Any) -> np.ndarray:
    """[n]: floats of a regression, or classes as text, integers in their own order."""
    array = numeric(np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values))
    if array.ndim != 1:
        raise DataError(name, list(array.shape), "the target must have shape [n]", "flatten it if it is [n, 1]")
    if array.dtype.kind in "iu":
        if array.size and int(array.min()) < 0:
            remedy = "renumber the classes, or give floats for a regression (after the name of a .csv: ,task=classes or ,task=regression)"
            raise DataError(name, int(array.min()), "classes are not negative", remedy)
        return array.astype(str)
    return read_column(name, array)


def numeric(array: np.ndarray) -> np.ndarray:
    """Objects [n] that are all numbers as such, which a frame or an array of mixed columns does not say; others as they are."""
    if array.dtype.kind != "O" or not all(not isinstance(value, bool) and isinstance(value, Number) for value in array.flat):
        return array
    return np.asarray([float(value) if isinstance(value, Decimal) else value for value in array.tolist()])


def _absent(value: Any) -> bool:
    """None, NaN, an empty text, and pandas' NA, whose comparisons are neither true nor false."""
    try:
        return value is None or value == "" or bool(value != value)
    except TypeError:
        return True


def _ordered(values: set[str]) -> list[str]:
    """Sorted as numbers where all are whole numbers, else as text."""
    return sorted(values, key=int) if all(value.isdecimal() for value in values) else sorted(values)


def shuffled_parts(rows: int, shares: Sequence[float] = (0.6, 0.2, 0.2)) -> tuple[Tensor, Tensor, Tensor]:
    """Index vectors of train, validation and test: `rows` shuffled once, with seed 0, and cut by `shares`."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(0))
    first, second = round(shares[0] * rows), round(shares[1] * rows)
    train, val, test = order.split([first, second, rows - first - second])
    return train, val, test
