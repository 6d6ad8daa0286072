"""Kernel inducing points (Nguyen et al. 2021): images on which a kernel regression predicts the real labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from hcdc.condense.images import ImageCondenser, Start, enlarged
from hcdc.condense.optimise import adam_step
from hcdc.condense.task import Task
from hcdc.data import ImageData
from hcdc.errors import InputError
from hcdc.store import Groups


@dataclass(frozen=True, kw_only=True)
class KIP(ImageCondenser):
    """Synthetic images S that minimise ||y_B - K_BS (K_SS + r tr(K_SS)/|S| I)^-1 y_S||^2 / (2 |B| classes).

    K is the tangent kernel of an infinitely wide rectified network of `layers` hidden layers (`tangent_kernel`), B a
    batch of `real_batch` real images a step, y centred one-hot labels, r the `ridge`; labels are fixed. The images move
    by Adam at `lr`; `momentum`, `width` and `depth` belong to networks of finite width, and are refused here. The
    kernel of the paper's convolutional variant is not here. Published: target batches of 5000, lr 4e-2.
    """

    lr: float = 4e-2
    start: Start = "real"
    real_batch: int = 5000
    layers: int = 3
    weight_variance: float = 2.0
    bias_variance: float = 0.01
    ridge: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("momentum", "width", "depth"):
            if getattr(self, name) != getattr(ImageCondenser, name):
                raise InputError(name, getattr(self, name), "belongs to networks of finite width, which kip has none of", "leave it out")

    @property
    def name(self) -> str:
        return "kip"

    def memory(self, task: Task) -> int:
        """Bytes of the kernel of a step: ten matrices a layer and four, and the images three times, in double precision."""
        small, large = max(task.budget), min(self.real_batch, task.real.train.size)
        pixels = math.prod(task.real.train.shape)
        return 8 * (small + large) * (small * (10 * self.layers + 4) + 3 * pixels)

    def advance(self, real: ImageData, own: Groups, number: int, generator: torch.Generator) -> tuple[Groups, dict[str, float]]:
        batch = real.take(torch.randperm(real.size, generator=generator)[: self.real_batch])
        leaf = own["learned"]["x"].detach().requires_grad_()
        small, large = self.siamese((enlarged(leaf, self.formation), batch.x), generator)
        loss = self.loss(small.double(), own["labels"]["y"], large.double(), batch.y, real.num_classes)
        learned, moments = adam_step({"x": leaf}, {"x": torch.autograd.grad(loss, leaf)[0]}, own["moments"], {"x": self.lr})
        return {"learned": learned, "moments": moments}, {"distance": float(loss.detach())}

    def loss(self, x: Tensor, y: Tensor, target: Tensor, labels: Tensor, classes: int) -> Tensor:
        """Half the mean squared error of the kernel regression on x [n, ...], at `target` [m, ...]."""
        both = self.kernel(torch.cat([x, target]), x)
        inside, across = both[: y.numel()], both[y.numel() :]
        ridge = self.ridge * inside.diagonal().mean() * torch.eye(y.numel()).to(x)
        found = across @ torch.linalg.solve(inside + ridge, _centred(y, classes).to(x))
        return (found - _centred(labels, classes).to(x)).square().mean() / 2

    def kernel(self, a: Tensor, b: Tensor) -> Tensor:
        return tangent_kernel(a.flatten(1), b.flatten(1), self.layers, self.weight_variance, self.bias_variance)


def tangent_kernel(a: Tensor, b: Tensor, layers: int, weight_variance: float = 2.0, bias_variance: float = 0.0) -> Tensor:
    """Neural tangent kernel [n, m] of a rectified network of `layers` hidden layers (Jacot et al. 2018), a [n, d], b [m, d].

    In the parametrisation h = s_w W x / sqrt(fan_in) + s_b b with standard normal W and b: S_0 = s_w^2 a.b / d + s_b^2,
    T_0 = S_0, and S_l = s_w^2 E[relu relu] + s_b^2, T_l = S_l + s_w^2 T_{l-1} E[step step], the expectations over
    Gaussians of covariance S_{l-1} in the closed forms of Cho and Saul (2009).
    """
    sides = [weight_variance * x.square().mean(1) + bias_variance for x in (a, b)]
    covariance = weight_variance * a @ b.T / a.shape[1] + bias_variance
    kernel = covariance
    for _ in range(layers):
        scale = (sides[0].unsqueeze(1) * sides[1]).sqrt()
        cosine = (covariance / scale).clamp(-1 + 1e-7, 1 - 1e-7)
        angle = math.pi - cosine.acos()
        covariance = weight_variance * scale * ((1 - cosine.square()).sqrt() + angle * cosine) / (2 * math.pi) + bias_variance
        kernel = covariance + weight_variance * kernel * angle / (2 * math.pi)
        sides = [weight_variance * side / 2 + bias_variance for side in sides]
    return kernel


def _centred(y: Tensor, classes: int) -> Tensor:
    return functional.one_hot(y, classes).double() - 1 / classes
