"""From plain arguments to a condensed set: what the command line and a ten-line script both call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

from hcdc.bilevel import CG, Bilevel, Implicit
from hcdc.condense import (
    CENTROIDS,
    DC,
    DM,
    DSA,
    GCOND_X,
    HCDC,
    HERDING,
    K_CENTER,
    KIP,
    PATHS,
    RANDOM,
    TM,
    TRAINED_CELLS,
    Algorithm1,
    Bank,
    Budget,
    Callback,
    CellBank,
    CellHCDC,
    CellPaths,
    Condenser,
    Coreset,
    Existing,
    GCond,
    ImageCondenser,
    Measure,
    Task,
    condense,
    default_recipes,
    fitted,
)
from hcdc.data import Source
from hcdc.errors import InputError, SpaceError
from hcdc.models import GraphNet, NasBench201
from hcdc.spaces import RelaxationName, Space
from hcdc.store import CARD, Checkpoint, Condensed, DataCard, load_condensed

GRAPH_METHODS = {"gcond": GCond(), "gcond-x": GCOND_X}
IMAGE_METHODS: dict[str, ImageCondenser] = {
    "dc": DC(steps=25, inner=5, start="real"),
    "dsa": replace(DSA, steps=25, inner=5),
    "dm": DM(steps=300),
    "kip": KIP(steps=150),
    "tm": TM(steps=60, lr=10.0, experts=4, epochs=25, max_start=20),
}
"""At budgets for CPUs, far below the published ones, which are the defaults of the classes; a card records every setting."""

CORESETS = {"random": RANDOM, "herding": HERDING, "k-center": K_CENTER, "centroids": CENTROIDS, "paths": PATHS}
METHODS = ("hcdc", *CORESETS, *GRAPH_METHODS, *IMAGE_METHODS)
ONLY = {"graph": ("paths", *GRAPH_METHODS), "images": tuple(IMAGE_METHODS)}
"""Methods that condense one kind of data and no other."""
HAVE = {
    "train-from": "hcdc has it",
    "relaxation": "hcdc on nasbench201 has it",
    "formation": f"{', '.join(IMAGE_METHODS)}, and hcdc on nasbench201 have it",
    "soft-labels": f"{', '.join(IMAGE_METHODS)} and hcdc have it",
}
"""Which methods have a choice of `adjusted`."""
DRIVERS = ("bank", "algorithm1")
TRAINED = 300
"""Steps of the network by whose embedding herding and k-center compare images."""
IMAGES = Coreset(label="images")
"""Real examples, class proportions kept: what S_val starts from on all but graphs."""


FEW: dict[str, Any] = {"starts": 48, "stages": 1, "chunk": 48, "steps": 200, "batch": 16}
"""Settings of a bank where a point costs more than on the graph families that ship."""


def method_named(
    name: str,
    kind: str = "graph",
    *,
    steps: int | None = None,
    driver: str = "bank",
    neighbours: int | None = None,
    problem: Bilevel | None = None,
    relaxation: RelaxationName | None = None,
) -> Condenser:
    """The condenser of `name` at its defaults for `kind` of data ("graph", "images", "table" or "examples") and, for hcdc,
    for the `problem`: cells are trained, and powers of a graph that have parameters of their own are told apart on S_train.

    `steps` counts what the method learns in: updates of S_val for hcdc, epochs for gcond, steps for dc, dsa, dm, kip
    and tm; the coresets learn nothing and refuse it.
    `relaxation` says how `adjusted` will relax architecture parameters (hcdc on cells).
    `neighbours` bounds how many of a node's neighbours hcdc reads for a real hypergradient; None reads all.
    """
    if steps is not None and steps < 1:
        raise InputError("steps", steps, "must be at least 1", "leave it out to take the method's own number")
    if neighbours is not None and neighbours < 1:
        raise InputError("neighbours", neighbours, "must be at least 1", "leave it out to read all of them")
    if driver not in DRIVERS:
        raise InputError("driver", driver, f"must be one of {', '.join(DRIVERS)}", "choose one of these")
    if name != "hcdc":
        for flag, value, without in (("driver", driver, "bank"), ("neighbours", neighbours, None)):
            if value != without:
                raise InputError(flag, value, f"is for hcdc, and {name} has no such choice", "leave it out")
    _check_kind(name, kind)
    if name in CORESETS:
        if steps is not None:
            raise InputError("steps", steps, f"{name} learns nothing", "leave it out")
        coreset = CORESETS[name]
        if name == "random":
            return coreset if kind == "graph" else replace(coreset, balanced=True)
        return replace(coreset, trained=TRAINED) if kind == "images" and coreset.pick != "uniform" else coreset
    if name in GRAPH_METHODS:
        method = GRAPH_METHODS[name]
        return replace(method, epochs=steps or method.epochs)
    if name in IMAGE_METHODS:
        learned = IMAGE_METHODS[name]
        return replace(learned, steps=steps or learned.steps)
    if name != "hcdc":
        raise InputError("method", name, f"must be one of {', '.join(METHODS)}", "choose one of these")
    if isinstance(problem, NasBench201):
        return _hcdc_on_cells(steps, driver, relaxation)
    _check_neighbours(neighbours, kind, problem)
    apart = problem.hops_apart() if isinstance(problem, GraphNet) else 0
    hcdc = HCDC(train=replace(PATHS, hops=apart) if apart else CENTROIDS, measure=Measure(neighbours=neighbours))
    if kind != "graph":
        hcdc = replace(hcdc, start=IMAGES, measure=Measure(Implicit(CG(1e-2, 10), damping=1e-3)), lr=1e-2)
    if driver == "algorithm1":
        updates, repeats = _repeats(steps, Algorithm1.updates, Algorithm1.repeats)
        return replace(hcdc, driver=Algorithm1(repeats=repeats, updates=updates))
    bank = Bank() if kind == "graph" else Bank(**FEW)
    return replace(hcdc, driver=replace(bank, steps=steps or bank.steps))


def _repeats(steps: int | None, updates: int, repeats: int) -> tuple[int, int]:
    """(updates of a repeat of Algorithm 1, repeats) that make `steps` in all; by default `updates` and `repeats`."""
    if steps is None:
        return updates, repeats
    if steps > updates and steps % updates:
        raise InputError("steps", steps, f"Algorithm 1 begins anew after every {updates}", f"take {updates} or fewer, or a multiple of {updates}")
    return min(updates, steps), max(1, steps // updates)


def _check_neighbours(neighbours: int | None, kind: str, problem: Bilevel | None) -> None:
    """Neighbours are sampled from the propagation that a family keeps; nothing else reads them."""
    if neighbours is None:
        return
    if kind != "graph":
        raise InputError("neighbours", neighbours, "are those of a node, and this data has none", "leave it out")
    if isinstance(problem, GraphNet) and "edge_drop" in problem.regularisers:
        raise InputError("neighbours", neighbours, "cannot be sampled where edges are dropped by a hyperparameter", "leave one of the two out")


def _hcdc_on_cells(steps: int | None, driver: str, relaxation: RelaxationName | None) -> CellHCDC:
    if driver == "algorithm1":
        updates, repeats = _repeats(steps, CellPaths.updates, 2)
        return CellHCDC(driver=CellPaths(repeats=repeats, updates=updates))
    soft = relaxation not in (None, CellHCDC.relaxation)  # computes no single cell that could be trained on the real data
    return replace(CellHCDC() if soft else TRAINED_CELLS, driver=CellBank(steps=steps or CellBank().steps))


def adjusted(
    method: Condenser, *, train: Condenser | None = None, relaxation: RelaxationName | None = None, soft_labels: bool = False, formation: int = 1
) -> Condenser:
    """`method` with S_train made by `train` (hcdc), architecture parameters relaxed as `relaxation` says (hcdc on cells),
    soft labels (hcdc and the condensers of images, these by a teacher) and multi-formation images.

    Raises `InputError` for a choice that `method` does not have.
    """
    chosen: dict[str, Any] = {"train-from": ("train", train), "relaxation": ("relaxation", relaxation)}
    chosen["formation"] = ("formation", None if formation == 1 else formation)
    taught = isinstance(method, ImageCondenser)
    chosen["soft-labels"] = ("teacher" if taught else "soft", (TRAINED if taught else True) if soft_labels else None)
    known = {each.name for each in fields(method)}  # pyright: ignore[reportArgumentType]
    given = {flag: pair for flag, pair in chosen.items() if pair[1] is not None}
    for flag, (name, value) in given.items():
        if name not in known:
            shown = value.name if name == "train" else value
            raise InputError(flag, shown, f"{method.name} has no such choice on this data and space", f"leave it out; {HAVE[flag]}")
    return replace(method, **dict(given.values()))  # pyright: ignore[reportArgumentType]


def train_from(folder: Path, source: Source) -> Existing:
    """S_train of the artefact in `folder`; raises `InputError` where that was made from other data than `source`."""
    condensed = load_condensed(folder)
    if condensed.card.data.sha256 != source.sha256:
        name = condensed.card.data.name
        raise InputError("train-from", str(folder), f"was made from other data ({name}) than {source.name}", "choose an artefact of this data")
    return Existing.of(condensed)


def _check_kind(name: str, kind: str) -> None:
    others = [method for wanted, methods in ONLY.items() if wanted != kind for method in methods]
    if name in others:
        wanted, methods = next((wanted, methods) for wanted, methods in ONLY.items() if name in methods)
        rule = f"{', '.join(methods)} condense {'graphs' if wanted == 'graph' else wanted} only"
        raise InputError("method", name, rule, f"choose one of {', '.join(method for method in METHODS if method not in others)}")


def task_for(
    source: Source, *, size: int, val_size: int | None = None, seed: int = 0, family: str | None = None, space: Space | None = None, **settings: Any
) -> Task:
    """The task of condensing `source` to `size` training and `val_size` (default: the same) validation examples.

    `settings` go to the model family: `order`, `basis`, `hidden`, `criterion`, ...; `space` replaces the family's own.
    """
    if not isinstance(cast("object", source), Source):
        raise InputError("source", type(source).__name__, "must be a hcdc.Source", "load it by name, or write Source.of(name, from_pyg(data))")
    if isinstance(cast("object", space), str):
        raise InputError("space", space, "must be a hcdc.Space", f"write family={space!r} for a family by its name")
    condensed, full = default_recipes(source.splits.train, family, size=size, **settings)
    problem: Any = condensed.problem
    own: Space = problem.space()
    unlike = [] if space is None else own.unlike(space)
    if unlike:
        rule = f"the family reads {', '.join(f'{name}: {own.axes.get(name)}' for name in unlike[:5])}"
        raise SpaceError("space", unlike, rule, "give all of these: numbers with ranges of your own, choices as they are")
    budget = Budget(size, size if val_size is None else val_size)
    return Task(condensed, full, source.splits.real, space or own, budget, seed)


def condense_source(
    source: Source, task: Task, method: Condenser | str = "hcdc", *, checkpoint: Checkpoint | None = None, callbacks: Sequence[Callback] = ()
) -> Condensed:
    """Condense; `method` is a condenser, or a name of `METHODS`, which is `fitted` to the memory that a bank may need."""
    chosen = fitted(method_named(method, source.kind, problem=task.condensed.problem), task) if isinstance(method, str) else method
    card = DataCard.of(source.name, source.sha256, source.kind, source.splits.train)
    return condense(chosen, task, card, checkpoint=checkpoint, callbacks=callbacks)


def condensed_at(folder: Path, source: Source, task: Task, method: Condenser | str) -> Condensed:
    """The artefact in `folder`, made first where there is none, from its checkpoint where there is one; one that is there is
    taken as it is."""
    if not (folder / CARD).exists():
        checkpoint = Checkpoint(folder / "checkpoint")
        condense_source(source, task, method, checkpoint=checkpoint).save(folder)
        checkpoint.remove()
    return load_condensed(folder)
