"""Graph condensation by gradient matching (Jin et al. 2022): GCond with a learned adjacency, GCond-X without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hcdc._tensors import TensorDict
from hcdc.condense.coreset import Coreset
from hcdc.condense.optimise import adam_step, not_finite
from hcdc.condense.task import Task, check_settings
from hcdc.data import GraphData, propagated
from hcdc.errors import ConvergenceError, DataError, InputError
from hcdc.models.classifier import glorot
from hcdc.store import Groups

PART = {"train": 0, "val": 1}

EPS = 1e-5
"""What batch normalisation adds to a variance."""


@dataclass(frozen=True)
class GCond:
    """Synthetic nodes whose gradients match those of the real ones, class by class, along training on them.

    The surrogate is the SGC of the published code, logits = Â^hops X W + b, whose gradients have a closed form. One step
    is an epoch of the method: a fresh surrogate, `outer` matches of its weights' gradients (the bias is left out), and
    `inner` steps of the surrogate on the synthetic nodes between two matches. With `structure` the adjacency is the
    symmetrised sigmoid of an MLP on feature pairs, learned in turns with the features (`turns`), else there is none
    (GCond-X). With `both`, validation nodes are condensed in the same way after the training nodes; else they are
    real ones without edges.
    The defaults are the published ones for Cora and Citeseer, save that the real gradient takes all neighbours.
    """

    structure: bool = True
    epochs: int = 600
    outer: int = 20
    inner: int = 15
    lr: float = 1e-4
    lr_inner: float = 0.01
    hidden: int = 128
    hops: int = 2
    turns: tuple[int, int] = (10, 40)
    both: bool = True

    def __post_init__(self) -> None:
        check_settings(self, counts=("epochs", "outer", "inner", "hidden", "hops"), rates=("lr", "lr_inner"))
        if min(self.turns) < 0 or sum(self.turns) < 1:
            raise InputError("turns", self.turns, "must not be negative, nor both be 0", "use the published (10, 40)")

    @property
    def name(self) -> str:
        return "gcond" if self.structure else "gcond-x"

    def length(self) -> int:
        return self.epochs * (2 if self.both else 1)

    def init(self, task: Task) -> Groups:
        if not isinstance(task.real.train, GraphData):
            raise DataError("method", self.name, "condenses graphs only", "use --method hcdc or random for images")
        start = Coreset(structure="identity")
        parts = {"train": (task.real.train, task.budget.train), "val": (task.real.val, task.budget.val)}
        state: Groups = {}
        for part, (data, count) in parts.items():
            small = start.select(data, count, task.generator(21, PART[part]))
            learned: TensorDict = {"x": small.x}
            if self.structure:
                learned |= _mlp(small.num_features, self.hidden, task.generator(22, PART[part]))
            state |= {f"{part}/learned": learned, f"{part}/moments": {}, f"{part}/labels": {"y": small.y}}
            state[f"{part}/real"] = {"x": propagated(data, self.hops), "y": data.labels()}
        return state

    def step(self, task: Task, state: Groups, number: int) -> tuple[Groups, dict[str, float]]:
        second, epoch = divmod(number, self.epochs)
        part = "val" if second else "train"
        learned, moments = state[f"{part}/learned"], state[f"{part}/moments"]
        y, real, classes = state[f"{part}/labels"]["y"], state[f"{part}/real"], task.real.train.num_classes
        surrogate = Surrogate(learned["x"].shape[1], classes, self.lr_inner, task.generator(23, number))
        on_structure = self.structure and epoch % sum(self.turns) < self.turns[0]
        weight = torch.bincount(y, minlength=classes) / torch.bincount(y).max()
        distance = torch.zeros(())
        for match in range(self.outer):
            leaves = {name: value.detach().requires_grad_((name != "x") == on_structure) for name, value in learned.items()}
            wanted = [name for name, leaf in leaves.items() if leaf.requires_grad]
            x = self._propagated(leaves)
            if match:
                surrogate.train(x.detach(), y, self.inner)
            target = surrogate.class_gradients(real["x"], real["y"])
            distance = (weight * column_distance(surrogate.class_gradients(x, y), target)).sum()
            slopes = dict(zip(wanted, torch.autograd.grad(distance, [leaves[name] for name in wanted]), strict=True))
            known = {key: value for key, value in moments.items() if key.rsplit(".", 1)[0] in wanted}
            moved, after = adam_step({name: leaves[name] for name in wanted}, slopes, known, dict.fromkeys(wanted, self.lr))
            learned, moments = learned | moved, moments | after
        broken = not_finite({"distance": distance, **learned})
        if broken:
            raise ConvergenceError(f"{self.name}: step {number} left values that are not finite in {', '.join(broken)}; lower `lr`")
        changed = {f"{part}/learned": learned, f"{part}/moments": moments}
        return state | changed, {"distance": float(distance.detach())}

    def extract(self, task: Task, state: Groups) -> tuple[Any, Any]:
        return self._container(task.real.train, state, "train"), self._container(task.real.val, state, "val")

    def _container(self, like: GraphData, state: Groups, part: str) -> GraphData:
        learned, y = state[f"{part}/learned"], state[f"{part}/labels"]["y"]
        real = part == "val" and not self.both
        adjacency = torch.zeros(len(y), len(y)) if real else self._adjacency(learned).detach()
        tensors = {"x": learned["x"], "adjacency": adjacency, "y": y, "mask": torch.ones_like(y, dtype=torch.bool)}
        return like.replace(**tensors).project()

    def _adjacency(self, learned: TensorDict) -> Tensor:
        """[n, n] from the features: the symmetrised sigmoid of three layers on pairs, batch-normalised over all n^2 pairs.

        The first layer of the pair (i, j) is a_i + b_j, whose mean and variance over all pairs are the sums of those of a
        and of b, so that it is normalised before the pairs are made. Channels come first: [width, n^2].
        """
        x = learned["x"]
        if not self.structure:
            return torch.zeros(x.shape[0], x.shape[0])
        a, b = learned["mlp.from"].T @ x.T, learned["mlp.to"].T @ x.T
        spread = a.var(1, correction=0) + b.var(1, correction=0)
        scale = (learned["mlp.scale1"] * (spread + EPS).rsqrt()).unsqueeze(1)
        a, b = scale * (a - a.mean(1, keepdim=True)) + learned["mlp.shift1"].unsqueeze(1), scale * (b - b.mean(1, keepdim=True))
        h = learned["mlp.w2"].T @ (a.unsqueeze(2) + b.unsqueeze(1)).relu().flatten(1)
        h = functional.batch_norm(h.unsqueeze(0), None, None, learned["mlp.scale2"], learned["mlp.shift2"], training=True, eps=EPS).squeeze(0)
        scores = (learned["mlp.w3"].T @ h.relu() + learned["mlp.b3"]).reshape(x.shape[0], x.shape[0])
        weights = ((scores + scores.T) / 2).sigmoid()
        return weights - torch.diag(weights.diag())

    def _propagated(self, learned: TensorDict) -> Tensor:
        x = learned["x"]
        if not self.structure:
            return x
        nodes = x.shape[0]
        graph = GraphData(x, self._adjacency(learned), torch.zeros(nodes, dtype=torch.long), torch.ones(nodes, dtype=torch.bool), 2)
        return propagated(graph, self.hops)


GCOND_X = GCond(structure=False, lr=1e-5)
"""Without an adjacency. At 1e-4 its features outgrow the propagated real ones, which costs a GCN on 70 nodes of Cora 30 %
of accuracy (`recipes/gcond.py`), and no rate is published: a tenth of it is used."""


class Surrogate:
    """A linear classifier of propagated features under training, with its gradients in closed form."""

    def __init__(self, features: int, classes: int, lr: float, generator: torch.Generator) -> None:
        bound = features**-0.5
        self.weight = (2 * torch.rand((features, classes), generator=generator) - 1) * bound
        self.bias = (2 * torch.rand(classes, generator=generator) - 1) * bound
        self.optimiser = torch.optim.Adam([self.weight, self.bias], lr=lr, fused=True)

    def class_gradients(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradient in W of the mean cross-entropy of each class: [classes, d, classes], for x [n, d] and y [n]."""
        onehot = self._onehot(x, y)
        share = onehot / onehot.sum(0).clamp_min(1)
        parts = share.unsqueeze(2) * self._error(x, onehot).unsqueeze(1)  # [n, classes, classes]
        return (x.T @ parts.flatten(1)).reshape(x.shape[1], *parts.shape[1:]).transpose(0, 1)

    def train(self, x: Tensor, y: Tensor, steps: int) -> None:
        """`steps` steps of Adam on the mean cross-entropy of all nodes."""
        onehot = self._onehot(x, y)
        for _ in range(steps):
            error = self._error(x, onehot) / y.numel()
            self.weight.grad, self.bias.grad = x.T @ error, error.sum(0)
            self.optimiser.step()

    def _error(self, x: Tensor, onehot: Tensor) -> Tensor:
        return (x @ self.weight + self.bias).softmax(-1) - onehot

    def _onehot(self, x: Tensor, y: Tensor) -> Tensor:
        return functional.one_hot(y, self.bias.numel()).to(x)


def column_distance(a: Tensor, b: Tensor) -> Tensor:
    """Sum over output units of 1 - cos of the gradients of their incoming weights: [classes, d, units] -> [classes]."""
    return (1 - functional.cosine_similarity(a, b, dim=1, eps=1e-6)).sum(1)


def _mlp(features: int, width: int, generator: torch.Generator) -> TensorDict:
    """The parameters of `_adjacency`; a bias before a normalisation would do nothing, so there is none."""
    shapes = {"from": (features, width), "to": (features, width), "w2": (width, width), "w3": (width, 1)}
    weights = {f"mlp.{name}": glorot(shape, (shape[0], shape[1]), generator) for name, shape in shapes.items()}
    for layer in (1, 2):
        weights |= {f"mlp.scale{layer}": torch.ones(width), f"mlp.shift{layer}": torch.zeros(width)}
    return weights | {"mlp.b3": torch.zeros(1)}
