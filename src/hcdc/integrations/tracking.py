"""Callbacks of `condense` that write its metrics to TensorBoard and to MLflow."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from hcdc.errors import InputError, MissingExtraError


class Tracker(ABC):
    """Writes the metrics of about `records` steps, evenly spaced, and of the last; all of them where there are fewer."""

    def __init__(self, records: int = 200) -> None:
        if records < 1:
            raise InputError("records", records, "must be at least 1", "ask for one step or more")
        self.records = records

    def __call__(self, done: int, total: int, metrics: dict[str, float]) -> None:
        if (done - 1) % max(1, total // self.records) == 0 or done == total:
            self.write(done, metrics)
        if done == total:
            self.close()

    @abstractmethod
    def write(self, done: int, metrics: dict[str, float]) -> None:
        """Metrics after step `done`."""

    @abstractmethod
    def close(self) -> None:
        """After the last step."""


class TensorBoard(Tracker):
    """Scalars `condense/NAME` below `folder`, for `tensorboard --logdir`.

    A run that goes on from a checkpoint takes the place of what was written after it.
    """

    def __init__(self, folder: str | Path, records: int = 200) -> None:
        super().__init__(records)
        self.folder, self._writer = Path(folder), None
        self._summaries: Any = _module("torch.utils.tensorboard", "tensorboard", "tensorboard")

    def write(self, done: int, metrics: dict[str, float]) -> None:
        if self._writer is None:
            self._writer = self._summaries.SummaryWriter(str(self.folder), purge_step=done)
        for name, value in metrics.items():
            self._writer.add_scalar(f"condense/{name}", value, done)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class MLflow(Tracker):
    """Metrics `condense/NAME` of the MLflow run that is active when this is made; `InputError` where none is."""

    def __init__(self, records: int = 200) -> None:
        super().__init__(records)
        self._mlflow: Any = _module("mlflow", "mlflow", "mlflow")
        active = self._mlflow.active_run()
        if active is None:
            raise InputError("run", None, "an MLflow run must be active", "write `with mlflow.start_run():` around it")
        self._run = active.info.run_id

    def write(self, done: int, metrics: dict[str, float]) -> None:
        self._mlflow.log_metrics({f"condense/{name}": value for name, value in metrics.items()}, step=done, run_id=self._run)

    def close(self) -> None:
        """The run is its owner's to end."""


def _module(name: str, needed: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(needed, extra) from error
