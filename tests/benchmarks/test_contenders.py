"""What is timed side by side is the same number: hypergradients of every library, gradients of both GConds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from benchmarks import hypergradients
from benchmarks.contenders import Terms, betty, contenders, higher, ours, torchopt
from benchmarks.measure import table
from benchmarks.plain_gcond import SGC, neighbourhood
from benchmarks.problems import Case
from hcdc._tensors import expand
from hcdc.condense.gcond import Surrogate
from hcdc.data import propagated
from tests import cases, small
from tests.reference import optimum

pytestmark = pytest.mark.filterwarnings("ignore:We've integrated functorch:FutureWarning")
"""TorchOpt calls what torch has renamed."""


@pytest.fixture(scope="module")
def minimum() -> Case:
    point = cases.smooth_point()
    params = optimum.minimise(point.problem, point.params, point.hyper, point.train)
    return Case(point.problem, expand(params, 1), expand(point.hyper, 1), point.train, point.val)


@pytest.mark.parametrize(("package", "other"), [("betty", betty), ("torchopt", torchopt), ("higher", higher)])
def test_others_sum_the_same_series(minimum: Case, package: str, other: object) -> None:
    """From a minimum, unrolling is the series too."""
    pytest.importorskip(package, reason="needs hcdc[bench]")
    terms = Terms("neumann", 5, 0.3)
    torch.testing.assert_close(other(minimum, terms)().flatten(), ours(minimum, terms)().flatten(), rtol=1e-6, atol=1e-9)


def test_conjugate_gradients_of_torchopt(minimum: Case) -> None:
    pytest.importorskip("torchopt", reason="needs hcdc[bench]")
    terms = Terms("cg", 4)
    torch.testing.assert_close(torchopt(minimum, terms)().flatten(), ours(minimum, terms)().flatten(), rtol=1e-6, atol=1e-9)


def test_we_are_always_among_the_contenders() -> None:
    assert next(iter(contenders("cg"))) == "hcdc"
    assert set(contenders("cg")) <= set(contenders("neumann"))


def test_the_plain_loop_of_gcond_has_our_gradients() -> None:
    data = small.graph().train
    model, surrogate = SGC(data.num_features, 3), Surrogate(data.num_features, 3, 0.01, torch.Generator().manual_seed(0))
    surrogate.weight, surrogate.bias = model.weight.detach(), model.bias.detach()
    wanted = surrogate.class_gradients(propagated(data, 2), data.labels())
    for label in range(3):
        real = neighbourhood(data, label)
        loss = functional.nll_loss(model(*real), torch.full((real.second.shape[0],), label))
        torch.testing.assert_close(torch.autograd.grad(loss, model.weight)[0], wanted[label], rtol=1e-4, atol=1e-6)


def test_a_library_that_fails_has_a_row_that_says_so(minimum: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: Case, terms: Terms) -> Any:
        return lambda: 1 / 0

    monkeypatch.setattr(hypergradients, "contenders", lambda method: {"hcdc": ours, "other 1.0": broken})
    found = hypergradients.rows("smooth", minimum, Terms("cg", 4), ours(minimum, Terms("cg", 4))().flatten(), 1)
    assert [row["library"] for row in found] == ["hcdc", "other 1.0"]
    assert found[1]["one: clock, ms"] == "ZeroDivisionError: division by zero"
    assert hypergradients.against_best(found, "one: processor, ms") == float("inf")
    assert "ZeroDivisionError" in table(found)
