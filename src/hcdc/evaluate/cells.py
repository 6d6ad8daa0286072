"""Train networks of NAS-Bench-201 one by one, each at the cost of its own cell."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hcdc._tensors import digest
from hcdc._typing import Params
from hcdc.bilevel import SGD, WORST, Solver, descend
from hcdc.data import ImageData
from hcdc.errors import InputError
from hcdc.evaluate.retrain import METRICS, Scores
from hcdc.models import CellNetwork, NasBench201
from hcdc.spaces import Cell
from hcdc.store import Ledger, numerics


@dataclass(frozen=True)
class CellTrainer:
    """Trains the networks of `family` by `solver`, judges them, and keeps what it found in `ledger` cell by cell.

    The defaults are DC-BENCH's recipe but for the number of steps, which `SGD.lasting` gives: batches of 64, reshuffled
    every epoch, a short last one left out; the weight decay is the family's. `bf16` trains under autocast to bfloat16;
    judging is always in float32. Under "batch" norm a model is judged by the statistics of what it is judged on, in
    random parts of about `judge_batch` images.
    """

    family: NasBench201
    solver: Solver = field(default_factory=SGD)
    bf16: bool = False
    judge_batch: int = 500
    ledger: Ledger = field(default_factory=lambda: Ledger(None))

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
        data = {"train": digest(train.tensors().items()), **{name: digest(part.tensors().items()) for name, part in judged_on.items()}}
        shared = {"family": repr(self.family), "solver": repr(self.solver), "bf16": self.bf16, "judge_batch": self.judge_batch,
                  "seed": seed, "data": data, "versions": numerics()}  # fmt: skip
        parts: list[Scores] = []

        def trained(cell: Cell) -> dict[str, Any]:
            return self.one(cell, train, judged_on, seed).to_json()

        for number, cell in enumerate(cells):
            parts.append(Scores.from_json(self.ledger.kept(shared | {"cell": str(cell)}, functools.partial(trained, cell))))
            if progress is not None:
                progress(number + 1, len(cells))
        return Scores.join(parts, 1)

    def one(self, cell: Cell, train: ImageData, judged_on: Mapping[str, ImageData], seed: int) -> Scores:
        """Train and judge one cell, whatever the ledger holds."""
        began = time.perf_counter()
        network = self.family.network(cell)
        params = self.fit(network, train, seed)
        found = {name: self.judge(network, params, data) for name, data in judged_on.items()}
        scores = {metric: {name: torch.tensor([[values[metric]]]) for name, values in found.items()} for metric in METRICS}
        return Scores(**scores, seconds=time.perf_counter() - began)

    def fit(self, network: CellNetwork, train: ImageData, seed: int) -> Params:
        """Trained parameters, in memory with the channels last."""
        start = network.init({}, torch.Generator().manual_seed(seed))

        def loss(params: Params, batch: ImageData, generator: torch.Generator) -> Tensor:
            noise = network.noise(batch, generator)
            with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=self.bf16):
                return network.noisy(params, {}, batch, noise)

        return descend(loss, {name: _channels_last(value) for name, value in start.items()}, _images(train), self.solver, seed=seed)

    @torch.no_grad()
    def judge(self, network: CellNetwork, params: Params, data: ImageData) -> dict[str, float]:
        """The metrics of `METRICS`; a loss that is not a number is `WORST`."""
        order = torch.randperm(data.size, generator=torch.Generator().manual_seed(0))
        totals: dict[str, float] = dict.fromkeys(METRICS, 0.0)
        for index in order.tensor_split(-(-data.size // self.judge_batch)):
            part = _images(data.take(index))
            values: dict[str, Any] = {**network.metrics(params, {}, part), "criterion": network.outer(params, {}, part)}
            for name in METRICS:
                totals[name] += float(torch.nan_to_num(values[name].double(), nan=WORST, posinf=WORST)) * part.size / data.size
        return totals


def _channels_last(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value


def _images(data: ImageData) -> ImageData:
    return data.replace(x=_channels_last(data.x))
