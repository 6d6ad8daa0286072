"""Devices: tensors lie where `on` says, and a seed draws the same anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hcdc import condense_source, load, on, task_for
from hcdc._device import here
from hcdc.bilevel import SGD, Adam, Solver, fit, recorded
from hcdc.cli.app import main
from hcdc.condense import HCDC, Bank
from hcdc.errors import InputError
from hcdc.run import IMAGES
from hcdc.store import load_condensed, numerics
from hcdc.store.files import read_tensors, write_tensors
from tests.cases import Rough, Table

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


def test_what_is_made_inside_lies_there() -> None:
    with on("meta") as device:
        assert device == here() == torch.device("meta")
        assert torch.zeros(2).device == torch.arange(3).device == torch.tensor([1.0]).device == device
        assert torch.zeros(2, device="cpu").device.type == "cpu"
        with on("cpu"):
            assert torch.zeros(2).device == here() == torch.device("cpu")
        assert torch.ones(1).device == device
    assert here() == torch.zeros(2).device == torch.device("cpu")


def test_draws_are_those_of_the_cpu() -> None:
    outside = torch.rand(3, generator=torch.Generator().manual_seed(0)), torch.rand(3, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(0)
    with on("meta"):
        assert torch.rand(3, generator=generator).device.type == "meta"
        number = torch.randint(9, (), generator=generator)
        assert number.device.type == "cpu"
    again = torch.Generator().manual_seed(0)
    assert torch.equal(torch.rand(3, generator=again), outside[0])
    assert int(torch.randint(9, (), generator=again)) == int(number)
    assert not torch.equal(*outside)


def test_data_and_files_are_read_to_the_device(tmp_path: Path) -> None:
    outside = load("digits")
    write_tensors(tmp_path / "x", {"x": torch.ones(2)})
    with on("meta"):
        inside = load("digits")
        assert all(part.x.device.type == "meta" for part in inside.splits)
        assert read_tensors(tmp_path / "x")["x"].device.type == "meta"
        assert numerics()["device"] == "meta"
    assert inside.sha256 == outside.sha256
    assert "device" not in numerics()


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a GPU")
def test_a_gpu_that_is_not_there_is_said() -> None:
    with on("auto") as device:
        assert device.type == "cpu"
    with pytest.raises(InputError, match="no GPU"), on("cuda"):
        pytest.fail("there is none")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(InputError, match="banana"), on("banana"):
        pytest.fail("there is none")


@pytest.mark.parametrize(
    ("flags", "said"),
    [(["--engine", "ray", "--device", "auto"], "leave one of the two out"), (["--device", "banana"], "must be one of cpu, cuda, auto")],
)
def test_the_command_line_refuses_what_no_device_can_do(capsys: pytest.CaptureFixture[str], tmp_path: Path, flags: list[str], said: str) -> None:
    with pytest.raises(SystemExit):
        main(["condense", "digits", "--size", "20", "--out", str(tmp_path / "a"), *flags])
    assert said in capsys.readouterr().err


@GPU
def test_a_gpu_condenses_as_a_cpu_does(tmp_path: Path) -> None:
    method = HCDC(train=IMAGES, start=IMAGES, driver=Bank(starts=4, chunk=4, stages=1, steps=3, batch=2))
    values: list[float] = []
    for device in ("cpu", "cuda"):
        with on(device):
            source = load("digits")
            condense_source(source, task_for(source, size=20), method).save(tmp_path / device)
            assert load_condensed(tmp_path / device).val.x.device.type == device
        values.append(float(load_condensed(tmp_path / device).val.x.sum()))
    assert values[0] == pytest.approx(values[1], rel=1e-2)


class Synchronous(Rough):
    """Reads a number back, which no graph can."""

    def noisy(self, params: dict[str, torch.Tensor], hyper: dict[str, torch.Tensor], data: Any, noise: dict[str, torch.Tensor]) -> torch.Tensor:
        return float(data.x.square().mean() > 0) * super().noisy(params, hyper, data, noise)


@GPU
@pytest.mark.parametrize("solver", [Adam(40), Adam(40, batch_size=4), SGD(40, 0.1, batch_size=4, limit=0.3)], ids=["whole", "batches", "SGD"])
@pytest.mark.parametrize(("problem", "possible"), [(Rough(), True), (Synchronous(), False)], ids=["recorded", "synchronous"])
def test_recorded_steps_are_plain_ones(monkeypatch: pytest.MonkeyPatch, solver: Solver, problem: Any, possible: bool) -> None:
    """Also where recording is given up."""
    with on("cuda"):
        x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        data, hyper = Table(x, x.sum(1)), {"log_decay": torch.tensor([[-3.0], [0.0]], dtype=torch.float64)}
        recording: list[bool] = []
        record = recorded.Recorded.record
        monkeypatch.setattr(recorded.Recorded, "record", lambda *args: recording.append(record(*args)) or recording[-1])
        found = fit(problem, hyper, data, solver, seed=0)["w"]
        assert recording == [possible]
        monkeypatch.setattr(recorded, "WORTH", 1000)
        torch.testing.assert_close(fit(problem, hyper, data, solver, seed=0)["w"], found)
        assert len(recording) == 1
