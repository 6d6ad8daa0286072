"""What the condensers of images share: a state, an order of work, and the networks on which they match."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from hcdc._tensors import TensorDict, as_leaves, under
from hcdc._typing import Params
from hcdc.bilevel import stepped
from hcdc.condense.optimise import not_finite
from hcdc.condense.task import Task, check_settings, choose
from hcdc.data import ImageData
from hcdc.errors import ConvergenceError, DataError, InputError
from hcdc.models import ConvNet, augment, draw
from hcdc.store import Groups

PARTS = ("train", "val")
Start = Literal["noise", "real"]


@dataclass(frozen=True, kw_only=True)
class ImageCondenser(ABC):
    """Synthetic images learned in `steps` steps, classes in the proportions of the real ones, labels fixed.

    They start as `start` says, from standard normal noise or from real images of their class, and move by SGD at `lr`
    with `momentum`. Networks are a `ConvNet` of `width` and `depth` (None: fitted to the images). With `both`, the
    validation images are condensed in the same way, from the real validation images, after the training images; else
    they are real ones. `formation` learns images at 1 / formation of each side (`shrunk`). With a `teacher`, the labels are
    in the end the probabilities that a `ConvNet` gives, after so many steps of training on the real images of the part.
    """

    steps: int = 1000
    lr: float = 0.1
    momentum: float = 0.5
    start: Start = "noise"
    augmentation: tuple[str, ...] = ()
    real_batch: int = 256
    width: int | None = None
    depth: int | None = None
    both: bool = True
    formation: int = 1
    teacher: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "augmentation", tuple(self.augmentation))
        check_settings(self, counts=("steps", "real_batch", "formation"), rates=("lr",))
        if not 0 <= self.momentum < 1:
            raise InputError("momentum", self.momentum, "must lie in [0, 1)", "use the default")
        if self.teacher < 0:
            raise InputError("teacher", self.teacher, "must not be negative", "use 0 for none")

    @property
    @abstractmethod
    def name(self) -> str: ...

    @abstractmethod
    def advance(self, real: ImageData, own: Groups, number: int, generator: torch.Generator) -> tuple[Groups, dict[str, float]]:
        """Step `number` on one part: the groups of `own` that change, and metrics."""

    def stretch(self) -> int:
        """Steps that one part takes."""
        return self.steps

    def length(self) -> int:
        return self.stretch() * (2 if self.both else 1)

    def init(self, task: Task) -> Groups:
        if not isinstance(task.real.train, ImageData):
            raise DataError("method", self.name, "condenses images only", "use --method hcdc, gcond or random for graphs")
        if not task.real.train.num_classes:
            raise DataError("method", self.name, "matches class by class, and a regression has none", "use --method hcdc, or a coreset")
        state: Groups = {}
        for number, part in enumerate(PARTS):
            real: ImageData = getattr(task.real, part)
            chosen = choose(real.y, getattr(task.budget, part), real.num_classes, task.generator(31, number))
            x = real.x[chosen]
            if self.both or part == "train":
                x = shrunk(x, self.formation)
                x = torch.randn(x.shape, generator=task.generator(32, number)) if self.start == "noise" else x
            state |= {f"{part}/labels": {"y": real.y[chosen]}, f"{part}/learned": {"x": x} | self.further(), f"{part}/moments": {}}
        return state

    def further(self) -> TensorDict:
        """What is learned beside the images."""
        return {}

    def step(self, task: Task, state: Groups, number: int) -> tuple[Groups, dict[str, float]]:
        second, within = divmod(number, self.stretch())
        part = PARTS[second]
        own = under(state, f"{part}/")
        changed, metrics = self.advance(getattr(task.real, part), own, within, task.generator(33, second, within))
        if not_finite(changed.get("learned", {})):
            raise ConvergenceError(f"{self.name}: step {number} left the finite numbers; lower `lr`, now {self.lr}")
        return state | {f"{part}/{key}": value for key, value in changed.items()}, metrics

    def extract(self, task: Task, state: Groups) -> tuple[Any, Any]:
        made: list[ImageData] = []
        for number, part in enumerate(PARTS):
            real, x, y = getattr(task.real, part), state[f"{part}/learned"]["x"], state[f"{part}/labels"]["y"]
            if self.both or part == "train":
                x = enlarged(x, self.formation)
                y = self._taught(real, x, task.generator(34, number)) if self.teacher else y
            made.append(real.replace(x=x, y=y))
        return made[0], made[1]

    def _taught(self, real: ImageData, x: Tensor, generator: torch.Generator) -> Tensor:
        network, params = trained_network(real, self.teacher, generator)
        with torch.no_grad():
            return network.logits(params, {}, real.replace(x=x), {}).softmax(-1)

    def network(self, real: ImageData) -> ConvNet:
        return ConvNet(real.num_classes, shape=real.shape, width=self.width, depth=self.depth, searched=())

    def changed(self, own: Groups, slopes: TensorDict, rates: dict[str, float]) -> Groups:
        """What is learned, a step of momentum down `slopes`."""
        learned, moments = stepped(own["learned"], slopes, own["moments"], lambda groups: torch.optim.SGD(groups, momentum=self.momentum), rates)
        return {"learned": learned, "moments": moments}

    def pairs(self, real: ImageData, y: Tensor, x: Tensor, generator: torch.Generator) -> Any:
        """For each class: where its synthetic images are, these as a leaf, and both batches under one augmentation."""
        for label in y.unique():
            at = (y == label).nonzero().squeeze(1)
            leaf = x[at].requires_grad_()
            members = (real.y == label).nonzero().squeeze(1)
            batch = real.x[members[torch.randperm(members.numel(), generator=generator)[: self.real_batch]]]
            yield at, leaf, *self.siamese((enlarged(leaf, self.formation), batch), generator)

    def siamese(self, batches: Sequence[Tensor], generator: torch.Generator) -> tuple[Tensor, ...]:
        """Every batch under the same draw of the augmentation."""
        if not self.augmentation:
            return tuple(batches)
        drawn = draw(self.augmentation, generator)
        return tuple(augment(x, drawn) for x in batches)


def check_formation(x: Tensor, formation: int) -> None:
    """Raise `DataError` where a side of the images [n, c, h, w] is no multiple of `formation`."""
    if x.shape[-2] % formation or x.shape[-1] % formation:
        raise DataError("formation", formation, f"must divide the sides of the images, {tuple(x.shape[-2:])}", "use 1 or another divisor")


def shrunk(x: Tensor, formation: int) -> Tensor:
    """Images [n, c, h, w] at 1 / `formation` of each side, means of squares of pixels; `enlarged` brings them back.

    At one budget of pixels formation^2 as many images are made (multi-formation, Kim et al. 2022). `DataError` as
    `check_formation` has it.
    """
    check_formation(x, formation)
    return functional.avg_pool2d(x, formation) if formation > 1 else x


def enlarged(x: Tensor, formation: int) -> Tensor:
    """Bilinear, [n, c, h, w] -> [n, c, formation h, formation w]."""
    return functional.interpolate(x, scale_factor=float(formation), mode="bilinear", align_corners=False) if formation > 1 else x


def cross_entropy(network: ConvNet, params: Params, x: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of `network`, without any regularisation."""
    return functional.cross_entropy(network.logits(params, {}, ImageData(x, y, network.num_classes), {}), y)


def trained_network(data: ImageData, steps: int, generator: torch.Generator) -> tuple[ConvNet, Params]:
    """A `ConvNet` and its parameters after `steps` steps of Adam at 1e-3 on batches of 128."""
    network = ConvNet(data.num_classes, shape=data.shape, searched=())
    params = as_leaves(network.init({}, generator))
    optimiser = torch.optim.Adam(params.values(), lr=1e-3)
    for _ in range(steps):
        batch = torch.randint(data.size, (min(128, data.size),), generator=generator)
        optimiser.zero_grad()
        cross_entropy(network, params, data.x[batch], data.y[batch]).backward()
        optimiser.step()
    return network, params


def embedding(network: ConvNet, params: Params, x: Tensor) -> Tensor:
    """What the last layer reads: [n, features]."""
    return network.features(params, {}, x)[network.blocks - 1]


def descended(params: Params, loss: Tensor, rate: float) -> Params:
    """One step of plain gradient descent, as new leaves."""
    slopes = torch.autograd.grad(loss, list(params.values()))
    return as_leaves({name: value - rate * slope for (name, value), slope in zip(params.items(), slopes, strict=True)})
