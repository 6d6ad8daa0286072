"""Each thing that can be wrong is found, named, and comes with a remedy; a sound model has no findings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hcdc.bilevel import SGD
from hcdc.data import Examples, Splits
from hcdc.errors import InputError
from hcdc.own import own
from hcdc.spaces import Real, Space
from tests.cases import generator

X = torch.randn(40, 4, generator=generator(0))
DATA = Splits(*(Examples(X, torch.arange(40) % 2, 2) for _ in range(3)))
DECAY = {"log10_decay": Real(-3, 0)}


class Net(nn.Module):
    def __init__(self, *between: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), *between, nn.Linear(4, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def attention(x: torch.Tensor) -> torch.Tensor:
    """Whose fused kernel differentiates once."""
    heads = x.reshape(1, 1, *x.shape)
    return nn.functional.scaled_dot_product_attention(heads, heads, heads).reshape(x.shape)


class Layer(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Fixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


class Thresholded(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.body(x) > 0).float()


class Shift(nn.Module):
    """Of many parameters and little work."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.shift.mean()


SICK: dict[str, tuple[Any, dict[str, Any], str, str]] = {
    "once differentiable": (lambda: Net(Layer(attention)), DECAY, "breaks", "no second derivative"),
    "live batch norm": (lambda: Net(nn.BatchNorm1d(4, track_running_stats=False)), DECAY, "breaks", "uses the statistics of its batch"),
    "batch norm by hand": (lambda: Net(Layer(lambda x: x - x.mean(0))), DECAY, "breaks", "depends on the others of its batch"),
    "frozen batch norm": (lambda: Net(nn.BatchNorm1d(4)), DECAY, "warns", "is frozen"),
    "dropout": (lambda: Net(nn.Dropout(0.5)), DECAY, "notes", "is off"),
    "learning rate": (Net, DECAY | {"lr": Real(-4, -1)}, "breaks", "setting of the optimiser"),
    "unused": (Net, DECAY | {"spice": Real(0, 1)}, "breaks", "`spice` enters neither"),
    "NaN": (lambda: Net(Layer(lambda x: x.square().neg().log())), DECAY, "breaks", "untrained model is nan"),
    "random": (lambda: Net(Layer(lambda x: x + torch.rand(x.shape))), DECAY, "breaks", "changes from call to call"),
    "item": (lambda: Net(Layer(lambda x: x * x.mean().item())), DECAY, "breaks", "vmap"),
    "raises": (lambda: Net(Layer(lambda x: x[:, 9])), DECAY, "breaks", "your `forward` raised IndexError"),
    "thresholded": (Thresholded, DECAY, "breaks", "validation loss has no gradient"),
    "the same start": (Fixed, DECAY, "warns", "start the same under every seed"),
}


@pytest.mark.parametrize(("model", "axes", "level", "said"), SICK.values(), ids=SICK)
def test_what_is_wrong_is_found(model: Any, axes: dict[str, Any], level: str, said: str) -> None:
    checkup = own(model, DATA, space=Space(axes), size=4).check(timed=False)
    lines = [finding.line() for finding in checkup.findings]
    assert any(line.startswith(level) and said in line for line in lines), lines
    assert checkup.healthy == (level != "breaks")
    assert all(len(finding.remedy) > 10 for finding in checkup.findings)


@pytest.mark.parametrize(("scales", "said"), [((255, 1), "training inputs reach"), ((1, 255), "validation inputs reach")])
def test_inputs_of_another_scale(scales: tuple[int, int], said: str) -> None:
    large = Splits(*(part.replace(x=part.x * scale) for part, scale in zip(DATA, (*scales, 1), strict=True)))
    (line,) = own(Net, large, space=Space(DECAY), size=4).check(timed=False).lines()
    assert said in line
    assert "unit scale" in line


def test_a_model_that_memory_does_not_hold_is_told_by_its_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    heavy = own(lambda: Net(Shift(10**7)), DATA, space=Space(DECAY), size=4).check(timed=False)
    assert heavy.healthy
    assert "a model of 10,000,030 parameters and a space of dimension 1 leave 40 trajectories of 48" in heavy.lines()[0]
    monkeypatch.setattr("hcdc.doctor.checkup.machine_memory", lambda: 2**27)
    with pytest.raises(InputError, match=r"needs about 0\.6 GiB of memory, of 0\.1, for a model of 30 parameters"):
        own(Net, DATA, space=Space(DECAY), size=4).condense()


def test_a_sound_model_has_no_findings() -> None:
    assert own(lambda: Net(nn.SiLU()), DATA, space=Space(DECAY), size=4).check(timed=False).findings == ()


def test_a_rate_of_dropout_is_not_taken_for_one_of_the_optimiser() -> None:
    found = own(Net, DATA, space=Space(DECAY | {"dropout_rate": Real(0.1, 0.5)}), size=6).check(timed=False)
    assert any("`dropout_rate`" in line and "evaluation mode" in line for line in found.lines())


def test_the_training_that_is_tried_is_the_users() -> None:
    solver = SGD(5, 5e-4, last=0.0, batch_size=None)
    assert own(Net, DATA, space=Space(DECAY), size=6, small=solver).check(timed=False).healthy
