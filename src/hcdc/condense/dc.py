"""Dataset condensation by gradient matching (Zhao et al. 2021), and with differentiable augmentation (Zhao and Bilen 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from hcdc._tensors import as_leaves
from hcdc._typing import Params
from hcdc.condense.images import ImageCondenser, cross_entropy, descended, enlarged
from hcdc.condense.task import check_settings
from hcdc.data import ImageData
from hcdc.models import OPERATIONS, ConvNet
from hcdc.store import Groups

Matched = Literal["matrices", "all"]


@dataclass(frozen=True, kw_only=True)
class DC(ImageCondenser):
    """Synthetic images whose gradients match those of the real ones, class by class, along training on them.

    One step is an iteration of the method: a fresh network, `outer` matches, each a step of the images down the sum over
    classes of `gradient_distance`, and `inner` epochs of the network on the synthetic images at `lr_network` between two
    matches. `outer` and `inner` None follow the published table for the number of images a class (`loops`). `matched`
    says whether biases and normalisations count: published, and the default, is that they do not. With `augmentation`
    this is DSA: both batches of a match, and the images that the network is trained on, undergo the same draw.
    Published: 1000 steps, 256 real images a class, noise (DSA: real images) to start from.
    """

    outer: int | None = None
    inner: int | None = None
    lr_network: float = 0.01
    batch: int = 256
    matched: Matched = "matrices"

    def __post_init__(self) -> None:
        super().__post_init__()
        given = tuple(name for name in ("outer", "inner") if getattr(self, name) is not None)
        check_settings(self, counts=("batch", *given), rates=("lr_network",))

    @property
    def name(self) -> str:
        return "dsa" if self.augmentation else "dc"

    def advance(self, real: ImageData, own: Groups, number: int, generator: torch.Generator) -> tuple[Groups, dict[str, float]]:
        network, y = self.network(real), own["labels"]["y"]
        params, distance = as_leaves(network.init({}, generator)), 0.0
        published = loops(round(y.numel() / real.num_classes))
        outer, inner = published[0] if self.outer is None else self.outer, published[1] if self.inner is None else self.inner
        for match in range(outer):
            slope, distance = self.match(network, params, real, own, generator)
            own = own | self.changed(own, {"x": slope}, {"x": self.lr})
            if match < outer - 1:
                for _ in range(inner):
                    params = self._epoch(network, params, enlarged(own["learned"]["x"], self.formation), y, generator)
        return {key: own[key] for key in ("learned", "moments")}, {"distance": distance}

    def match(self, network: ConvNet, params: Params, real: ImageData, own: Groups, generator: torch.Generator) -> tuple[Tensor, float]:
        """Gradient in the images of the distance summed over classes, and that sum."""
        x, y = own["learned"]["x"], own["labels"]["y"]
        slope, total = torch.zeros_like(x), 0.0
        for at, leaf, small, large in self.pairs(real, y, x, generator):
            label = y[at[:1]]
            wanted = _gradients(network, params, large, label.expand(large.shape[0]))
            found = _gradients(network, params, small, y[at], create_graph=True)
            distance = gradient_distance(found, {name: value.detach() for name, value in wanted.items()}, self.matched)
            slope[at] = torch.autograd.grad(distance, leaf)[0]
            total += float(distance.detach())
        return slope, total

    def _epoch(self, network: ConvNet, params: Params, x: Tensor, y: Tensor, generator: torch.Generator) -> Params:
        for index in torch.randperm(y.numel(), generator=generator).split(self.batch):
            (images,) = self.siamese((x[index],), generator)
            params = descended(params, cross_entropy(network, params, images, y[index]), self.lr_network)
        return params


DSA = DC(start="real", augmentation=OPERATIONS)
"""With every operation of the published strategy; digits, which a mirror changes, are published without "flip"."""


def loops(images_a_class: int) -> tuple[int, int]:
    """(outer, inner) of the published table: 1 -> (1, 1), 10 -> (10, 50), 20 -> (20, 25), 50 -> (50, 10)."""
    return (1, 1) if images_a_class <= 1 else (images_a_class, max(1, round(500 / images_a_class)))


def gradient_distance(a: Params, b: Params, matched: Matched = "matrices") -> Tensor:
    """Sum over layers and their output units of 1 - cos of the gradients of the unit's incoming weights.

    Weights are [out, ...], one row a unit; tensors of one dimension are left out, or with "all" are one row each.
    """
    total = torch.zeros(())
    for name, value in a.items():
        if value.ndim > 1 or matched == "all":
            rows = (value.flatten(1), b[name].flatten(1)) if value.ndim > 1 else (value.unsqueeze(0), b[name].unsqueeze(0))
            total = total + (1 - functional.cosine_similarity(*rows, dim=1, eps=1e-6)).sum()
    return total


def _gradients(network: ConvNet, params: Params, x: Tensor, y: Tensor, **options: Any) -> Params:
    slopes = torch.autograd.grad(cross_entropy(network, params, x, y), list(params.values()), **options)
    return dict(zip(params, slopes, strict=True))
