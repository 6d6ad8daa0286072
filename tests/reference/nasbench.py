"""The networks of NAS-Bench-201 out of modules: every operation is a layer of its own, dead ones too."""

from __future__ import annotations

import torch
from torch import Tensor, nn

INTO = {1: [0], 2: [0, 1], 3: [0, 1, 2]}


def norm(channels: int, kind: str) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels, track_running_stats=False, dtype=torch.float64)
    return nn.InstanceNorm2d(channels, affine=True, dtype=torch.float64)


def load(layer: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    layer.load_state_dict(tensors)
    return layer


class Convolution(nn.Module):
    def __init__(self, params: dict[str, Tensor], name: str, kind: str, act: nn.Module | None, stride: int = 1) -> None:
        super().__init__()
        weight = params[f"{name}.weight"]
        out, into, kernel, _ = weight.shape
        conv = nn.Conv2d(into, out, kernel, stride=stride, padding=(kernel - 1) // 2, bias=False, dtype=torch.float64)
        after = load(norm(out, kind), {"weight": params[f"{name}.scale"], "bias": params[f"{name}.shift"]})
        self.layers = nn.Sequential(act or nn.Identity(), load(conv, {"weight": weight}), after)

    def forward(self, h: Tensor) -> Tensor:
        return self.layers(h)


def operation(params: dict[str, Tensor], name: str, op: str, kind: str, act: nn.Module) -> nn.Module:
    if op.startswith("nor_conv"):
        return Convolution(params, f"{name}.{op}", kind, act)
    return nn.Identity() if op == "skip_connect" else nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)


def cell(params: dict[str, Tensor], h: Tensor, name: str, weights: dict[str, Tensor], kind: str, act: nn.Module) -> Tensor:
    """`weights` by operation, each [6] over the edges in the order of the string."""
    nodes, edge = [h], 0
    for j in (1, 2, 3):
        total = torch.zeros_like(h)
        for i in INTO[j]:
            for op, weight in weights.items():
                if op != "none":
                    total = total + weight[edge] * operation(params, f"{name}.{edge}", op, kind, act)(nodes[i])
            edge += 1
        nodes.append(total)
    return nodes[3]


def logits(params: dict[str, Tensor], weights: dict[str, Tensor], x: Tensor, cells: int, kind: str, act: nn.Module) -> Tensor:
    h = Convolution(params, "stem", kind, None)(x)
    for stage in range(3):
        if stage:
            deep = Convolution(params, f"reduce{stage}.a", kind, act, stride=2)(h)
            deep = Convolution(params, f"reduce{stage}.b", kind, act)(deep)
            h = deep + nn.functional.conv2d(nn.AvgPool2d(2)(h), params[f"reduce{stage}.down"])
        for number in range(cells):
            h = cell(params, h, f"cell{stage}.{number}", weights, kind, act)
    h = act(load(norm(h.shape[1], kind), {"weight": params["last.scale"], "bias": params["last.shift"]})(h))
    return nn.AdaptiveAvgPool2d(1)(h).flatten(1) @ params["head.weight"].T + params["head.bias"]
