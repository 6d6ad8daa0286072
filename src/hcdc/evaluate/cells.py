"""Train networks of NAS-Bench-201 one by one, each at the cost of its own cell."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from hcdc._tensors import digest
from hcdc._typing import Hyper, Params
from hcdc.bilevel import SGD, Solver, bounded
from hcdc.condense import CellFit, channels_last
from hcdc.data import ImageData
from hcdc.errors import InputError
from hcdc.evaluate.scores import METRICS, Scores
from hcdc.models import CellNetwork, NasBench201
from hcdc.spaces import Cell
from hcdc.store import Ledger, named_by, numerics, read_tensors, write_tensors

SECONDS = "seconds"
"""Beside the parameters of a network that is kept."""

BATCH = 500
"""Images judged at once: of the widest cell a few hundred MiB."""


@dataclass(frozen=True)
class CellTrainer:
    """Trains the networks of `family` by `solver`, judges them, and keeps what it found in `ledger` cell by cell.

    The defaults are DC-BENCH's recipe but for the number of steps, which `SGD.lasting` gives: batches of 64, reshuffled
    every epoch, a short last one left out, under `augmentation`; the weight decay is the family's. `bf16` trains under autocast to bfloat16;
    judging is always in float32. Under "batch" norm a model is judged by the statistics of what it is judged on, in
    random parts of about `judge_batch` images. What was trained is kept in `trained` (None: nowhere), so that it can be
    judged on further data, which is cheap.
    """

    family: NasBench201
    solver: Solver = field(default_factory=SGD)
    bf16: bool = False
    augmentation: tuple[str, ...] = ()
    judge_batch: int = BATCH
    ledger: Ledger = field(default_factory=lambda: Ledger(None))
    trained: Path | None = None

    def __post_init__(self) -> None:
        if self.judge_batch < 1:
            raise InputError("judge_batch", self.judge_batch, "must be at least 1", "use some hundreds of images")
        if self.family.regularisers:
            rule = "cells alone are trained, under the fixed weight decay of the family"
            raise InputError("regularisers", self.family.regularisers, rule, "leave them out")

    def __call__(
        self,
        cells: Sequence[Cell],
        train: ImageData,
        judged_on: Mapping[str, ImageData],
        *,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> Scores:
        """`Scores` [1, cells] on every set of `judged_on`, trained on `train`; `progress` gets (cells done, cells in all).

        Cells that are in the ledger are not trained again; their seconds count.
        """
        judged = {name: digest(part.tensors().items()) for name, part in judged_on.items()}
        shared = self.cause(train, seed) | {"criterion": self.family.criterion, "judge_batch": self.judge_batch, "judged_on": judged}
        parts: list[Scores] = []

        def trained(cell: Cell) -> dict[str, Any]:
            return self.one(cell, train, judged_on, seed).to_json()

        for number, cell in enumerate(cells):
            parts.append(Scores.from_json(self.ledger.kept(shared | {"cell": str(cell)}, functools.partial(trained, cell))))
            if progress is not None:
                progress(number + 1, len(cells))
        return Scores.join(parts, 1)

    def cause(self, train: ImageData, seed: int) -> dict[str, Any]:
        """All that trained parameters depend on, beside the cell; the criterion is what they are judged by."""
        facts = {
            "family": repr(replace(self.family, criterion="loss")),
            "solver": repr(self.solver),
            "bf16": self.bf16,
            "augmentation": self.augmentation,
            "seed": seed,
            "versions": numerics(),
        }
        return facts | {"train": digest(train.tensors().items())}

    def one(self, cell: Cell, train: ImageData, judged_on: Mapping[str, ImageData], seed: int) -> Scores:
        """Train, unless `trained` has the parameters, and judge one cell, whatever the ledger holds; the seconds are those of
        the training and of this judging."""
        began = time.perf_counter()
        network = self.family.network(cell)
        params, spent = self.kept(network, train, seed)
        found = {name: self.judge(network, params, data) for name, data in judged_on.items()}
        scores = {metric: {name: torch.tensor([[values[metric]]]) for name, values in found.items()} for metric in METRICS}
        return Scores(**scores, seconds=spent + time.perf_counter() - began)

    def kept(self, network: CellNetwork, train: ImageData, seed: int) -> tuple[Params, float]:
        """(trained parameters, the seconds that training took before this call)."""
        if self.trained is None:
            return self.fit(network, train, seed), 0.0
        cause = self.cause(train, seed) | {"cell": str(network.cell)}
        path = self.trained / f"{named_by(cause)}.safetensors"
        if path.exists():
            params = read_tensors(path)
            return params, float(params.pop(SECONDS))
        began = time.perf_counter()
        params = self.fit(network, train, seed)
        write_tensors(path, params | {SECONDS: torch.tensor(time.perf_counter() - began)})
        return params, 0.0

    def fit(self, network: CellNetwork, train: ImageData, seed: int) -> Params:
        """Trained parameters."""
        start = network.init({}, torch.Generator().manual_seed(seed))
        return CellFit(self.solver, self.bf16, self.augmentation)(network, start, train, seed=seed)

    def judge(self, network: CellNetwork, params: Params, data: ImageData) -> dict[str, float]:
        """The metrics of `METRICS`; a loss that is not a number is `WORST`."""
        return judged(network, params, {}, data, self.judge_batch)


@torch.no_grad()
def judged(network: CellNetwork, params: Params, hyper: Hyper, data: ImageData, batch: int = BATCH) -> dict[str, float]:
    """The metrics of `METRICS` on `data`, in random parts of about `batch` images; a loss that is not a number is `WORST`."""
    order = torch.randperm(data.size, generator=torch.Generator().manual_seed(0))
    totals: dict[str, float] = dict.fromkeys(METRICS, 0.0)
    for index in order.tensor_split(-(-data.size // batch)):
        part = data.take(index)
        part = part.replace(x=channels_last(part.x))
        values: dict[str, Any] = {**network.metrics(params, hyper, part), "criterion": network.outer(params, hyper, part)}
        for name in METRICS:
            totals[name] += float(bounded(values[name].double())) * part.size / data.size
    return totals
