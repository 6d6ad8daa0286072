"""GraphNAS (Gao et al. 2020): a recurrent controller that writes a configuration axis by axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hcdc._typing import Params
from hcdc.errors import InputError
from hcdc.search.base import Objective, Trial
from hcdc.search.policy import Draw, check_policy, decide, explored

SCALE = 0.1
"""Parameters start uniform in +- this."""


@dataclass(frozen=True)
class GraphNAS:
    """An LSTM of `hidden` units reads an embedding of each decision and makes the next by a softmax over
    `bound` tanh(W h / `temperature`), with an embedding and a W of each axis.

    It runs on any space; `GraphNasNet` is its own. Numeric axes are searched on a grid of `points` values.
    """

    hidden: int = 100
    temperature: float = 5.0
    bound: float = 2.5
    lr: float = 3.5e-4
    memory: float = 0.95
    entropy: float = 1e-4
    points: int = 5
    batch: int = 1

    def __post_init__(self) -> None:
        check_policy(self)
        if self.hidden < 1 or not self.temperature > 0 or not self.bound > 0:
            given = (self.hidden, self.temperature, self.bound)
            raise InputError("hidden, temperature, bound", given, "must be positive", "use 100, 5 and 2.5, as GraphNAS does")

    def run(self, objective: Objective, *, trials: int, seed: int, checkpoint: Path | None = None) -> tuple[Trial, ...]:
        return explored(self, objective, trials, seed, checkpoint)

    def init(self, options: Sequence[int], generator: torch.Generator) -> Params:
        width = self.hidden
        shapes = {"start": (width,), "input": (4 * width, width), "recurrent": (4 * width, width), "bias": (4 * width,)}
        for axis, count in enumerate(options):
            shapes |= {f"embedding.{axis}": (count, width), f"decoder.{axis}": (count, width)}
        return {name: SCALE * (2 * torch.rand(shape, generator=generator) - 1) for name, shape in shapes.items()}

    def draw(self, params: Params, options: Sequence[int], generator: torch.Generator) -> Draw:
        hidden = memory = torch.zeros(self.hidden)
        token, decisions = params["start"], list[tuple[int, Tensor, Tensor]]()
        for axis in range(len(options)):
            hidden, memory = lstm(params, token, hidden, memory)
            logits = self.bound * (params[f"decoder.{axis}"] @ hidden / self.temperature).tanh()
            decisions.append(decide(logits, generator))
            token = params[f"embedding.{axis}"][decisions[-1][0]]
        choices, logs, entropies = zip(*decisions, strict=True)
        return Draw(list(choices), torch.stack(logs), torch.stack(entropies))


def lstm(params: Params, token: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """One step of Hochreiter and Schmidhuber's (1997), [width] each: (hidden, memory)."""
    gates = params["input"] @ token + params["recurrent"] @ hidden + params["bias"]
    into, forget, cell, out = gates.chunk(4)
    memory = forget.sigmoid() * memory + into.sigmoid() * cell.tanh()
    return out.sigmoid() * memory.tanh(), memory
