"""The networks of NAS-Bench-201 (Dong and Yang 2020), from a cell, or from soft weights over the operations of one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from hcdc._typing import Hyper, Noise, Params
from hcdc.data import ImageData
from hcdc.errors import InputError
from hcdc.models.classifier import Classifier, dropout_mask, smoothed, squared
from hcdc.models.mixture import in_use
from hcdc.spaces import EDGES, OPS, Axis, Cell, Choice, Real, Space

Normalisation = Literal["batch", "instance"]
Activation = Literal["relu", "silu", "softplus"]
Plan: TypeAlias = Sequence[Sequence[tuple[str, Tensor | None]]]
"""For each of `EDGES`, the operations that are computed and their weights; None is 1."""

AXES: dict[Normalisation, tuple[int, ...]] = {"batch": (0, 2, 3), "instance": (2, 3)}
ACTIVATIONS: tuple[Activation, ...] = ("relu", "silu", "softplus")
REGULARISERS: dict[str, dict[str, Axis]] = {
    "decay": {"log10_decay": Real(-5.0, -2.0)},
    "smoothing": {"smoothing": Real(0.0, 0.5)},
}
"""The further axes that each regulariser brings."""

EPSILON = 1e-5
KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
STAGES = 3


@dataclass(frozen=True)
class NasBench201(Classifier):
    """stem -> three stages of `cells` cells at C, 2C and 4C channels, a residual block of stride 2 before the second and
    the third -> norm, activation, global mean, linear. C is `channels`; the benchmark has 5 cells a stage, C = 16, "relu"
    and "batch". Node j of a cell is sum_i sum_o op[edge(i, j), o] O_o(node i), a convolution being activation,
    convolution, norm.

    hyper = {"op": [6, 5] weights over `OPS` for each of `EDGES`, soft or one-hot} and, of `regularisers`: "decay" brings
    "log10_decay" [1], whose penalty 10^log10_decay / 2 ||theta||^2 takes the place of `weight_decay`; "smoothing" brings
    "smoothing" [1], the rate of label smoothing in the training loss. `network` gives the network of one cell.

    "batch" normalises by the mean and variance of the batch at hand, in training and in validation: there are no running
    statistics, so that the losses are pure functions, and a prediction depends on what is predicted beside it. It is
    written out, since the third derivative of torch's batch norm is wrong. "relu" has no curvature of its own: take
    "silu" or "softplus" where second derivatives are to be compared with differences.
    """

    shape: tuple[int, int, int] = (3, 32, 32)
    cells: int = 1
    channels: int = 16
    norm: Normalisation = "batch"
    activation: Activation = "relu"
    regularisers: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "regularisers", tuple(self.regularisers))
        if self.cells < 1 or self.channels < 1:
            raise InputError("cells, channels", (self.cells, self.channels), "must be at least 1", "use 1 (the benchmark: 5) and 16")
        for name, allowed in {"norm": tuple(AXES), "activation": ACTIVATIONS}.items():
            if getattr(self, name) not in allowed:
                raise InputError(name, getattr(self, name), f"must be one of {', '.join(allowed)}", "choose one of these")
        if len(set(self.regularisers)) < len(self.regularisers) or not set(self.regularisers) <= set(REGULARISERS):
            rule = f"must be of {', '.join(REGULARISERS)}, each at most once"
            raise InputError("regularisers", self.regularisers, rule, "choose among these, or leave them out")

    def space(self) -> Space:
        """One operation an edge, "op.0" to "op.5" in the order of `EDGES`, then the axes of the regularisers."""
        return Space({f"op.{edge}": Choice(OPS) for edge in range(len(EDGES))} | self.further())

    def further(self) -> dict[str, Axis]:
        return {name: axis for regulariser in self.regularisers for name, axis in REGULARISERS[regulariser].items()}

    def network(self, cell: Cell | str, *, fused: bool = True) -> CellNetwork:
        """The network of one cell alone, with the same settings, initial values and logits as the soft forward at its
        one-hot weights; what does not reach the output is neither stored nor computed.

        `fused` takes torch's own norms, twice as fast, whose third derivatives are wrong: for training, not for `adjoint`.
        """
        settings = {item.name: getattr(self, item.name) for item in fields(NasBench201)}
        return CellNetwork(**settings, cell=cell if isinstance(cell, Cell) else Cell.parse(cell), fused=fused)

    def widths(self) -> list[int]:
        """Channels of each stage."""
        return [self.channels * 2**stage for stage in range(STAGES)]

    def sizes(self, ops: Sequence[Sequence[str]]) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters of a network whose edges hold `ops` [6][...]."""
        widths, made = self.widths(), dict[str, tuple[int, ...]]()

        def convolution(name: str, into: int, out: int, kernel: int) -> None:
            made.update({f"{name}.weight": (out, into, kernel, kernel), f"{name}.scale": (out,), f"{name}.shift": (out,)})

        convolution("stem", self.shape[0], widths[0], 3)
        for stage, width in enumerate(widths):
            if stage:
                convolution(f"reduce{stage}.a", width // 2, width, 3)
                convolution(f"reduce{stage}.b", width, width, 3)
                made[f"reduce{stage}.down"] = (width, width // 2, 1, 1)
            for number in range(self.cells):
                for edge, held in enumerate(ops):
                    for op in (op for op in held if op in KERNELS):
                        convolution(f"cell{stage}.{number}.{edge}.{op}", width, width, KERNELS[op])
        last = widths[-1]
        return made | {"last.scale": (last,), "last.shift": (last,), "head.weight": (self.num_classes, last), "head.bias": (self.num_classes,)}

    def init(self, hyper: Hyper, generator: torch.Generator) -> Params:
        """Weights uniform in +-1 / sqrt(fan_in), torch's own default, which the benchmark trained from; scales 1, shifts 0."""
        params: Params = {}
        for name, shape in self.sizes([OPS] * len(EDGES)).items():
            if len(shape) == 1 and name != "head.bias":
                params[name] = torch.full(shape, float(name.endswith("scale")))
            else:
                fan = self.widths()[-1] if name.startswith("head") else math.prod(shape[1:])
                params[name] = (2 * torch.rand(shape, generator=generator) - 1) * fan**-0.5
        return params

    def noise(self, data: ImageData, generator: torch.Generator) -> Noise:
        return {"features": dropout_mask((data.size, self.widths()[-1]), self.dropout, generator)} if self.dropout else {}

    def penalty(self, params: Params, hyper: Hyper) -> Tensor:
        if "decay" not in self.regularisers:
            return super().penalty(params, hyper)
        return 10 ** hyper["log10_decay"].squeeze() / 2 * squared(params)

    def misfit(self, logits: Tensor, labels: Tensor, hyper: Hyper) -> Tensor:
        loss = super().misfit(logits, labels, hyper)
        return smoothed(loss, logits, hyper["smoothing"][0]) if "smoothing" in self.regularisers else loss

    def footprint(self, data: ImageData) -> int:
        """Of the soft forward, in maps of the first stage: twice what its graph was seen to keep, room for second derivatives."""
        height, width = self.shape[1:]
        return 4 * data.size * self.channels * height * width * (150 * self.cells + 20)

    def plan(self, hyper: Hyper) -> Plan:
        """Every operation in use with its weight."""
        weights = hyper["op"]
        if tuple(weights.shape) != (len(EDGES), len(OPS)):
            rule = f"must be [{len(EDGES)}, {len(OPS)}], a weight for every operation of every edge"
            raise InputError("op", tuple(weights.shape), rule, "take it from `space().relax` or `Cell.weights`")
        return [[(OPS[o], weights[edge, o]) for o in in_use(weights[edge]) if OPS[o] != "none"] for edge in range(len(EDGES))]

    def logits(self, params: Params, hyper: Hyper, data: ImageData, noise: Noise) -> Tensor:
        data.check_shape(self.shape)
        plan = self.plan(hyper)
        h = self.normalise(functional.conv2d(data.x, params["stem.weight"], padding=1), params, "stem")
        for stage in range(STAGES):
            if stage:
                h = self.reduce(params, h, f"reduce{stage}")
            for number in range(self.cells):
                h = self.cell_forward(params, plan, h, f"cell{stage}.{number}")
        features = self.activate(self.normalise(h, params, "last")).mean((-2, -1))
        if noise:
            features = features * noise["features"]
        return functional.linear(features, params["head.weight"], params["head.bias"])

    def cell_forward(self, params: Params, plan: Plan, h: Tensor, name: str) -> Tensor:
        """[n, width, height, width'] -> the same shape; a node that nothing enters is None."""
        nodes: list[Tensor | None] = [h, None, None, None]
        for edge, (i, j) in enumerate(EDGES):
            source = nodes[i]
            for op, weight in plan[edge]:
                value = self.operation(params, op, source, h, f"{name}.{edge}.{op}")
                value = value if weight is None else weight * value
                node = nodes[j]
                nodes[j] = value if node is None else node + value
        return torch.zeros_like(h) if nodes[3] is None else nodes[3]

    def operation(self, params: Params, op: str, h: Tensor | None, like: Tensor, name: str) -> Tensor:
        """One operation of an edge, `name` the prefix of its parameters; of nothing, a convolution is the shift of its norm,
        and anything else is 0."""
        if h is None:
            return params[f"{name}.shift"].reshape(1, -1, 1, 1).expand_as(like) if op in KERNELS else torch.zeros_like(like)
        if op in KERNELS:
            return self.convolve(params, h, name, padding=KERNELS[op] // 2)
        return h if op == "skip_connect" else functional.avg_pool2d(h, 3, stride=1, padding=1, count_include_pad=False)

    def convolve(self, params: Params, h: Tensor, name: str, *, stride: int = 1, padding: int = 1) -> Tensor:
        return self.normalise(functional.conv2d(self.activate(h), params[f"{name}.weight"], stride=stride, padding=padding), params, name)

    def reduce(self, params: Params, h: Tensor, name: str) -> Tensor:
        """[n, c, h, w] -> [n, 2c, ceil(h/2), ceil(w/2)]: two convolutions beside the mean of 2x2 pixels, projected."""
        deep = self.convolve(params, self.convolve(params, h, f"{name}.a", stride=2), f"{name}.b")
        return deep + functional.conv2d(functional.avg_pool2d(h, 2, ceil_mode=True, count_include_pad=False), params[f"{name}.down"])

    def activate(self, h: Tensor) -> Tensor:
        return getattr(functional, self.activation)(h)

    def normalise(self, h: Tensor, params: Params, name: str) -> Tensor:
        """(h - mean) / sqrt(variance + 1e-5) * scale + shift, over the batch or over each image."""
        axes = AXES[self.norm]
        centred = h - h.mean(axes, keepdim=True)
        normal = centred * (centred.square().mean(axes, keepdim=True) + EPSILON).rsqrt()
        return normal * params[f"{name}.scale"].reshape(-1, 1, 1) + params[f"{name}.shift"].reshape(-1, 1, 1)


@dataclass(frozen=True)
class CellNetwork(NasBench201):
    """The network of one `cell`, without what does not reach its output; `NasBench201.network` makes it.

    hyper holds what `regularisers` ask for, {} where there are none. Where it has "op" [6, 5] too, the operations of the
    cell are weighed by theirs, those of others are not read: the soft forward of a sampled cell (GDAS, Dong and Yang 2019).
    """

    cell: Cell = field(kw_only=True)
    fused: bool = field(default=True, kw_only=True)

    def space(self) -> Space:
        """The axes of the regularisers; `SpaceError` where there are none."""
        return Space(self.further())

    def spares(self) -> bool:
        """Nothing is left to leave out."""
        return False

    def init(self, hyper: Hyper, generator: torch.Generator) -> Params:
        """Those of the whole space that the cell uses: the same draws for every cell."""
        whole, zero = super().init(hyper, generator), self.cell.zero_nodes()
        held = [[op] if edge in self.cell.live_edges() else [] for edge, op in enumerate(self.cell.ops)]
        used = self.sizes(held).keys() - {
            f"cell{stage}.{number}.{edge}.{held[edge][0]}.{kind}"
            for edge in self.cell.live_edges() if EDGES[edge][0] in zero
            for stage in range(STAGES) for number in range(self.cells) for kind in ("weight", "scale")
        }  # fmt: skip
        return {name: value for name, value in whole.items() if name in used}

    def footprint(self, data: ImageData) -> int:
        """Of this cell alone, by the same measure."""
        height, width = self.shape[1:]
        return 4 * data.size * self.channels * height * width * (8 * len(self.cell.live_edges()) * self.cells + 20)

    def plan(self, hyper: Hyper) -> Plan:
        live, weights = self.cell.live_edges(), hyper.get("op")
        ops = enumerate(self.cell.ops)
        return [[(op, None if weights is None else weights[edge, OPS.index(op)])] if edge in live else [] for edge, op in ops]

    def normalise(self, h: Tensor, params: Params, name: str) -> Tensor:
        if not self.fused:
            return super().normalise(h, params, name)
        norm: Any = functional.batch_norm if self.norm == "batch" else functional.instance_norm
        kind = {"training": True} if self.norm == "batch" else {"use_input_stats": True}
        return norm(h, None, None, params[f"{name}.scale"], params[f"{name}.shift"], eps=EPSILON, **kind)
