"""Graph condensation by gradient matching (Jin et al. 2022): GCond with a learned adjacency, GCond-X without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hcdc._tensors import TensorDict
from hcdc.condense.coreset import Coreset, rebuild
from hcdc.condense.optimise import adam_step
from hcdc.condense.task import Task
from hcdc.data import GraphData, propagated
from hcdc.errors import DataError
from hcdc.models.classifier import glorot
from hcdc.store import Groups

PART = {"train": 0, "val": 1}


@dataclass(frozen=True)
class GCond:
    """Synthetic nodes whose gradients match those of the real ones, class by class, along training on them.

    The surrogate is a linear two-layer SGC, logits = Â^hops X W1 W2, whose gradients have a closed form. One step is an
    epoch of the method: fresh weights, `outer` matches, `inner` steps of the surrogate after each. With `structure` the
    adjacency is the symmetrised sigmoid of an MLP on feature pairs, learned in turns with the features (`turns`), else
    edgeless (GCond-X). With `both`, validation nodes are condensed in the same way after the training nodes.
    The defaults are a reduced budget: 100 epochs at 1e-3 in place of the published 600 at 1e-4.
    """

    structure: bool = True
    epochs: int = 100
    outer: int = 20
    inner: int = 15
    lr: float = 1e-3
    lr_inner: float = 0.01
    hidden: int = 256
    hops: int = 2
    turns: tuple[int, int] = (10, 40)
    both: bool = True

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
                learned |= _mlp(small.num_features, 128, task.generator(22, PART[part]))
            state |= {f"{part}/learned": learned, f"{part}/moments": {}, f"{part}/labels": {"y": small.y}}
            state[f"{part}/real"] = {"x": propagated(data, self.hops), "y": data.labels()}
        return state

    def step(self, task: Task, state: Groups, number: int) -> tuple[Groups, dict[str, float]]:
        second, epoch = divmod(number, self.epochs)
        part = "val" if second else "train"
        learned, moments = state[f"{part}/learned"], state[f"{part}/moments"]
        y, real, classes = state[f"{part}/labels"]["y"], state[f"{part}/real"], task.real.train.num_classes
        weights = self._weights(learned["x"].shape[1], classes, task.generator(23, number))
        velocity: TensorDict = {}
        on_structure = self.structure and epoch % sum(self.turns) < self.turns[0]
        distance = torch.zeros(())
        for _ in range(self.outer):
            leaves = {name: value.detach().requires_grad_() for name, value in learned.items()}
            wanted = [name for name in leaves if (name != "x") == on_structure]
            target = class_gradients(real["x"], real["y"], weights, classes)
            found = class_gradients(self._propagated(leaves), y, weights, classes)
            distance = sum((row_distance(a, b) for a, b in zip(found, target, strict=True)), torch.zeros(()))
            slopes = torch.autograd.grad(distance, [leaves[name] for name in wanted])
            chosen = {name: leaves[name] for name in wanted}
            known = {key: value for key, value in moments.items() if key.rsplit(".", 1)[0] in wanted}
            moved, after = adam_step(chosen, dict(zip(wanted, slopes, strict=True)), known, dict.fromkeys(wanted, self.lr))
            learned, moments = learned | moved, moments | after
            weights, velocity = self._train(self._propagated(learned).detach(), y, weights, velocity)
        changed = {f"{part}/learned": learned, f"{part}/moments": moments}
        return state | changed, {"distance": float(distance.detach())}

    def extract(self, task: Task, state: Groups) -> tuple[Any, Any]:
        return self._container(task.real.train, state, "train"), self._container(task.real.val, state, "val")

    def _container(self, like: GraphData, state: Groups, part: str) -> GraphData:
        learned, y = state[f"{part}/learned"], state[f"{part}/labels"]["y"]
        adjacency = self._adjacency(learned).detach()
        tensors = {"x": learned["x"], "adjacency": adjacency, "y": y, "mask": torch.ones_like(y, dtype=torch.bool)}
        return rebuild(like, tensors).project()

    def _adjacency(self, learned: TensorDict) -> Tensor:
        x = learned["x"]
        if not self.structure:
            return torch.zeros(x.shape[0], x.shape[0])
        first = (x @ learned["mlp.from"]).unsqueeze(1) + (x @ learned["mlp.to"]).unsqueeze(0) + learned["mlp.bias1"]
        second = first.relu() @ learned["mlp.w2"] + learned["mlp.bias2"]
        scores = (second.relu() @ learned["mlp.w3"]).squeeze(-1) + learned["mlp.bias3"]
        weights = ((scores + scores.T) / 2).sigmoid()
        return weights - torch.diag(weights.diag())

    def _propagated(self, learned: TensorDict) -> Tensor:
        x, adjacency = learned["x"], self._adjacency(learned)
        nodes = x.shape[0]
        graph = GraphData(x, adjacency, torch.zeros(nodes, dtype=torch.long), torch.ones(nodes, dtype=torch.bool), 2)
        return propagated(graph, self.hops) if self.structure else x

    def _weights(self, features: int, classes: int, generator: torch.Generator) -> TensorDict:
        h = self.hidden
        return {"w1": glorot((features, h), (features, h), generator), "w2": glorot((h, classes), (h, classes), generator)}

    def _train(self, x: Tensor, y: Tensor, weights: TensorDict, moments: TensorDict) -> tuple[TensorDict, TensorDict]:
        for _ in range(self.inner):
            leaves = {name: value.detach().requires_grad_() for name, value in weights.items()}
            loss = functional.cross_entropy(x @ leaves["w1"] @ leaves["w2"], y)
            slopes = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
            weights, moments = adam_step(leaves, slopes, moments, dict.fromkeys(leaves, self.lr_inner))
        return weights, moments


def class_gradients(x: Tensor, y: Tensor, weights: TensorDict, classes: int) -> tuple[Tensor, Tensor]:
    """Gradients of the mean cross-entropy of each class, of x W1 W2: ([classes, d, h], [classes, h, classes])."""
    hidden = x @ weights["w1"]
    onehot = functional.one_hot(y, classes).to(x)
    error = (hidden @ weights["w2"]).softmax(-1) - onehot
    by_class = error.unsqueeze(0) * (onehot / onehot.sum(0).clamp_min(1)).T.unsqueeze(-1)
    first = torch.einsum("nd,cnh->cdh", x, by_class @ weights["w2"].T)
    return first, torch.einsum("nh,cnk->chk", hidden, by_class)


def row_distance(a: Tensor, b: Tensor) -> Tensor:
    """Sum over classes and output units of 1 - cos of the gradients of their incoming weights."""
    return (1 - functional.cosine_similarity(a, b, dim=1, eps=1e-6)).sum()


def _mlp(features: int, width: int, generator: torch.Generator) -> TensorDict:
    shapes = {"from": (features, width), "to": (features, width), "w2": (width, width), "w3": (width, 1)}
    weights = {f"mlp.{name}": glorot(shape, (shape[0], shape[1]), generator) for name, shape in shapes.items()}
    return weights | {"mlp.bias1": torch.zeros(width), "mlp.bias2": torch.zeros(width), "mlp.bias3": torch.zeros(())}
