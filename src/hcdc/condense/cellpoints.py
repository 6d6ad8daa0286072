"""Points (theta, architecture) of NAS-Bench-201, each with a network of its own, and what S_val has to agree with at them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import jacrev

from hcdc._tensors import TensorDict, as_leaves, expand, under
from hcdc._typing import Hyper, Noise, Params
from hcdc.bilevel import Implicit, Neumann, Solver, descend, sensitivities
from hcdc.condense.task import Task
from hcdc.data import ImageData
from hcdc.models import NasBench201, augment, draw
from hcdc.spaces import OPS, Cell, RelaxationName, relaxed

Truth = Literal["synthetic", "trained"]
AUGMENTATION = "augmentation"
"""Of a batch, beside the noise of its network."""


@dataclass(frozen=True)
class Architecture:
    """What is computed at architecture parameters `alpha` [6, 5] under `noise` [6, 5], as `relaxed` says: all operations,
    or, where `kind` is "gdas", those of one sampled cell, at the cost of that cell."""

    kind: RelaxationName
    temperature: float
    alpha: Tensor
    noise: Tensor

    def ops(self) -> Tensor:
        """Weights of the operations [6, 5]."""
        return relaxed(self.alpha, self.noise, self.kind, self.temperature).detach()

    def cell(self) -> Cell:
        """The sampled cell, of a soft architecture the nearest one."""
        return Cell(tuple(OPS[int(option)] for option in self.ops().argmax(-1)))

    def network(self, family: NasBench201, *, fused: bool = False) -> NasBench201:
        return family.network(self.cell(), fused=fused) if self.kind == "gdas" else family

    def gates(self) -> Tensor:
        """Positions [k] in the flat weights of the operations that are computed and have an effect."""
        computed = self.ops() > 0 if self.kind == "gdas" else torch.ones(self.alpha.shape, dtype=torch.bool)
        computed[:, OPS.index("none")] = False
        if self.kind == "gdas":
            live = torch.zeros(len(computed), 1, dtype=torch.bool)
            live[list(self.cell().live_edges())] = True
            computed = computed & live
        return computed.flatten().nonzero().squeeze(1)

    def jacobian(self, gates: Tensor) -> Tensor:
        """d weights of `gates` / d alpha: [k, 30]."""
        found = jacrev(lambda alpha: relaxed(alpha, self.noise, self.kind, self.temperature))(self.alpha)
        return found.reshape(self.alpha.numel(), -1)[gates].detach()


@dataclass(frozen=True, eq=False)
class CellPoint:
    """`params` trained on S_train at `architecture`, with all that does not depend on S_val.

    `sensitivity` d theta / d gate as tensors [k, ...], `jacobian` d gate / d alpha [k, 30], `target` [30] the real
    hypergradient of the loss in alpha, `loss` and `accuracy` the real values that the two readings of S_val are to follow.
    """

    architecture: Architecture
    params: Params
    sensitivity: Params
    gates: Tensor
    jacobian: Tensor
    target: Tensor
    loss: Tensor
    accuracy: Tensor

    def tensors(self) -> TensorDict:
        """Flat names, for a checkpoint; `from_tensors` is the inverse."""
        out = {"alpha": self.architecture.alpha, "noise": self.architecture.noise}
        for group in ("params", "sensitivity"):
            out |= {f"{group}.{name}": value for name, value in getattr(self, group).items()}
        return out | {name: getattr(self, name) for name in ("gates", "jacobian", "target", "loss", "accuracy")}

    @classmethod
    def from_tensors(cls, tensors: TensorDict, kind: RelaxationName, temperature: float) -> CellPoint:
        rest = (tensors[name] for name in ("gates", "jacobian", "target", "loss", "accuracy"))
        architecture = Architecture(kind, temperature, tensors["alpha"], tensors["noise"])
        return cls(architecture, under(tensors, "params."), under(tensors, "sensitivity."), *rest)

    def slope(self, family: NasBench201, val: ImageData, chunk: int) -> tuple[Tensor, Tensor]:
        """(hypergradient of the loss in alpha [30], `Gated.readings` [2]) on `val`, looked at `chunk` images at a time."""
        network = Gated(self.architecture.network(family, fused=True), self.architecture.ops(), self.gates)
        gate, params = network.start().requires_grad_(), as_leaves(self.params)
        total, found = torch.zeros(len(self.gates)), torch.zeros(2)
        for part, share in parts(val, chunk):
            read = share * network.readings(params, {"gate": gate}, part)
            direct, *slopes = torch.autograd.grad(read[0], [gate, *params.values()], materialize_grads=True)
            total = total + direct + self.along(dict(zip(params, slopes, strict=True)))
            found = found + read.detach()
        return self.jacobian.T @ total, found

    def along(self, slopes: Params) -> Tensor:
        """(d theta / d gate)^T slopes: [k]."""
        found = torch.zeros(len(self.gates))
        for name, slope in slopes.items():
            found = found + self.sensitivity[name].flatten(1) @ slope.flatten()
        return found

    def pull(self, family: NasBench201, val: ImageData, weights: tuple[Tensor, Tensor], chunk: int) -> TensorDict:
        """d / d val of <hypergradient in alpha, p> + <readings, q>, for `weights` = (p [30], q [2]), `chunk` images at a time.

        With w = sum_k (J p)_k d theta / d gate_k this is <grad_theta loss, w> + <grad_gate loss, J p> + <readings, q>, whose
        one mixed second derivative is all that is kept alive, and that of a chunk: memory does not grow with `val`.
        """
        p = self.jacobian @ weights[0]
        second = bool(p.any())
        network = Gated(self.architecture.network(family, fused=not second), self.architecture.ops(), self.gates)
        ahead = {name: torch.einsum("k,k...->...", p, value) for name, value in self.sensitivity.items()}
        found: dict[str, list[Tensor]] = {}
        for part, share in parts(val, chunk):
            leaves = as_leaves(part.learnable())
            gate, params = network.start(), dict(self.params)
            if second:
                gate, params = gate.requires_grad_(), as_leaves(params)
            read = network.readings(params, {"gate": gate}, part.replace(**leaves))
            scalar = weights[1] @ read
            if second:
                direct, *slopes = torch.autograd.grad(read[0], [gate, *params.values()], create_graph=True, materialize_grads=True)
                indirect = [(slope * ahead[name]).sum() for name, slope in zip(params, slopes, strict=True)]
                scalar = scalar + direct @ p + torch.stack(indirect).sum()
            for name, slope in derivatives(share * scalar, leaves).items():
                found.setdefault(name, []).append(slope)
        return {name: torch.cat(slopes) for name, slopes in found.items()}


def derivatives(scalar: Tensor, leaves: TensorDict) -> TensorDict:
    """Of `scalar` in `leaves`; 0 in what it does not depend on, as where nothing of an image reaches the output of a cell."""
    if not scalar.requires_grad:
        return {name: torch.zeros_like(value) for name, value in leaves.items()}
    return dict(zip(leaves, torch.autograd.grad(scalar, list(leaves.values()), materialize_grads=True), strict=True))


@dataclass(frozen=True)
class Gated:
    """`network` as a problem whose hyperparameters are {"gate": [k]}, the weights at the flat positions `gates` of `ops`."""

    network: NasBench201
    ops: Tensor
    gates: Tensor

    def start(self) -> Tensor:
        """The weights [k] of the gates themselves."""
        return self.ops.flatten()[self.gates]

    def hyper(self, hyper: Hyper) -> Hyper:
        chosen = torch.zeros(len(self.gates), self.ops.numel()).scatter(1, self.gates.unsqueeze(1), 1.0)
        fixed = self.ops.flatten() * (1 - chosen.sum(0))
        return {"op": (fixed + hyper["gate"] @ chosen).reshape(self.ops.shape)}

    def init(self, hyper: Hyper, generator: torch.Generator) -> Params:
        return self.network.init(hyper, generator)

    def inner(self, params: Params, hyper: Hyper, data: Any) -> Tensor:
        return self.network.inner(params, self.hyper(hyper), data)

    def outer(self, params: Params, hyper: Hyper, data: Any) -> Tensor:
        return self.network.outer(params, self.hyper(hyper), data)

    def readings(self, params: Params, hyper: Hyper, data: Any) -> Tensor:
        """(loss, soft accuracy) [2], from one forward."""
        found = self.network.metrics(params, self.hyper(hyper), data)
        return torch.stack([found["loss"], found["soft_accuracy"]])


@dataclass(frozen=True)
class CellMeasure:
    """How a point is measured.

    `synthetic` solves the systems of d theta / d gate, H and M taken on `hessian_batch` images of S_train. The real
    hypergradient is that along theta^S, on `real_batch` validation images. `truth` says whose real validation values S_val
    is to rank by: those of theta^S ("synthetic"), or of the same cell trained on the real data by the task's full recipe
    ("trained", of sampled cells only). No more than `chunk` images are looked at at once.
    """

    synthetic: Implicit = Implicit(Neumann(2), damping=1e-2)
    hessian_batch: int = 128
    real_batch: int = 512
    truth: Truth = "synthetic"
    chunk: int = 128
    bf16: bool = True

    def __call__(self, task: Task, train: ImageData, params: Params, architecture: Architecture, seed: int) -> CellPoint:
        """Measure `params`, trained on `train` at `architecture`."""
        family: Any = task.condensed.problem
        gates = architecture.gates()
        some = train.take(torch.randperm(train.size, generator=task.generator(41, seed))[: self.hessian_batch])
        problem = Gated(architecture.network(family), architecture.ops(), gates)
        hyper = {"gate": problem.start()}
        if len(gates):
            found, _ = sensitivities(problem, expand(params, 1), expand(hyper, 1), some, self.synthetic)
            sensitivity = {name: compact(value[0].detach()) for name, value in found.items()}
        else:
            sensitivity = {name: torch.zeros(0, *value.shape) for name, value in params.items()}
        real = task.real.val.take(torch.randperm(task.real.val.size, generator=task.generator(42, seed))[: self.real_batch])
        nothing = torch.zeros(())
        point = CellPoint(architecture, params, sensitivity, gates, architecture.jacobian(gates), nothing, nothing, nothing)
        target, _ = point.slope(family, real, self.chunk)
        loss, accuracy = self.values(task, architecture, params, real, seed)
        return CellPoint(architecture, params, sensitivity, gates, point.jacobian, target, loss, accuracy)

    def values(self, task: Task, architecture: Architecture, params: Params, real: ImageData, seed: int) -> tuple[Tensor, Tensor]:
        """(loss, accuracy) on the real validation images."""
        family: Any = task.condensed.problem
        if self.truth == "trained":
            network = architecture.network(family, fused=True)
            start = network.init({"op": architecture.ops()}, task.generator(43))
            params = CellFit(task.full.solver, self.bf16)(network, start, task.real.train, seed=seed)
        return judged(architecture.network(family, fused=True), params, {"op": architecture.ops()}, real, self.chunk)


@torch.no_grad()
def judged(network: NasBench201, params: Params, hyper: Hyper, data: ImageData, chunk: int) -> tuple[Tensor, Tensor]:
    """(loss, accuracy) on `data`, `chunk` images at a time."""
    loss, accuracy = torch.zeros(()), torch.zeros(())
    for part, share in parts(data, chunk):
        found = network.metrics(params, hyper, part)
        loss, accuracy = loss + share * found["loss"], accuracy + share * found["accuracy"]
    return loss, accuracy


@dataclass(frozen=True)
class CellFit:
    """Trains one network by `solver`, in memory with the channels last: under autocast to bfloat16 where `bf16` asks for it,
    every batch under one draw of `augmentation`. What it returns lies in memory as it would if read from a file, since the layout
    decides the last bits of what is computed with it."""

    solver: Solver
    bf16: bool = False
    augmentation: tuple[str, ...] = ()

    def __call__(self, network: NasBench201, start: Params, train: ImageData, *, seed: int, hyper: Hyper | None = None) -> Params:
        """Parameters trained from `start` on `train` at `hyper`, {} where it is left out."""
        at = {} if hyper is None else hyper

        def drawn(batch: ImageData, generator: torch.Generator) -> Noise:
            noise = network.noise(batch, generator)
            return noise | ({AUGMENTATION: draw(self.augmentation, generator)} if self.augmentation else {})

        def loss(params: Params, batch: ImageData, noise: Noise) -> Tensor:
            own = dict(noise)
            augmentation = own.pop(AUGMENTATION, None)
            if augmentation is not None:
                batch = batch.replace(x=augment(batch.x, augmentation))
            with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=self.bf16):
                return network.noisy(params, at, batch, own)

        laid = {name: channels_last(value) for name, value in start.items()}
        found = descend(loss, laid, train.replace(x=channels_last(train.x)), self.solver, seed=seed, draws=drawn)
        return {name: compact(value) for name, value in found.items()}


def channels_last(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value


def compact(value: Tensor) -> Tensor:
    """A copy that lies in memory as one that is read from a file does: products of views are rounded otherwise."""
    return value.clone(memory_format=torch.contiguous_format)


def parts(data: ImageData, chunk: int) -> Iterator[tuple[ImageData, float]]:
    """Even parts of about `chunk` images in their order, and the share of each."""
    for index in torch.arange(data.size).tensor_split(-(-data.size // chunk)):
        yield data.take(index), len(index) / data.size
