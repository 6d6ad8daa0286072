"""A `torch.nn.Module` of the user's own as a `Bilevel` problem."""

from __future__ import annotations

import contextlib
import copy
import inspect
import weakref
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hcdc._tensors import digest
from hcdc._typing import Hyper, Params
from hcdc.data import GraphData, Sparse
from hcdc.errors import HcdcError, InputError, ModelError, SpaceError
from hcdc.models.classifier import squared
from hcdc.models.misfit import Criterion, check_criterion, criterion_of, metrics_of, misfit
from hcdc.spaces import Space

DECAY = "log10_decay"
"""The hyperparameter that is a weight decay without more being said: a penalty 10^log10_decay / 2 ||theta||^2."""

SAMPLE = 64
"""Examples on which one model is looked at."""


class Batch(NamedTuple):
    """What a loss of the user's own is given: inputs [n, ...] and labels [n]."""

    x: Tensor
    y: Tensor


class GraphBatch(NamedTuple):
    """The same of a graph: features [n, d], edges [2, E] with weights [E], and labels [m] of the `nodes` [m] in the loss."""

    x: Tensor
    edge_index: Tensor
    edge_weight: Tensor
    nodes: Tensor
    y: Tensor


UserLoss = Callable[[nn.Module, Hyper, Any], Tensor]
"""loss(module, hyper, batch) -> scalar; `module` is to be called, and its `parameters()` are those in training."""


@dataclass(frozen=True, eq=False)
class ModuleProblem:
    """inner = loss(module, hyper, batch), by default misfit(module(x, **hyper), y) + 10^log10_decay / 2 ||theta||^2.

    `model` is a function that makes the module or a module whose layers have `reset_parameters`; either is initialised
    from a generator of its own and leaves the global one untouched. Of `axes`, those that `forward` names are passed to
    it, as scalars where an axis has no number (`gate`) and as one tensor where axes are numbered (`gate.0`, `gate.1`);
    choices are weights over their options. On graphs the module is called as module(x, edge_index, edge_weight=...),
    the weights only where `forward` names them. The outer criterion is the misfit of the validation outputs
    (`criterion`), or `val_loss`. Modules run in evaluation mode: dropout is off, buffers are frozen, and batch
    normalisation uses the statistics that it was made with. What user code raises becomes a `ModelError`.
    """

    model: Callable[[], nn.Module] | nn.Module
    axes: Space
    num_classes: int
    loss: UserLoss | None = None
    val_loss: UserLoss | None = None
    criterion: Criterion = "loss"
    template: nn.Module = field(init=False, repr=False)
    _measured: dict[tuple[str, int], int] = field(init=False, repr=False, default_factory=lambda: {})

    def __post_init__(self) -> None:
        check_criterion(self.criterion, self.num_classes)
        if not callable(self.model):
            raise InputError("model", self.model, "must be a module or a function that makes one", "pass the class or a lambda")
        template = self._made(torch.Generator().manual_seed(0))
        object.__setattr__(self, "template", template)
        if not any(value.requires_grad for value in template.parameters()):
            raise InputError("model", type(template).__name__, "has no parameter to train", "give it one")
        several = [name for name in self.axes.axes if name.startswith(f"{DECAY}.")]
        if len(several) > 1 and DECAY not in self.read_by_forward():
            raise SpaceError("space", several, f"{DECAY} is one weight decay of all parameters, unless `forward` names it", f"name one axis {DECAY}")
        if any(value.device.type != "cpu" for value in template.parameters()):
            raise InputError("model", type(template).__name__, "must be on the CPU, where condensing works", "call .cpu() on it")

    def space(self) -> Space:
        return self.axes

    def init(self, hyper: Hyper, generator: torch.Generator) -> Params:
        """Parameters that require gradients; the others stay as the module has them."""
        made = self._made(generator)
        return {name: value.detach().clone() for name, value in made.named_parameters() if value.requires_grad}

    def inner(self, params: Params, hyper: Hyper, data: Any) -> Tensor:
        batch = batch_of(data)
        if self.loss is not None:
            return self._called(self.loss, params, hyper, batch)
        return misfit(self.outputs(params, hyper, data), batch.y, self.num_classes) + self._penalty(params, hyper)

    def outer(self, params: Params, hyper: Hyper, data: Any) -> Tensor:
        if self.val_loss is not None:
            return self._called(self.val_loss, params, hyper, batch_of(data))
        return criterion_of(self.outputs(params, hyper, data), data.labels(), self.num_classes, self.criterion)

    def metrics(self, params: Params, hyper: Hyper, data: Any) -> dict[str, Tensor]:
        """See `metrics_of`; the loss is `val_loss` where there is one."""
        found = metrics_of(self.outputs(params, hyper, data), data.labels(), self.num_classes)
        return found if self.val_loss is None else found | {"loss": self.outer(params, hyper, data)}

    def outputs(self, params: Params, hyper: Hyper, data: Any) -> Tensor:
        """[m, classes], or [m] of a regression, a row an example that enters the loss."""
        batch, point = batch_of(data), self.point(hyper)
        named = {name: point[name] for name in self.read_by_forward()}
        if isinstance(batch, GraphBatch):
            weights = {"edge_weight": batch.edge_weight} if self.weighted else {}
            found = self._forward(params, (batch.x, batch.edge_index), weights | named)[batch.nodes]
        else:
            found = self._forward(params, (batch.x,), named)
        allowed = [(len(batch.y), self.num_classes)] if self.num_classes else [(len(batch.y),), (len(batch.y), 1)]
        if tuple(found.shape) not in allowed:
            rule = f"must have shape {' or '.join(str(list(shape)) for shape in allowed)}, a row an example"
            raise InputError("forward", list(found.shape), rule, "return logits, or one number an example for a regression")
        return found

    def point(self, hyper: Hyper) -> Hyper:
        """The tensors that user code sees: a hyperparameter whose name has no number loses its first dimension, [1]."""
        return {name: value.squeeze(0) if name in self.axes.axes else value for name, value in hyper.items()}

    def read_by_forward(self) -> list[str]:
        """The hyperparameters that `forward` names; all but `log10_decay` where it takes **hyper."""
        groups = dict.fromkeys(name.split(".")[0] for name in self.axes.axes)
        known = inspect.signature(self.template.forward).parameters
        rest = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
        return [name for name in groups if name in known or (rest and name != DECAY)]

    @property
    def weighted(self) -> bool:
        """Whether `forward` takes the weights of edges, so that they can be learned."""
        return "edge_weight" in inspect.signature(self.template.forward).parameters

    def footprint(self, data: Any) -> int:
        """What one model saves for its backward pass, measured on at most `SAMPLE` examples, three times over."""
        key = (type(data).__name__, data.size)
        if key not in self._measured:
            some = sample(data)
            self._measured[key] = 3 * round(self._saved(some) * data.size / some.size)
        return self._measured[key]

    @torch.no_grad()
    def behaviour(self, train: Any, val: Any) -> str:
        """Hash of one untrained model and of its losses on both parts, which other code at the same place changes."""
        generator = torch.Generator().manual_seed(0)
        hyper = self.axes.relax(self.axes.sample(generator))
        params = self.init(hyper, generator)
        return digest((params | {"inner": self.inner(params, hyper, train), "outer": self.outer(params, hyper, val)}).items())

    def card(self) -> dict[str, Any]:
        """What can be said of the model without its code: import path where it has one, sizes, criterion."""
        shapes = {name: list(value.shape) for name, value in self.template.named_parameters() if value.requires_grad}
        losses = {name: _path(value) for name, value in (("loss", self.loss), ("val_loss", self.val_loss)) if value is not None}
        path = _path(type(self.model) if isinstance(self.model, nn.Module) else self.model)
        facts = {"num_classes": self.num_classes, "criterion": self.criterion, "parameters": shapes}
        return {"family": "module", "import": path, "class": type(self.template).__name__, **facts, **losses}

    def __repr__(self) -> str:
        return f"ModuleProblem({self.card()})"

    def _made(self, generator: torch.Generator) -> nn.Module:
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(devices=[]), users("model"):
            torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
            if isinstance(self.model, nn.Module):
                made = copy.deepcopy(self.model)
                for layer in made.modules():
                    reset: Any = getattr(layer, "reset_parameters", None)
                    if callable(reset):
                        reset()
            else:
                made = self.model()
        if not isinstance(cast("object", made), nn.Module):
            raise InputError("model", type(made).__name__, "must make a torch.nn.Module", "return the module")
        return made.eval()

    def _penalty(self, params: Params, hyper: Hyper) -> Tensor | float:
        if DECAY not in hyper or DECAY in self.read_by_forward():
            return 0.0
        return 10 ** hyper[DECAY].squeeze() / 2 * squared(params)

    def _forward(self, params: Params, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> Tensor:
        words = ", ".join([*("x", "edge_index")[: len(inputs)], *(f"{name}=..." for name in named)])
        with users("forward", f"module({words}), with the axes of the space that it names"):
            return functional_call(self.template, params | self._frozen(), inputs, named)

    def _called(self, loss: UserLoss, params: Params, hyper: Hyper, batch: Any) -> Tensor:
        swapped = {f"module.{name}": value for name, value in (params | self._frozen()).items()}
        with users(getattr(loss, "__name__", "loss")):
            found: Any = functional_call(_Lossy(self.template, loss), swapped, (self.point(hyper), batch))
        if not isinstance(found, Tensor) or found.ndim:
            shown = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError("loss", shown, "must return a scalar tensor", "take the mean over the examples")
        return found

    def _frozen(self) -> Params:
        """Copies, since a forward pass may write into its buffers."""
        return {name: value.clone() for name, value in self.template.named_buffers()}

    def _saved(self, data: Any) -> int:
        hyper = self.axes.relax(self.axes.sample(torch.Generator().manual_seed(0)))
        params = {name: value.requires_grad_() for name, value in self.init(hyper, torch.Generator().manual_seed(0)).items()}
        total = sum(value.numel() * value.element_size() for value in params.values())

        def pack(value: Tensor) -> Tensor:
            nonlocal total
            total += value.numel() * value.element_size()
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            self.inner(params, hyper, data)
        return total


class _Lossy(nn.Module):
    """A module and a loss as one module, so that `functional_call` swaps the parameters that the loss sees."""

    def __init__(self, module: nn.Module, loss: UserLoss) -> None:
        super().__init__()
        self.module, self.loss = module, loss

    def forward(self, hyper: Hyper, batch: Any) -> Tensor:
        return self.loss(self.module, hyper, batch)


def sample(data: Any, count: int = SAMPLE) -> Any:
    """The first `count` examples; a graph whole."""
    return data if isinstance(data, GraphData) or data.size <= count else data.take(torch.arange(count))


_GRAPHS: weakref.WeakKeyDictionary[GraphData, GraphBatch] = weakref.WeakKeyDictionary()
"""What was made of sparse graphs, for as long as their containers live."""


def batch_of(data: Any) -> Batch | GraphBatch:
    """What user code is given of a container. Edges that are being learned are all pairs; otherwise those with a weight.

    A container with sparse parts must have been here once outside of any `torch.func` transform, which cannot take
    sparse tensors apart; what was made of it then is kept with it.
    """
    if not isinstance(data, GraphData):
        return Batch(data.x, data.y)
    if data in _GRAPHS:
        return _GRAPHS[data]
    x = data.x.dense() if isinstance(data.x, Sparse) else data.x
    if isinstance(data.adjacency, Sparse):
        index, weights = data.adjacency.coo()
    else:
        wanted = torch.ones_like(data.adjacency) - torch.eye(data.size) if data.adjacency.requires_grad else data.adjacency
        index = wanted.nonzero().T
        weights = data.adjacency[index[0], index[1]]
    batch = GraphBatch(x, index, weights, data.nodes, data.labels())
    if isinstance(data.adjacency, Sparse) or isinstance(data.x, Sparse):
        _GRAPHS[data] = batch
    return batch


@contextlib.contextmanager
def users(what: str, called: str = "") -> Generator[None]:
    """Whatever the user's `what` raises becomes a `ModelError`, the original and its traceback as its cause; `called` says how it
    was called."""
    try:
        yield
    except HcdcError:
        raise
    except Exception as error:
        raise ModelError.of(what, error, called) from error


def _path(value: Any) -> str | None:
    """module:name, or None for what no other process could import."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    return None if module in (None, "__main__", "builtins") or "<" in name or not name else f"{module}:{name}"
