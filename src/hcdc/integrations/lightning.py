"""An artefact as the data of a Lightning `Trainer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from hcdc.data import GraphData, to_pyg
from hcdc.errors import InputError, MissingExtraError
from hcdc.store import Condensed, load_condensed

try:
    from lightning import LightningDataModule
except ImportError as error:
    raise MissingExtraError("lightning", "lightning") from error


class CondensedDataModule(LightningDataModule):
    """The condensed training and validation set of `artefact`, its folder or loaded.

    A batch is (x, y) of `batch_size` examples (None: all of them), shuffled for training, since examples stand class by
    class; `seed` decides their order. Of a graph it is the whole graph, as `hcdc.to_pyg` makes it, whose `mask` says
    which nodes enter the loss. Raises `FormatError` for a damaged artefact, `InputError` for a `batch_size` of a graph.
    """

    def __init__(self, artefact: Condensed | str | Path, batch_size: int | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.condensed = artefact if isinstance(artefact, Condensed) else load_condensed(artefact)
        self.batch_size, self.seed = batch_size, seed
        if batch_size is not None and (batch_size < 1 or self.condensed.card.data.kind == "graph"):
            raise InputError("batch_size", batch_size, "must be at least 1, and a graph is one batch", "leave it out to take all examples at once")

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.condensed.train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.condensed.val, shuffle=False)

    def _loader(self, part: Any, *, shuffle: bool) -> DataLoader[Any]:
        if isinstance(part, GraphData):
            graphs: Any = [to_pyg(part)]
            return DataLoader(graphs, batch_size=None)
        generator = torch.Generator().manual_seed(self.seed)
        return DataLoader(part.dataset(), self.batch_size or part.size, shuffle=shuffle, generator=generator)
