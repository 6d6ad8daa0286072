"""What the callbacks write during condensation is read back with the libraries' own readers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hcdc.condense import HCDC, Bank, Callback, condense
from hcdc.errors import InputError, MissingExtraError
from hcdc.integrations.tracking import MLflow, TensorBoard, Tracker
from hcdc.store import Checkpoint, DataCard
from tests import small

METHOD = HCDC(driver=Bank(starts=4, stages=1, chunk=4, steps=6, batch=4))
CARD = DataCard(name="small", sha256="0" * 64, kind="graph", num_classes=3)


class Kept(Tracker):
    def __init__(self, records: int) -> None:
        super().__init__(records)
        self.steps: list[int] = []
        self.closed = 0

    def write(self, done: int, metrics: dict[str, float]) -> None:
        self.steps.append(done)

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(("total", "records", "steps"), [(5, 200, [1, 2, 3, 4, 5]), (10, 3, [1, 4, 7, 10]), (7, 1, [1, 7])])
def test_steps_are_spread_evenly_and_the_last_is_among_them(total: int, records: int, steps: list[int]) -> None:
    kept = Kept(records)
    for done in range(1, total + 1):
        kept(done, total, {})
    assert (kept.steps, kept.closed) == (steps, 1)
    with pytest.raises(InputError, match="`records` = 0"):
        Kept(0)


def recorded(*callbacks: Callback, checkpoint: Checkpoint | None = None) -> dict[str, dict[int, float]]:
    """What a plain callback sees of the same run, by name and step."""
    seen: dict[str, dict[int, float]] = {}

    def keep(done: int, total: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            seen.setdefault(f"condense/{name}", {})[done] = value

    condense(METHOD, small.task(), CARD, callbacks=[keep, *callbacks], checkpoint=checkpoint)
    return seen


def read_tensorboard(folder: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {name: {event.step: event.value for event in events.Scalars(name)} for name in events.Tags()["scalars"]}


def close(found: dict[str, dict[int, float]], expected: dict[str, dict[int, float]]) -> bool:
    """Equal but for float32."""
    return bool(expected) and found.keys() == expected.keys() and all(found[name] == pytest.approx(expected[name], rel=1e-6) for name in expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    expected = recorded(TensorBoard(tmp_path))
    assert max(map(len, expected.values())) == 6
    assert close(read_tensorboard(tmp_path), expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_resumed_run_goes_on_in_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    checkpoint, expected = Checkpoint(tmp_path / "checkpoint"), recorded()

    def stop(done: int, total: int, metrics: dict[str, float]) -> None:
        if done == 4:
            raise KeyboardInterrupt

    first = TensorBoard(tmp_path / "logs")
    with pytest.raises(KeyboardInterrupt):
        recorded(first, stop, checkpoint=checkpoint)
    first.close()
    recorded(TensorBoard(tmp_path / "logs"), checkpoint=checkpoint)
    assert close(read_tensorboard(tmp_path / "logs"), expected)


@pytest.mark.filterwarnings("ignore")
def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    with pytest.raises(InputError, match="an MLflow run must be active"):
        MLflow()
    with mlflow.start_run() as run:
        expected = recorded(MLflow())
    client = mlflow.MlflowClient()
    found = {name: {each.step: each.value for each in client.get_metric_history(run.info.run_id, name)} for name in expected}
    assert close(found, expected)


@pytest.mark.parametrize(
    ("module", "make", "extra"), [("torch.utils.tensorboard", lambda: TensorBoard("logs"), "tensorboard"), ("mlflow", MLflow, "mlflow")]
)
def test_without_the_extra_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch, module: str, make: Callable[[], Any], extra: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"\.\[{extra}\]"):
        make()
