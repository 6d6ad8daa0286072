"""REINFORCE without parameter sharing (Williams 1992; as in NAS-Bench-201, Dong and Yang 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hcdc._typing import Params
from hcdc.search.base import Objective, Trial
from hcdc.search.policy import Draw, check_policy, decide, explored


@dataclass(frozen=True)
class Reinforce:
    """An independent softmax for every axis; each configuration is trained from scratch, and the best seen is the answer.

    Numeric axes are searched on a grid of `points` values. The rate and the batch are ours to choose.
    """

    lr: float = 0.05
    memory: float = 0.9
    entropy: float = 0.0
    points: int = 5
    batch: int = 1

    def __post_init__(self) -> None:
        check_policy(self)

    def run(self, objective: Objective, *, trials: int, seed: int, checkpoint: Path | None = None) -> tuple[Trial, ...]:
        return explored(self, objective, trials, seed, checkpoint)

    def init(self, options: Sequence[int], generator: torch.Generator) -> Params:
        return {str(axis): torch.zeros(count) for axis, count in enumerate(options)}

    def draw(self, params: Params, options: Sequence[int], generator: torch.Generator) -> Draw:
        choices, logs, entropies = zip(*(decide(params[str(axis)], generator) for axis in range(len(options))), strict=True)
        return Draw(list(choices), torch.stack(logs), torch.stack(entropies))
