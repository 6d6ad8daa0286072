"""Training steps on a GPU, recorded once as a CUDA graph and replayed, so that a step of small tensors does not wait for Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from hcdc._typing import Noise

WARM = 3
"""Steps taken as they are before one is recorded: libraries choose their kernels, optimisers make their moments."""
WORTH = 20
"""Fewer steps in all than this are not recorded."""


@runtime_checkable
class Refilled(Protocol):
    """What can have memory of its own and be filled again: a tensor, a sparse matrix."""

    def clone(self) -> Any: ...
    def copy_(self, values: Any, /) -> Any: ...


def recordable(leaves: Sequence[Tensor]) -> bool:
    """Whether steps on `leaves` can be recorded: where they lie on a GPU."""
    return leaves[0].is_cuda


def prepare(optimiser: torch.optim.Optimizer) -> None:
    """Let steps of `optimiser` be recorded: its rates become tensors on the GPU, whose values a replay reads."""
    for group in optimiser.param_groups:
        first: Tensor = group["params"][0]
        if first.is_cuda:
            group["lr"] = torch.tensor(group["lr"], device=first.device)
            group.update({"capturable": True} if "capturable" in group else {})


def pace(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every group."""
    for group in optimiser.param_groups:
        held: Tensor | float = group["lr"]
        group["lr"] = held.fill_(rate) if isinstance(held, Tensor) else rate


class Recorded:
    """`advance(index, noise)`, a step whose only effects are on tensors of a GPU, for `steps` steps.

    After `WARM` steps one is recorded with copies of `index` (None: there is none) and `noise` in memory of their own, which
    each later step fills before it replays. A step that reads a number back to the host, or whose noise is not all
    `Refilled`, cannot be recorded and goes on as it is.
    """

    def __init__(self, advance: Callable[[Tensor | None, Noise], None], steps: int) -> None:
        self.advance, self.plain = advance, WARM if steps >= WORTH else math.inf
        self.stream = torch.cuda.Stream()
        self.graph: torch.cuda.CUDAGraph | None = None
        self.index: Tensor | None = None
        self.noise: Noise = {}

    def __call__(self, index: Tensor | None, noise: Noise) -> None:
        if self.plain == 0 and self.graph is None and not self.record(index, noise):
            self.plain = math.inf
        if self.graph is not None:
            if self.index is not None and index is not None:
                self.index.copy_(index)
            for name, value in self.noise.items():
                value.copy_(noise[name])
            self.graph.replay()
            return
        self.plain -= 1
        with self.aside():
            self.advance(index, noise)

    @contextmanager
    def aside(self) -> Generator[None]:
        """On the stream that records: what autograd keeps of a leaf belongs to a stream."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            yield
        torch.cuda.current_stream().wait_stream(self.stream)

    def record(self, index: Tensor | None, noise: Noise) -> bool:
        """Whether a step was recorded; recording runs nothing."""
        if not all(isinstance(value, Refilled) for value in noise.values()):
            return False
        self.index, self.noise = None if index is None else index.clone(), {name: value.clone() for name, value in noise.items()}
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                self.advance(self.index, self.noise)
        except RuntimeError:
            return False
        self.graph = graph
        return True
