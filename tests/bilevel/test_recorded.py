"""Recorded steps: what is replayed is what would have been done, on a stand-in for CUDA graphs that runs anywhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from hcdc._tensors import stack
from hcdc.bilevel import SGD, Adam, Solver, fit, recorded
from hcdc.data import Sparse
from hcdc.models import PolyFilter
from tests.cases import Ridge, Rough, Table, generator, normal, random_graph


class Stream:
    def wait_stream(self, other: Stream) -> None:
        assert isinstance(other, Stream)


class Graph:
    """Replays by calling again what was called while it recorded, with the very arguments."""

    replays = 0

    def __init__(self) -> None:
        self.called: list[Callable[[], None]] = []

    def replay(self) -> None:
        Graph.replays += 1
        (again,) = self.called
        again()


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> type[Graph]:
    """Everything is recorded, on graphs that `Graph` stands for; recording runs nothing."""
    recording: list[Graph] = []
    init = recorded.Recorded.__init__

    @contextlib.contextmanager
    def graph(made: Graph, stream: Stream) -> Iterator[None]:
        recording.append(made)
        yield
        recording.pop()

    def recorder(self: Any, advance: Callable[[Any, Any], None], steps: int) -> None:
        def seen(index: Any, noise: Any) -> None:
            if recording:
                recording[-1].called.append(lambda: advance(index, noise))
            else:
                advance(index, noise)

        init(self, seen, steps)

    Graph.replays = 0
    monkeypatch.setattr(recorded, "recordable", lambda leaves: True)
    monkeypatch.setattr(recorded.Recorded, "__init__", recorder)
    for name, stand_in in {
        "Stream": Stream, "CUDAGraph": Graph, "graph": graph, "current_stream": Stream, "stream": lambda stream: contextlib.nullcontext(),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return Graph


class Wordy(Rough):
    """Its noise holds a word, which no memory can be filled with."""

    def noise(self, data: Any, generator: torch.Generator) -> dict[str, Any]:
        return {**super().noise(data, generator), "kind": "normal"}


STEPS = 40
SOLVERS: dict[str, Solver] = {"whole": Adam(STEPS), "batches": Adam(STEPS, batch_size=4), "SGD": SGD(STEPS, 0.1, batch_size=4, limit=0.3)}


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
@pytest.mark.parametrize("problem", [Ridge(), Rough()], ids=["plain", "noisy"])
def test_batches_noise_and_rates_are_those_of_plain_steps(request: pytest.FixtureRequest, problem: Any, solver: Solver) -> None:
    data, hyper = Table(normal(12, 3, seed=0), normal(12, seed=1)), {"log_decay": torch.tensor([[-3.0], [0.0]], dtype=torch.float64)}
    plain = fit(problem, hyper, data, solver, seed=0)["w"]
    graphs = request.getfixturevalue("graphs")
    assert torch.equal(fit(problem, hyper, data, solver, seed=0)["w"], plain)
    assert graphs.replays == STEPS - recorded.WARM


def test_dropout_of_sparse_features_is_drawn_anew_in_every_replay(request: pytest.FixtureRequest) -> None:
    graph = random_graph().train
    graph = graph.replace(x=Sparse.from_dense(graph.x.relu()))
    model = PolyFilter(graph.num_classes, num_features=graph.x.shape[1], dropout=0.5)
    hyper = stack([model.space().relax(config) for config in model.space().configs(2, 0)])
    plain = fit(model, hyper, graph, Adam(30), seed=0)
    graphs = request.getfixturevalue("graphs")
    found = fit(model, hyper, graph, Adam(30), seed=0)
    assert graphs.replays == 30 - recorded.WARM
    for name, value in plain.items():
        torch.testing.assert_close(found[name], value)


@pytest.mark.parametrize("steps", [recorded.WORTH - 1, STEPS], ids=["too few steps", "noise that is a word"])
def test_what_is_not_recorded_goes_on_as_it_is(request: pytest.FixtureRequest, steps: int) -> None:
    problem: Any = Rough() if steps < STEPS else Wordy()
    data, hyper = Table(normal(12, 3, seed=0), normal(12, seed=1)), {"log_decay": torch.tensor([[-1.0]], dtype=torch.float64)}
    plain = fit(Rough(), hyper, data, Adam(steps), seed=0)["w"]
    graphs = request.getfixturevalue("graphs")
    assert torch.equal(fit(problem, hyper, data, Adam(steps), seed=0)["w"], plain)
    assert graphs.replays == 0


def test_a_step_that_cannot_be_recorded_is_taken_as_it_is(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    data, hyper = Table(normal(12, 3, seed=0), normal(12, seed=1)), {"log_decay": torch.tensor([[-1.0]], dtype=torch.float64)}
    plain = fit(Rough(), hyper, data, Adam(STEPS), seed=0)["w"]
    graphs = request.getfixturevalue("graphs")

    @contextlib.contextmanager
    def refused(made: Graph, stream: Stream) -> Iterator[None]:
        raise RuntimeError("operation not permitted when stream is capturing")
        yield

    monkeypatch.setattr(torch.cuda, "graph", refused)
    assert torch.equal(fit(Rough(), hyper, data, Adam(STEPS), seed=0)["w"], plain)
    assert graphs.replays == 0


def test_a_clone_of_a_sparse_matrix_takes_the_values_of_another() -> None:
    one = Sparse.from_dense(normal(5, 4, seed=0) * (normal(5, 4, seed=1) > 0))
    clone, other = one.clone(), one.scaled(torch.rand(one.nnz, generator=generator(2), dtype=torch.float64))
    before = one.dense().clone()
    clone.copy_(other)
    dense = normal(4, 3, seed=3)
    assert torch.equal(clone @ dense, other @ dense)
    assert torch.equal(clone.T @ normal(5, 2, seed=4), other.T @ normal(5, 2, seed=4))
    assert torch.equal(one.dense(), before)
