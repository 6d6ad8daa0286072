"""Dataset condensation by distribution matching (Zhao and Bilen 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hcdc.condense.images import ImageCondenser, Start, embedding
from hcdc.data import ImageData
from hcdc.models import OPERATIONS
from hcdc.store import Groups


@dataclass(frozen=True, kw_only=True)
class DM(ImageCondenser):
    """Synthetic images whose mean embedding in random networks is that of the real ones of their class.

    One step draws a network and moves the images down sum_c ||mean_real psi(A x) - mean_synthetic psi(A x)||^2, psi what
    its last layer would read and A one augmentation a class, the same for both. The defaults are the
    published ones.
    """

    steps: int = 20_000
    lr: float = 1.0
    start: Start = "real"
    augmentation: tuple[str, ...] = OPERATIONS

    @property
    def name(self) -> str:
        return "dm"

    def advance(self, real: ImageData, own: Groups, number: int, generator: torch.Generator) -> tuple[Groups, dict[str, float]]:
        network = self.network(real)
        params, x, total = network.init({}, generator), own["learned"]["x"], 0.0
        slope = torch.zeros_like(x)
        for at, leaf, small, large in self.pairs(real, own["labels"]["y"], x, generator):
            distance = (embedding(network, params, small).mean(0) - embedding(network, params, large.detach()).mean(0)).square().sum()
            slope[at] = torch.autograd.grad(distance, leaf)[0]
            total += float(distance.detach())
        return self.changed(own, {"x": slope}, {"x": self.lr}), {"distance": total}
