"""Scores of a cell that need no training: size, work, and what random weights say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TypeVar

import torch
from torch import Tensor
from torch.func import grad
from torch.nn import functional

from hcdc._typing import Params
from hcdc.data import ImageData
from hcdc.models import CellNetwork, NasBench201
from hcdc.models.nasbench201 import KERNELS
from hcdc.spaces import Cell


def parameters(family: NasBench201, cell: Cell) -> int:
    """Numbers in the network of `cell`, operations that do not reach its output included, as the benchmark counts."""
    return sum(torch.Size(shape).numel() for shape in family.sizes([[op] for op in cell.ops]).values())


def flops(family: NasBench201, cell: Cell) -> int:
    """Operations of the forward pass of one image, as the tables of zero-cost scores count them, dead ones included.

    A convolution or linear map counts its multiplications, a norm 2 and an activation 1 an element, a mean over k x k
    pixels k^2 an output, the global mean (h + 1)(w + 1) a channel; sums, skips and biases count nothing.
    """
    height, width = family.shape[1:]

    def convolution(into: int, out: int, kernel: int, before: int, after: int) -> int:
        return into * before + (into * kernel**2 + 2) * out * after

    area, widths = height * width, family.widths()
    total = convolution(family.shape[0], widths[0], 3, 0, area)
    for stage, c in enumerate(widths):
        if stage:
            height, width = -(-height // 2), -(-width // 2)
            before, area = area, height * width
            total += convolution(c // 2, c, 3, before, area) + convolution(c, c, 3, area, area) + (4 + c) * c // 2 * area
        work = {op: convolution(c, c, kernel, area, area) for op, kernel in KERNELS.items()} | {"avg_pool_3x3": 9 * c * area}
        total += family.cells * sum(work.get(op, 0) for op in cell.ops)
    return total + 3 * widths[-1] * area + widths[-1] * (height + 1) * (width + 1) + widths[-1] * family.num_classes


@dataclass(frozen=True)
class _Coded(CellNetwork):
    """Remembers which units of each activation are on, one row an image."""

    codes: list[Tensor] = field(default_factory=list[Tensor], kw_only=True, compare=False)

    def activate(self, h: Tensor) -> Tensor:
        self.codes.append((h > 0).flatten(1))
        return super().activate(h)


class _Linear(CellNetwork):
    """Without norms and activations: the network of synflow."""

    def activate(self, h: Tensor) -> Tensor:
        return h

    def normalise(self, h: Tensor, params: Params, name: str) -> Tensor:
        return h


N = TypeVar("N", bound=CellNetwork)


def _prepare(kind: Callable[..., N], family: NasBench201, cell: Cell, seed: int) -> tuple[N, Params]:
    network = family.network(cell)
    made = kind(**{item.name: getattr(network, item.name) for item in fields(network)})
    return made, made.init({}, torch.Generator().manual_seed(seed))


@torch.no_grad()
def naswot(family: NasBench201, cell: Cell, data: ImageData, *, seed: int = 0) -> float:
    """log |det K| with K_ij = N_A - Hamming(c_i, c_j), c_i the binary code of which of the N_A activations are on for
    image i, at random weights (Mellor et al. 2021, Section 3); -inf where two images have one code. Needs "relu"."""
    network, params = _prepare(_Coded, family, cell, seed)
    network.logits(params, {}, data, {})
    kernel = torch.zeros(data.size, data.size, dtype=torch.float64)
    for code in network.codes:
        on = code.float()
        kernel += (on @ on.T + (1 - on) @ (1 - on).T).double()
    return float(torch.linalg.slogdet(kernel).logabsdet)


def jacov(family: NasBench201, cell: Cell, data: ImageData, *, seed: int = 0) -> float:
    """-sum_i (log(s_i + k) + 1 / (s_i + k)), s_i the eigenvalues of the correlations between images of the Jacobian of the
    summed logits by pixel and k = 1e-5, at random weights (Mellor et al. 2020; as in Abdelfattah et al. 2021).

    A Jacobian that is 0 for an image correlates with nothing; its row is taken from the identity.
    """
    network, params = _prepare(CellNetwork, family, cell, seed)
    rows = grad(lambda x: network.logits(params, {}, data.replace(x=x), {}).sum())(data.x).flatten(1).double()
    rows = functional.normalize(rows - rows.mean(1, keepdim=True), dim=1)
    correlations = (rows @ rows.T).fill_diagonal_(1.0)
    shifted = torch.linalg.eigvalsh(correlations).clamp_min(0) + 1e-5
    return -float((shifted.log() + 1 / shifted).sum())


def synflow(family: NasBench201, cell: Cell, *, seed: int = 0) -> float:
    """log sum_theta theta dR/dtheta with R = 1^T f_|theta|(1), over the weights of convolutions and of the linear layer,
    without norms, activations and biases (Tanaka et al. 2020, Eq. 2; the logarithm keeps it in range). Needs no data.
    -inf where nothing flows through the cell."""
    network, params = _prepare(_Linear, family, cell, seed)
    weights = {name: value.double().abs() for name, value in params.items() if value.ndim > 1}
    zeros = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in params.items() if value.ndim == 1}
    ones = ImageData(torch.ones(1, *family.shape, dtype=torch.float64), torch.zeros(1, dtype=torch.long), family.num_classes)
    slopes = grad(lambda weights: network.logits({**zeros, **weights}, {}, ones, {}).sum())(weights)
    return float(torch.stack([(value * slopes[name]).sum() for name, value in weights.items()]).sum().log())
