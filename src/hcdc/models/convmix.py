"""Small convolutional networks whose blocks mix candidate operations, the mixing weights the hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from hcdc._typing import Hyper, Noise, Params
from hcdc.data import ImageData
from hcdc.errors import InputError
from hcdc.models.classifier import Classifier, dropout_mask, glorot, squared
from hcdc.models.mixture import mixed
from hcdc.spaces import Choice, Real, Space

DEEPEST = 1000
"""Blocks, far more than train."""
OPERATIONS = ("conv3x3", "conv1x1", "pool3x3", "skip")


@dataclass(frozen=True)
class ConvMix(Classifier):
    """stem -> `blocks` blocks, the image halved before each until it is below 4 pixels -> global mean -> linear.

    Block b computes silu(norm(sum_o op[b, o] O_o(h))) over `OPERATIONS`, with instance normalisation, which unlike
    batch normalisation differentiates twice. hyper = {"op": [blocks, 4] weights, one-hot for one architecture,
    "log10_decay": scalar}, whose penalty 10^log10_decay / 2 ||theta||^2 takes the place of `weight_decay`.
    """

    shape: tuple[int, int, int] = (1, 8, 8)
    width: int = 8
    blocks: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.blocks <= DEEPEST or self.width < 1:
            raise InputError("blocks, width", (self.blocks, self.width), f"must be at least 1, and blocks at most {DEEPEST}", "use 2 and 8")
        object.__setattr__(self, "shape", tuple(self.shape))

    def space(self) -> Space:
        """One operation a block, and the weight decay between 1e-4 and 1e-2."""
        return Space({f"op.{b}": Choice(OPERATIONS) for b in range(self.blocks)} | {"log10_decay": Real(-4.0, -2.0)})

    def init(self, hyper: Hyper, generator: torch.Generator) -> Params:
        channels, w = self.shape[0], self.width
        params = {"stem": glorot((w, channels, 3, 3), (9 * channels, 9 * w), generator)}
        for b in range(self.blocks):
            params[f"conv3x3.{b}"] = glorot((w, w, 3, 3), (9 * w, 9 * w), generator)
            params[f"conv1x1.{b}"] = glorot((w, w), (w, w), generator)
            params[f"scale.{b}"], params[f"shift.{b}"] = torch.ones(w), torch.zeros(w)
        params["head"] = glorot((w, self.num_classes), (w, self.num_classes), generator)
        params["bias"] = torch.zeros(self.num_classes)
        return params

    def noise(self, data: ImageData, generator: torch.Generator) -> Noise:
        return {"features": dropout_mask((data.size, self.width), self.dropout, generator)} if self.dropout else {}

    def penalty(self, params: Params, hyper: Hyper) -> Tensor:
        return 10 ** hyper["log10_decay"].squeeze() / 2 * squared(params)

    def footprint(self, data: ImageData) -> int:
        height, width = self.shape[1:]
        return 3 * 4 * data.size * self.width * height * width * (len(OPERATIONS) + 4)

    def logits(self, params: Params, hyper: Hyper, data: ImageData, noise: Noise) -> Tensor:
        data.check_shape(self.shape)
        h = functional.silu(_conv3x3(data.x, params["stem"]))
        for b in range(self.blocks):
            if min(h.shape[-2:]) >= 4:
                h = _halve(h)
            h = self.block(params, hyper["op"][b], h, b)
        features = h.mean((-2, -1))
        if noise:
            features = features * noise["features"]
        return features @ params["head"] + params["bias"]

    def block(self, params: Params, weights: Tensor, h: Tensor, b: int) -> Tensor:
        """[n, width, height, width'] -> the same shape."""
        found = mixed(weights, [
            lambda: _conv3x3(h, params[f"conv3x3.{b}"]),
            lambda: torch.einsum("oc,nchw->nohw", params[f"conv1x1.{b}"], h),
            lambda: functional.avg_pool2d(h, 3, stride=1, padding=1),
            lambda: h,
        ])  # fmt: skip
        return functional.silu(instance_norm(found, params[f"scale.{b}"], params[f"shift.{b}"]))


def instance_norm(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the pixels of each channel, then scaled and shifted [width]; differentiates twice."""
    mean = h.mean((-2, -1), keepdim=True)
    normal = (h - mean) * ((h - mean).square().mean((-2, -1), keepdim=True) + 1e-5).rsqrt()
    return normal * scale.reshape(-1, 1, 1) + shift.reshape(-1, 1, 1)


def _conv3x3(h: Tensor, weight: Tensor) -> Tensor:
    return functional.conv2d(h, weight, padding=1)


def _halve(h: Tensor) -> Tensor:
    return functional.avg_pool2d(h, 2)
