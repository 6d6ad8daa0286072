"""What trainings come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

METRICS = ("loss", "accuracy", "criterion")
DIVERGED = 1e20
"""A mean of this magnitude is that of trainings that diverged (`hcdc.evaluate.retrain.measure` counts one as 1e30)."""


@dataclass(frozen=True)
class Scores:
    """`loss`, `accuracy` (of a regression R^2) and the problem's own `criterion` (lower is better), each [seeds, configs] by
    name of the data that it was measured on, and the seconds that it all took."""

    loss: dict[str, Tensor]
    accuracy: dict[str, Tensor]
    criterion: dict[str, Tensor]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {name: {k: v.tolist() for k, v in getattr(self, name).items()} for name in METRICS} | {"seconds": self.seconds}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Scores:
        parts = {name: {k: torch.tensor(v) for k, v in value[name].items()} for name in METRICS}
        return cls(**parts, seconds=float(value["seconds"]))

    @classmethod
    def join(cls, parts: Sequence[Scores], dim: Literal[0, 1] = 0) -> Scores:
        """Seeds (`dim` 0) or configurations (1) of several runs, one after the other; their seconds add up."""
        joined = {name: {key: torch.cat([getattr(part, name)[key] for part in parts], dim) for key in getattr(parts[0], name)} for name in METRICS}
        return cls(**joined, seconds=sum(part.seconds for part in parts))
