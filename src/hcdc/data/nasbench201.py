"""The accuracies of NAS-Bench-201 (Dong and Yang 2020) and published zero-cost scores of its cells, read from tables."""

from __future__ import annotations

import csv
import lzma
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hcdc.data.layout import ROOT, data_folder, reading
from hcdc.errors import DataError, FormatError

ACCURACIES, SCORES = "nb201_accuracies.csv.xz", "zero_cost_scores.csv.xz"
LABELS = {"index", "arch_str", "net", "net_str"}
"""Columns that name a cell instead of measuring it."""


@dataclass(frozen=True, eq=False)
class NasBench201Table:
    """What is known of each cell, by its string: test accuracies in per cent of all 15,625, and zero-cost scores of the
    9,445 for which they were published. A method takes cells as strings, or as anything whose `str` is one.
    """

    accuracies: Mapping[str, Mapping[str, float]]
    scores: Mapping[str, Mapping[str, float]]

    @classmethod
    def load(cls, root: str | Path | None = None) -> NasBench201Table:
        """From the two tables in the folder nasbench201 of `root` (default: `HCDC_DATA`, else ~/.cache/hcdc).

        `DataError` where the folder is absent, `FormatError` where a table is absent or damaged.
        """
        folder = data_folder(root) / "nasbench201"
        if not folder.is_dir():
            rule = f"needs {ACCURACIES} and {SCORES} in {folder}"
            raise DataError("root", str(folder.parent), rule, f"put them there, or {ROOT}")
        return cls(_read(folder / ACCURACIES, "arch_str"), _read(folder / SCORES, "net_str"))

    def cells(self) -> list[str]:
        """All cells, in the order of the official index."""
        return list(self.accuracies)

    def scored(self) -> list[str]:
        """The cells that have zero-cost scores."""
        return list(self.scores)

    def accuracy(self, cells: Iterable[object], column: str = "c10_test_200ep") -> Tensor:
        """[n] in per cent; `column` is data set, part and epochs: c10_test_200ep, c100_xtest_200ep, in16_xtest_200ep,
        c10half_test_200ep_seed888, or one of those that end in _12ep."""
        return _column(self.accuracies, cells, column)

    def score(self, cells: Iterable[object], column: str) -> Tensor:
        """[n] of a zero-cost score: params and flops in millions, synflow, jacov, nwot, snip, grad_norm, zen, epe_nas,
        fisher, grasp, l2_norm, plain."""
        return _column(self.scores, cells, column)


def _column(table: Mapping[str, Mapping[str, float]], cells: Iterable[object], column: str) -> Tensor:
    known = list(next(iter(table.values())))
    if column not in known:
        raise DataError("column", column, f"must be one of {', '.join(known)}", "choose one of these")
    names = [cells] if isinstance(cells, str) else [str(cell) for cell in cells]
    for name in names:
        if name not in table:
            raise DataError("cells", name, f"is not among the {len(table)} cells of this table", "choose among `cells()` and `scored()`")
    return torch.tensor([table[name][column] for name in names], dtype=torch.float64)


def _read(path: Path, label: str) -> dict[str, dict[str, float]]:
    with reading(path, lzma.LZMAError, EOFError, UnicodeDecodeError, csv.Error, ValueError, TypeError, KeyError):
        with lzma.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
        table = {row[label]: {name: float(value) for name, value in row.items() if name not in LABELS} for row in rows}
    if not table or len(table) < len(rows):
        raise FormatError(f"{path}: must hold every cell once, has {len(rows)} rows of {len(table)} cells; put the original there again")
    return table
