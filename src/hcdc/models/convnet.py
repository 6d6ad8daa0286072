"""The ConvNet of the papers on dataset condensation, with axes of architecture and of training that are searched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from hcdc._typing import Hyper, Noise, Params
from hcdc.data import ImageData
from hcdc.errors import InputError
from hcdc.models.augment import OPERATIONS, Draw, augment, check_operations, draw
from hcdc.models.classifier import Classifier, dropout_mask
from hcdc.models.convmix import instance_norm
from hcdc.models.mixture import activated, first_units, in_use, mixed
from hcdc.spaces import Axis, Choice, Real, Space

SEARCHABLE = ("depth", "width", "kernel", "activation", "pooling", "decay", "smoothing", "weights", "mixup", "augment")
KERNELS = ("1", "3", "5")
ACTIVATIONS = ("relu", "silu", "tanh", "sigmoid", "leaky_relu")
POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "average": lambda windows: windows.mean(0), "maximum": lambda windows: windows.amax(0), "stride": lambda windows: windows[0],
}  # fmt: skip


@dataclass(frozen=True)
class ConvNet(Classifier):
    """`depth` blocks of convolution, instance normalisation, activation and 2 x 2 pooling, then a linear layer.

    Zhao et al. (2021): depth 3 and width 128 at 32 x 32, kernel 3, ReLU, average pooling. The convolutions have no bias,
    which the normalisation would take away. `depth` and `width` None are fitted to the size of the images: 3 and 128
    from 16 pixels a side, 2 and 64 at 8. Each name in `searched` is a hyperparameter:

    - "depth", "width", "kernel", "activation", "pooling": weights over options [1, options]. A linear layer leaves after
      every block; channels beyond a width are masked; kernels are the centres of one of 5 x 5. One-hot weights are
      exactly the network of that option.
    - "decay" [depth + 1]: log10 of the weight decay of every block and of the linear layers, in place of `weight_decay`.
    - "smoothing" [1]: a rate s, the training loss being (1 - s) CE(y) + s CE(uniform) (Szegedy et al. 2016).
    - "weights" [groups]: log of the weight of a group of classes in the training loss, class c in group c mod `groups`.
    - "mixup" [1]: m, images being mixed with others by a share m u / 2 for u uniform in [0, 1) (after Zhang et al. 2018).
    - "augment" [operations]: strength of each of `operations` (`augment`), one of which, drawn anew, changes a batch.

    `inner`, which is without noise, takes the mean over fixed draws of the last two, one an operation.
    """

    shape: tuple[int, int, int] = (1, 8, 8)
    width: int | None = None
    depth: int | None = None
    searched: tuple[str, ...] = ("width", "activation", "pooling", "decay")
    groups: int | None = None
    operations: tuple[str, ...] = OPERATIONS

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("shape", "searched", "operations"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not set(self.searched) <= set(SEARCHABLE) or len(set(self.searched)) < len(self.searched):
            raise InputError("searched", self.searched, f"must be of {', '.join(SEARCHABLE)}, each at most once", "choose among these")
        side = min(self.shape[1:])
        if self.width is None:
            object.__setattr__(self, "width", 128 if side >= 16 else 64)
        if self.depth is None:
            object.__setattr__(self, "depth", max(1, min(3, side.bit_length() - 2)))
        if self.channels % 1 or self.blocks % 1 or self.channels < 4 or self.blocks < 1 or side >> (self.blocks - 1) < 2:
            rule = f"must be whole, at least 4 and 1, and leave 2 pixels of {side} before the last pooling"
            raise InputError("width, depth", (self.width, self.depth), rule, "leave them out to fit the images, of 2 pixels a side or more")
        if "depth" in self.searched and self.blocks < 2:
            raise InputError("searched", self.searched, "one block leaves no depth to search", "leave depth out, or take larger images")
        if self.groups is not None and not 1 <= self.groups <= self.num_classes:
            raise InputError("groups", self.groups, f"must lie between 1 and {self.num_classes} (the classes)", "leave it out for one a class")
        check_operations(self.operations)

    @property
    def blocks(self) -> int:
        return self.depth or 0

    @property
    def channels(self) -> int:
        return self.width or 0

    @property
    def widths(self) -> tuple[int, int, int]:
        """Those that are searched: a quarter, a half and all of the channels."""
        return self.channels // 4, self.channels // 2, self.channels

    def space(self) -> Space:
        """The axes of `searched`."""
        choices = {"depth": [str(d + 1) for d in range(self.blocks)], "width": [str(w) for w in self.widths], "kernel": KERNELS,
                   "activation": ACTIVATIONS, "pooling": POOLINGS}  # fmt: skip
        found: dict[str, dict[str, Axis]] = {name: {name: Choice(tuple(options))} for name, options in choices.items() if name in self.searched}
        found |= {
            "decay": {f"decay.{group}": Real(-5.0, -1.0) for group in range(self.blocks + 1)},
            "smoothing": {"smoothing": Real(0.0, 0.5)},
            "weights": {f"weights.{group}": Real(-1.0, 1.0) for group in range(self.groups or self.num_classes)},
            "mixup": {"mixup": Real(0.0, 1.0)},
            "augment": {f"augment.{number}": Real(0.0, 2.0) for number in range(len(self.operations))},
        }
        return Space({name: axis for searched in self.searched for name, axis in found[searched].items()})

    def init(self, hyper: Hyper, generator: torch.Generator) -> Params:
        """Weights and biases uniform in +-fan_in^-1/2, as the published networks have them."""
        before, side, params = self.shape[0], 5 if "kernel" in self.searched else 3, Params()
        for b in range(self.blocks):
            params[f"conv.{b}"] = _uniform((self.channels, before, side, side), before * side * side, generator)
            params[f"scale.{b}"], params[f"shift.{b}"] = torch.ones(self.channels), torch.zeros(self.channels)
            before = self.channels
        for exit_, features in self._exits().items():
            params[f"head.{exit_}"] = _uniform((self.num_classes, features), features, generator)
            params[f"bias.{exit_}"] = _uniform((self.num_classes,), features, generator)
        return params

    def _exits(self) -> dict[int, int]:
        """The blocks that are followed by a linear layer, and what it reads."""
        height, width = self.shape[1:]
        first = 0 if "depth" in self.searched else self.blocks - 1
        return {b: self.channels * (height >> b + 1) * (width >> b + 1) for b in range(first, self.blocks)}

    def noise(self, data: ImageData, generator: torch.Generator) -> Noise:
        found: Noise = {}
        if self.dropout:
            found |= {f"features.{b}": dropout_mask((data.size, features), self.dropout, generator) for b, features in self._exits().items()}
        if "augment" in self.searched:
            found["draw"] = draw(self.operations, generator)
        if "mixup" in self.searched:
            found["mix"] = torch.randperm(data.size, generator=generator), torch.rand((), generator=generator)
        return found

    def features(self, params: Params, hyper: Hyper, x: Tensor) -> dict[int, Tensor]:
        """What the linear layer after each block reads, flattened [n, features]: the last is the embedding of x. Of the
        widest network and the deepest that is `in_use`."""
        found: dict[int, Tensor] = {}
        units = first_units(hyper["width"][0], self.widths).reshape(-1, 1, 1) if "width" in self.searched else None
        channels = self.channels if units is None else len(units)
        blocks = max(in_use(hyper["depth"][0])) + 1 if "depth" in self.searched else self.blocks
        for b in range(blocks):
            kernel = self._kernel(params[f"conv.{b}"][:channels, : x.shape[1]], hyper)
            x = functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
            x = self._activated(instance_norm(x, params[f"scale.{b}"][:channels], params[f"shift.{b}"][:channels]), hyper)
            x = self._pooled(x if units is None else x * units, hyper)
            found[b] = x.flatten(1)
        return {b: found[b] for b in self._exits() if b in found}

    def logits(self, params: Params, hyper: Hyper, data: ImageData, noise: Noise) -> Tensor:
        data.check_shape(self.shape)
        features = self.features(params, hyper, data.x)

        def leaving(b: int) -> Tensor:
            size, dropped = features[b].shape[1], f"features.{b}"
            kept = features[b] * noise[dropped][:, :size] if dropped in noise else features[b]
            return kept @ params[f"head.{b}"][:, :size].T + params[f"bias.{b}"]

        if "depth" not in self.searched:
            return leaving(self.blocks - 1)
        return mixed(hyper["depth"][0], [partial(leaving, b) for b in range(self.blocks)])

    def _kernel(self, kernel: Tensor, hyper: Hyper) -> Tensor:
        """[out, in, 5, 5], of which a smaller kernel is the centre."""
        if "kernel" not in self.searched:
            return kernel
        away = (torch.arange(5, device=kernel.device) - 2).abs()
        ring = torch.maximum(away.unsqueeze(1), away)
        side = max(int(KERNELS[index]) for index in in_use(hyper["kernel"][0]))
        kernel, ring = (each[..., 2 - side // 2 : 3 + side // 2, 2 - side // 2 : 3 + side // 2] for each in (kernel, ring))

        def centre(side: str) -> Tensor:
            return (ring <= int(side) // 2).to(kernel)

        return kernel * mixed(hyper["kernel"][0], [partial(centre, side) for side in KERNELS])

    def _activated(self, h: Tensor, hyper: Hyper) -> Tensor:
        if "activation" not in self.searched:
            return h.relu()
        return activated(hyper["activation"][0], ACTIVATIONS, h)

    def _pooled(self, h: Tensor, hyper: Hyper) -> Tensor:
        """Halved, a last odd row or column left out."""
        if "pooling" not in self.searched:
            return functional.avg_pool2d(h, 2)
        height, width = (side // 2 * 2 for side in h.shape[-2:])
        windows = torch.stack([h[..., i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)])
        return mixed(hyper["pooling"][0], [partial(function, windows) for function in POOLINGS.values()])

    def penalty(self, params: Params, hyper: Hyper) -> Tensor:
        if "decay" not in self.searched:
            return super().penalty(params, hyper)
        squares = [torch.zeros_like(hyper["decay"][0])] * (self.blocks + 1)
        for name, value in params.items():
            kind, b = name.split(".")
            group = self.blocks if kind in ("head", "bias") else int(b)
            squares[group] = squares[group] + value.square().sum()
        return (10 ** hyper["decay"] * torch.stack(squares)).sum() / 2

    def misfit(self, logits: Tensor, labels: Tensor, hyper: Hyper) -> Tensor:
        each = functional.cross_entropy(logits, labels, reduction="none")
        if "smoothing" in self.searched:
            rate = hyper["smoothing"][0]
            each = (1 - rate) * each - rate * functional.log_softmax(logits, -1).mean(-1)
        if "weights" not in self.searched:
            return each.mean()
        classes = labels.argmax(-1) if labels.is_floating_point() else labels
        weights = hyper["weights"].exp()[classes % hyper["weights"].shape[0]]
        return (weights * each).sum() / weights.sum()

    def noisy(self, params: Params, hyper: Hyper, data: ImageData, noise: Noise) -> Tensor:
        x, y = data.x, data.y
        if "draw" in noise:
            drawn: Draw = noise["draw"]
            x = augment(x, drawn, hyper["augment"][self.operations.index(drawn.operation)])
        if "mix" not in noise:
            return self.misfit(self.logits(params, hyper, data.replace(x=x), noise), y, hyper) + self.penalty(params, hyper)
        order, number = noise["mix"]
        share = hyper["mixup"][0] * number / 2
        logits = self.logits(params, hyper, data.replace(x=(1 - share) * x + share * x[order]), noise)
        return (1 - share) * self.misfit(logits, y, hyper) + share * self.misfit(logits, y[order], hyper) + self.penalty(params, hyper)

    def inner(self, params: Params, hyper: Hyper, data: ImageData) -> Tensor:
        draws = self._fixed(data)
        return torch.stack([self.noisy(params, hyper, data, noise) for noise in draws]).mean()

    def _fixed(self, data: ImageData) -> list[Noise]:
        """Draws without a generator, which a batched loss could not use: numbers from a Kronecker sequence."""
        random = "augment" in self.searched, "mixup" in self.searched
        count, found = len(self.operations) if any(random) else 1, list[Noise]()
        for number in range(count):
            spread = torch.tensor([(number + 1) * step % 1 for step in (0.618034, 0.754878, 0.569840, 0.819173)])
            order = torch.arange(data.size, device=data.y.device).roll((number + 1) * data.size // (count + 1))
            noise: Noise = {"draw": Draw(self.operations[number], spread)} if random[0] else {}
            found.append(noise | ({"mix": (order, spread[3])} if random[1] else {}))
        return found

    def footprint(self, data: ImageData) -> int:
        copies = 4 + sum(len(options) for name, options in (("activation", ACTIVATIONS), ("pooling", POOLINGS)) if name in self.searched)
        draws = len(self.operations) if {"augment", "mixup"} & set(self.searched) else 1
        return draws * 4 * 4 * data.size * self.channels * self.shape[1] * self.shape[2] * copies // 3


def _uniform(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Tensor:
    return (2 * torch.rand(shape, generator=generator) - 1) * fan_in**-0.5
