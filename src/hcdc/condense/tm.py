"""Dataset distillation by matching training trajectories (Cazenavette et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hcdc._tensors import TensorDict, as_leaves, ravel, unravel
from hcdc._typing import Params
from hcdc.condense.images import PARTS, ImageCondenser, Start, cross_entropy, descended, enlarged
from hcdc.condense.task import Task
from hcdc.data import ImageData
from hcdc.errors import InputError
from hcdc.models import OPERATIONS, ConvNet
from hcdc.store import Groups


@dataclass(frozen=True, kw_only=True)
class TM(ImageCondenser):
    """Synthetic images on which training takes a network as far as training on the real ones does.

    First `experts` networks are trained on the real images for `epochs` epochs at `lr_expert`, each a step, and kept
    after every epoch. Then a step draws an expert and a start t < `max_start`, takes `inner` gradient steps from its
    parameters theta_t on batches of `batch` synthetic images, and moves the images and the rate of these steps, which is
    learned at `lr_rate`, down ||theta - theta_{t + ahead}||^2 / ||theta_t - theta_{t + ahead}||^2, differentiating
    through all of them. The defaults are those of the published code; its table gives `lr` by dataset.
    """

    steps: int = 5000
    lr: float = 1000.0
    start: Start = "real"
    augmentation: tuple[str, ...] = OPERATIONS
    experts: int = 100
    epochs: int = 50
    lr_expert: float = 0.01
    ahead: int = 3
    inner: int = 20
    max_start: int = 25
    batch: int = 256
    lr_rate: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.experts < 1 or self.inner < 1 or not 1 <= self.ahead <= self.epochs or not 1 <= self.max_start <= self.epochs - self.ahead + 1:
            rule = f"need one expert, one inner step, and max_start + ahead <= epochs + 1, now {self.max_start} + {self.ahead} and {self.epochs}"
            raise InputError("experts, inner, max_start, ahead, epochs", (self.experts, self.inner), rule, "train experts longer, or start earlier")

    @property
    def name(self) -> str:
        return "tm"

    def memory(self, task: Task) -> int:
        """Bytes of the parameters that the experts leave behind, of both parts where both are condensed."""
        params = self.network(task.real.train).init({}, torch.Generator())
        return (2 if self.both else 1) * 4 * self.experts * (self.epochs + 1) * sum(value.numel() for value in params.values())

    def stretch(self) -> int:
        return self.experts + self.steps

    def stages(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for part in ("S_train", "S_val") if self.both else ("S_train",):
            found |= {f"training experts of {part}": self.experts, f"learning {part}": self.steps}
        return found

    def primed(self, state: Groups) -> Groups:
        """`state` as if all experts were those that are first."""
        first = {part: state[f"{part}/expert-0"] for part in PARTS if f"{part}/expert-0" in state}
        return state | {f"{part}/expert-{number}": group for part, group in first.items() for number in range(self.experts)}

    def further(self) -> TensorDict:
        return {"rate": torch.tensor(self.lr_expert)}

    def advance(self, real: ImageData, own: Groups, number: int, generator: torch.Generator) -> tuple[Groups, dict[str, float]]:
        network = self.network(real)
        if number < self.experts:
            path, loss = self._expert(network, real, generator)
            return {f"expert-{number}": {"path": path}}, {"expert_loss": loss}
        chosen = int(torch.randint(self.experts, (), generator=generator))
        first = int(torch.randint(self.max_start, (), generator=generator))
        path = own[f"expert-{chosen}"]["path"]
        like = {name: value.unsqueeze(0) for name, value in network.init({}, torch.Generator()).items()}
        begin, aim = path[first], path[first + self.ahead]
        learned = as_leaves(own["learned"])
        end = self.unrolled(network, _named(begin, like), learned, own["labels"]["y"], generator)
        distance = (_flat(end) - aim).square().sum() / (begin - aim).square().sum()
        slopes = dict(zip(learned, torch.autograd.grad(distance, list(learned.values())), strict=True))
        changed = self.changed(own, slopes, {"x": self.lr, "rate": self.lr_rate})
        return changed, {"distance": float(distance.detach()), "rate": float(changed["learned"]["rate"])}

    def unrolled(self, network: ConvNet, params: Params, learned: TensorDict, y: Tensor, generator: torch.Generator) -> Params:
        """The parameters after `inner` steps on the images learned["x"] at the rate learned["rate"], differentiable in both."""
        params, order = as_leaves(params), torch.empty(0, dtype=torch.long)
        for _ in range(self.inner):
            order = order if order.numel() else torch.randperm(y.numel(), generator=generator)
            index, order = order[: self.batch], order[self.batch :]
            (x,) = self.siamese((enlarged(learned["x"][index], self.formation),), generator)
            slopes = torch.autograd.grad(cross_entropy(network, params, x, y[index]), list(params.values()), create_graph=True)
            params = {name: value - learned["rate"] * slope for (name, value), slope in zip(params.items(), slopes, strict=True)}
        return params

    def _expert(self, network: ConvNet, real: ImageData, generator: torch.Generator) -> tuple[Tensor, float]:
        """Parameters [epochs + 1, P] before training and after every epoch on the real images, and the last loss."""
        params = as_leaves(network.init({}, generator))
        path, loss = [_flat(params).detach()], torch.zeros(())
        for _ in range(self.epochs):
            for index in torch.randperm(real.size, generator=generator).split(self.real_batch):
                (x,) = self.siamese((real.x[index],), generator)
                loss = cross_entropy(network, params, x, real.y[index])
                params = descended(params, loss, self.lr_expert)
            path.append(_flat(params).detach())
        return torch.stack(path), float(loss.detach())


def _flat(params: Params) -> Tensor:
    return ravel({name: value.unsqueeze(0) for name, value in params.items()})[0]


def _named(flat: Tensor, like: Params) -> Params:
    return {name: value[0] for name, value in unravel(flat.unsqueeze(0), like).items()}
