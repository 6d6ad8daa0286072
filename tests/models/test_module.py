"""A module of the user's own as a problem: what it is given, how it starts, what its errors become."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hcdc.data import Examples
from hcdc.errors import InputError, ModelError
from hcdc.models import ModuleProblem
from hcdc.spaces import Choice, Real, Space
from tests.cases import generator

DATA = Examples(torch.randn(6, 3, generator=generator(0)), torch.arange(6) % 2, 2)
SPACE = Space({"gate.0": Real(0, 1), "gate.1": Real(0, 1), "act": Choice(("a", "b")), "log10_decay": Real(-3, 0)})


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor, gate: torch.Tensor, act: torch.Tensor) -> torch.Tensor:
        self.calls += 1  # a buffer that is written to
        assert gate.shape == act.shape == (2,)
        return self.linear(x) * gate * act[0] + self.linear(x).tanh() * act[1]


def at(problem: ModuleProblem) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    hyper = problem.space().interior(generator(1))
    return problem.init(hyper, generator(2)), hyper


def test_the_default_loss_is_the_formula() -> None:
    problem = ModuleProblem(Net, SPACE, 2)
    params, hyper = at(problem)
    affine = DATA.x @ params["linear.weight"].T + params["linear.bias"]
    logits = affine * hyper["gate"] * hyper["act"][0, 0] + affine.tanh() * hyper["act"][0, 1]
    squares = sum(value.square().sum() for value in params.values())
    outer = nn.functional.cross_entropy(logits, DATA.y)
    torch.testing.assert_close(problem.outer(params, hyper, DATA), outer)
    torch.testing.assert_close(problem.inner(params, hyper, DATA), outer + 10 ** hyper["log10_decay"][0] / 2 * squares)
    assert float(problem.template.calls) == 0, "buffers are frozen"


def test_a_loss_of_ones_own_sees_the_parameters_in_training_and_scalars() -> None:
    def loss(module: nn.Module, hyper: dict[str, torch.Tensor], batch: Any) -> torch.Tensor:
        assert hyper["log10_decay"].shape == ()
        x, _ = batch
        return module(x, hyper["gate"], hyper["act"]).mean() + sum(value.sum() for value in module.parameters())

    problem = ModuleProblem(Net, SPACE, 2, loss=loss)
    params, hyper = at(problem)
    slope = torch.func.grad(lambda p: problem.inner(p, hyper, DATA))(params)
    assert (slope["linear.bias"] != 0).all()
    both = torch.func.vmap(lambda p, h: problem.inner(p, h, DATA))(*({k: torch.stack([v, v]) for k, v in d.items()} for d in (params, hyper)))
    torch.testing.assert_close(both[0], problem.inner(params, hyper, DATA))


@pytest.mark.parametrize("model", [Net, Net()], ids=["factory", "instance"])
def test_starts_follow_their_seed_and_leave_the_global_generator_alone(model: Any) -> None:
    before = torch.get_rng_state()
    problem = ModuleProblem(model, SPACE, 2)
    first, again, other = (problem.init({}, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first["linear.weight"], again["linear.weight"])
    assert not torch.equal(first["linear.weight"], other["linear.weight"])


class Broken(Net):
    def forward(self, x: torch.Tensor, gate: torch.Tensor, act: torch.Tensor) -> torch.Tensor:
        raise KeyError("lost")


def test_errors_of_the_user_are_told_as_such_with_their_traceback() -> None:
    problem = ModuleProblem(Broken, SPACE, 2)
    with pytest.raises(ModelError, match=r"your `forward` raised KeyError at test_module\.py, line \d+: 'lost'") as caught:
        problem.outer(*at(problem), DATA)
    assert isinstance(caught.value.__cause__, KeyError)


class Asking(Net):
    def forward(self, x: torch.Tensor, gate: torch.Tensor, act: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
        return super().forward(x, gate, act)


def test_an_argument_that_no_axis_gives_is_told_with_the_call() -> None:
    problem = ModuleProblem(Asking, SPACE, 2)
    with pytest.raises(ModelError, match=r"'width'; it is called as module\(x, gate=\.\.\., act=\.\.\.\), with the axes"):
        problem.outer(*at(problem), DATA)


def _column(module: nn.Module, hyper: Any, batch: Any) -> torch.Tensor:
    return batch.x[:, 0]


BAD: dict[str, tuple[Any, str]] = {
    "no module": (lambda: ModuleProblem(lambda: 3, SPACE, 2), "must make a torch.nn.Module"),
    "not callable": (lambda: ModuleProblem("net", SPACE, 2), "must be a module or a function"),
    "nothing to train": (lambda: ModuleProblem(nn.Identity, SPACE, 2), "no parameter to train"),
    "outputs of another width": (lambda: ModuleProblem(lambda: nn.Linear(3, 5), Space({"log10_decay": Real(-3, 0)}), 2), r"must have shape \[6, 2\]"),
    "a loss that is no scalar": (lambda: ModuleProblem(Net, SPACE, 2, loss=_column), "must return a scalar"),
}


@pytest.mark.parametrize(("make", "said"), BAD.values(), ids=BAD)
def test_what_is_no_problem_is_refused(make: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        (lambda problem: problem.inner(*at(problem), DATA))(make())


def test_the_card_names_what_can_be_imported() -> None:
    assert ModuleProblem(Net, SPACE, 2).card()["import"] == "tests.models.test_module:Net"
    assert ModuleProblem(lambda: Net(), SPACE, 2).card()["import"] is None
    assert ModuleProblem(Net, SPACE, 2).card()["parameters"] == {"linear.weight": [2, 3], "linear.bias": [2]}


def test_the_footprint_grows_with_the_data() -> None:
    problem = ModuleProblem(Net, SPACE, 2)
    assert 0 < problem.footprint(DATA) < problem.footprint(DATA.take(torch.arange(600) % 6))
