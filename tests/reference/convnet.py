"""`ConvMix` out of modules: every operation of a block is a layer of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

OPERATIONS = 4


class Block(nn.Module):
    def __init__(self, width: int, params: dict[str, Tensor], b: int) -> None:
        super().__init__()
        wide = nn.Conv2d(width, width, 3, padding=1, bias=False, dtype=torch.float64)
        narrow = nn.Conv2d(width, width, 1, bias=False, dtype=torch.float64)
        self.norm = nn.InstanceNorm2d(width, affine=True, dtype=torch.float64)
        self.operations = nn.ModuleList([wide, narrow, nn.AvgPool2d(3, stride=1, padding=1), nn.Identity()])
        with torch.no_grad():
            wide.weight.copy_(params[f"conv3x3.{b}"])
            narrow.weight.copy_(params[f"conv1x1.{b}"][:, :, None, None])
            self.norm.weight.copy_(params[f"scale.{b}"])
            self.norm.bias.copy_(params[f"shift.{b}"])

    def forward(self, h: Tensor, weights: Tensor) -> Tensor:
        mixed = sum(weight * operation(h) for weight, operation in zip(weights, self.operations, strict=True))
        return nn.functional.silu(self.norm(mixed))


def logits(params: dict[str, Tensor], op: Tensor, x: Tensor) -> Tensor:
    """[n, classes] in float64 for `op` [blocks, 4]."""
    width, channels = params["stem"].shape[:2]
    stem = nn.Conv2d(channels, width, 3, padding=1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        stem.weight.copy_(params["stem"])
        h = nn.functional.silu(stem(x))
        for b, weights in enumerate(op):
            if h.shape[-1] >= 4 and h.shape[-2] >= 4:
                h = nn.AvgPool2d(2)(h)
            h = Block(width, params, b)(h, weights)
        return torch.stack([image.flatten(1).mean(1) @ params["head"] + params["bias"] for image in h])
