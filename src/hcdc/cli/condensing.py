"""What `hcdc condense` and `hcdc doctor` do, free of flags."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcdc._progress import bar
from hcdc.cli.answers import Answer, Where, few
from hcdc.cli.artefacts import show
from hcdc.cli.probing import look
from hcdc.errors import InputError, RunExistsError

if TYPE_CHECKING:
    from hcdc.condense import Condenser, Task
    from hcdc.data import Source

FLAGS = {"regularisers": "regularise", "searched": "search"}
"""Flags whose names are not those of the settings that they set."""


@dataclass(frozen=True)
class Asked:
    """What is to be condensed and how: the arguments that `hcdc condense` and `hcdc doctor` share.

    `family` are settings of the model family, `images` choices of `hcdc.run.adjusted`, the folder "train_from" in the place
    of `train`.
    """

    data: str
    size: int
    val_size: int | None
    method: str
    driver: str
    seed: int
    space: str | None
    family: dict[str, Any]
    steps: int | None
    neighbours: int | None
    images: dict[str, Any]
    root: Path | None
    download: bool


@dataclass(frozen=True)
class Condense:
    """The arguments of `hcdc condense`."""

    asked: Asked
    out: Path
    resume: bool
    dry_run: bool
    probe: bool
    where: Where

    def line(self) -> str:
        """The command that makes the same set wherever it is put: without --out and what changes no bit of it."""
        asked, device = self.asked, None if self.where.device == "cpu" else self.where.device
        flags: dict[str, Any] = {"size": asked.size, "val-size": asked.val_size, "method": asked.method, "driver": asked.driver, "seed": asked.seed,
                                 "space": asked.space, "steps": asked.steps, "neighbours": asked.neighbours, "device": device}  # fmt: skip
        flags |= {FLAGS.get(name, name): value for name, value in asked.family.items()}
        pictures = {name.replace("_", "-"): value for name, value in asked.images.items()}
        flags |= {name: value for name, value in pictures.items() if name not in ("soft-labels", "formation") or value not in (False, 1)}
        words = ["hcdc", "condense", asked.data]
        for name, value in flags.items():
            for each in value if isinstance(value, tuple) else (value,):
                words += [] if each is None else [f"--{name}"] if each is True else [f"--{name}", str(each)]
        return shlex.join(words)


def condense(request: Condense) -> Answer:
    """Condense, with checkpoints below `out`; refuses a folder that holds a run unless it is to be resumed."""
    from hcdc.condense import staged
    from hcdc.run import condense_source
    from hcdc.store import Checkpoint, load_card, locked

    checkpoint = Checkpoint(request.out / "checkpoint")
    if request.resume and (request.out / "card.json").exists():
        made = load_card(request.out).command
        if made not in (None, request.line()):
            raise RunExistsError(f"`out` = {request.out}: holds what another command made ({made}); choose another folder")
        checkpoint.remove()
        return show(request.out)
    _refuse_a_run(request, checkpoint.exists)
    source, method, task, needed = _planned(request.asked, request.where)
    if request.dry_run:
        return needed
    sys.stderr.write("".join(f"{line}\n" for line in needed.lines))
    label = f"condensing {source.name} with {method.name}"
    with locked(request.out), request.where.opened() as engine, bar(label) as told:
        _refuse_a_run(request, checkpoint.exists)
        task = replace(task, engine=engine)
        condensed = condense_source(source, task, method, checkpoint=checkpoint, callbacks=[staged(method, told, label)])
        condensed = replace(condensed, card=condensed.card.model_copy(update={"command": request.line()}))
        condensed.save(request.out)
        checkpoint.remove()
        if request.probe:
            look(request.out, condensed, source, engine)
    return show(request.out)


def needs(asked: Asked, where: Where) -> Answer:
    """Steps and memory of what is asked for, none of which is done."""
    return _planned(asked, where)[-1]


def _planned(asked: Asked, where: Where) -> tuple[Source, Condenser, Task, Answer]:
    """The data, the method as it fits the machine, the task, and what `needs` says of them."""
    from hcdc._memory import machine_memory
    from hcdc.condense import HCDC, Bank, check_memory, fitted, stages_of

    source, method, task = _read(asked)
    spreads = isinstance(method, HCDC) and isinstance(method.driver, Bank)
    where.need(spreads, "method", f"{asked.method}, {asked.driver}", "take --method hcdc with its bank, or leave --engine out")
    method = fitted(method, task)
    needed, steps = check_memory(method, task), method.length()
    stages = ", ".join(f"{count} of {stage}" for stage, count in stages_of(method, "condensing").items())
    line = f"{steps} steps ({stages}), about {needed / 2**30:.1f} GiB of memory (of {machine_memory() / 2**30:.1f})"
    lines = (*_columns(source), f"{line}; for an estimate of the time: hcdc doctor, with the same options but --out")
    return source, method, task, Answer({"data": source.name, "method": method.name, "steps": steps, "memory_bytes": needed}, lines)


def doctor(asked: Asked) -> Answer:
    """Check what `condense` would be asked for, without doing it."""
    from hcdc.doctor import check

    source, method, task = _read(asked)
    with bar("trying the model, and timing each part of a run"):
        checkup = check(task, method)
    return Answer(checkup.facts() | {"data": source.name, "method": method.name}, checkup.lines(), checkup.healthy)


def _read(asked: Asked) -> tuple[Source, Condenser, Task]:
    """The data, and what is to be done with it."""
    from hcdc.condense import check_formation
    from hcdc.data import load
    from hcdc.run import adjusted, method_named, task_for, train_from

    source = load(asked.data, asked.root, download=asked.download)
    settings: dict[str, Any] = {"steps": asked.steps, "driver": asked.driver, "neighbours": asked.neighbours}
    choices = dict(asked.images)
    settings["relaxation"] = choices.get("relaxation")
    folder = choices.pop("train_from", None)
    train = None if folder is None else train_from(folder, source)
    if choices.get("soft_labels") and source.kind != "images":
        raise InputError("soft-labels", True, "labels are learned of images with classes only", "leave it out")
    task = task_for(source, size=asked.size, val_size=asked.val_size, seed=asked.seed, family=asked.space, **asked.family)
    method = adjusted(method_named(asked.method, source.kind, problem=task.condensed.problem, **settings), train=train, **choices)
    if source.kind == "images":
        check_formation(source.splits.train.x, choices.get("formation", 1))
    return source, method, task


def _columns(source: Source) -> list[str]:
    """How the target of a table was read, and the columns beside it."""
    data = source.splits.train
    if source.kind != "table":
        return []
    read = f"{data.num_classes} classes" if data.num_classes else "a number"
    return [f"target: {data.target.name}, {read}; columns: {few([column.name for column in data.columns])}"]


def _refuse_a_run(request: Condense, unfinished: bool) -> None:
    if (request.out / "card.json").exists():
        raise RunExistsError(f"`out` = {request.out}: already holds a finished run; choose another folder")
    if unfinished and not request.resume:
        raise RunExistsError(f"`out` = {request.out}: holds an unfinished run; add --resume to go on with it, or choose another folder")
