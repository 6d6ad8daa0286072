"""What each command does, free of flags: a request in, an `Answer` out."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hcdc.errors import InputError, RunExistsError


class Answer(NamedTuple):
    """`facts` for --json, `lines` for a person; `good` is False where the command ends with exit code 2."""

    facts: dict[str, Any]
    lines: tuple[str, ...]
    good: bool = True


@dataclass(frozen=True)
class Condense:
    """The arguments of `hcdc condense`; `family` are settings of the model family."""

    data: str
    out: Path
    size: int
    val_size: int | None
    method: str
    driver: str
    seed: int
    space: str | None
    family: dict[str, Any]
    steps: int | None
    neighbours: int | None
    resume: bool
    root: Path | None
    download: bool = False
    dry_run: bool = False


def condense(request: Condense) -> Answer:
    """Condense, with checkpoints below `out`; refuses a folder that holds a run unless it is to be resumed."""
    from hcdc.condense import check_memory, machine_memory
    from hcdc.data import load
    from hcdc.run import condense_source, method_named, task_for
    from hcdc.store import Checkpoint, locked

    checkpoint = Checkpoint(request.out / "checkpoint")
    if request.resume and (request.out / "card.json").exists():
        return show(request.out)
    _refuse_a_run(request, checkpoint.exists)
    source = load(request.data, request.root, download=request.download)
    method = method_named(request.method, source.kind, steps=request.steps, driver=request.driver, neighbours=request.neighbours)
    task = task_for(source, size=request.size, val_size=request.val_size, seed=request.seed, family=request.space, **request.family)
    needed, steps = check_memory(method, task), method.length()
    line = f"{steps} steps, about {needed / 2**30:.1f} GiB of memory (of {machine_memory() / 2**30:.1f})"
    if request.dry_run:
        return Answer({"data": source.name, "method": method.name, "steps": steps, "memory_bytes": needed}, (line,))
    sys.stderr.write(line + "\n")
    with locked(request.out), _bar(f"condensing {source.name} with {method.name}") as update:
        _refuse_a_run(request, checkpoint.exists)
        condensed = condense_source(source, task, method, checkpoint=checkpoint, callbacks=[lambda done, total, metrics: update(done, total)])
        condensed.save(request.out)
        checkpoint.remove()
    return show(request.out)


def doctor(request: Condense) -> Answer:
    """Check what `condense` would be asked for, without doing it."""
    from hcdc.data import load
    from hcdc.doctor import check
    from hcdc.run import method_named, task_for

    source = load(request.data, request.root, download=request.download)
    method = method_named(request.method, source.kind, steps=request.steps, driver=request.driver, neighbours=request.neighbours)
    task = task_for(source, size=request.size, val_size=request.val_size, seed=request.seed, family=request.space, **request.family)
    checkup = check(task, method)
    return Answer(checkup.facts() | {"data": source.name, "method": method.name}, checkup.lines(), checkup.healthy)


def _refuse_a_run(request: Condense, unfinished: bool) -> None:
    if (request.out / "card.json").exists():
        raise RunExistsError(f"`out` = {request.out}: already holds a finished run; choose another folder")
    if unfinished and not request.resume:
        raise RunExistsError(f"`out` = {request.out}: holds an unfinished run; add --resume to go on with it, or choose another folder")


def evaluate(folder: Path, configs: int, seeds: int, config_seed: int, cache: Path | None, root: Path | None) -> Answer:
    """Judge an artefact; writes evaluation.json and report.html beside it."""
    from hcdc.data import load
    from hcdc.evaluate import Judge, require_report, verdict, write_report
    from hcdc.store import Ledger, load_condensed, write_json

    require_report()
    judge = Judge(configs, seeds, config_seed, Ledger(cache or folder / "trainings"))
    condensed = load_condensed(folder)
    source = load(condensed.card.data.name, root)
    with _bar("training") as update:
        evaluation = judge(condensed, source, lambda label, done, total: update(done, total, f"training on {label}"))
    judged = verdict(evaluation.facts)
    facts = evaluation.facts | {"verdict": judged.light, "sentence": judged.sentence}
    write_json(folder / "evaluation.json", facts | {"artefact": condensed.card.tensors_sha256})
    command = f"hcdc evaluate {folder} --configs {configs} --seeds {seeds} --config-seed {config_seed}"
    report = write_report(folder / "report.html", condensed, evaluation, _trials(folder), command=command)
    return Answer(facts | {"report": str(report)}, (f"{judged.light.upper()}: {judged.sentence}", *judged.lines, f"Report: {report}"))


def search(folder: Path, algorithm: str, trials: int, seed: int) -> Answer:
    """Search on the condensed set; writes search-ALGORITHM.json with every trial."""
    from hcdc.condense import recipe_from_card
    from hcdc.search import ALGORITHMS, Objective
    from hcdc.store import load_condensed, write_json

    if algorithm not in ALGORITHMS:
        raise InputError("algorithm", algorithm, f"must be one of {', '.join(ALGORITHMS)}", "choose one of these")
    condensed = load_condensed(folder)
    recipe = recipe_from_card(condensed.card.recipes["condensed"])
    objective = Objective(recipe, condensed.space, condensed.train, condensed.val)
    found = ALGORITHMS[algorithm].run(objective, trials=trials, seed=seed)
    ranked = sorted(found, key=lambda trial: trial.score)
    best, seconds = ranked[0], sum(trial.seconds for trial in found)
    facts = {"algorithm": algorithm, "trials": len(found), "seed": seed, "best_config": best.config, "best_score": best.score, "seconds": seconds}
    write_json(folder / f"search-{algorithm}.json", facts | {"all": [trial._asdict() for trial in ranked]})
    top = [f"  {trial.score:.4f}  {_config(trial.config)}" for trial in ranked[:5]]
    head = f"{len(found)} trials by {algorithm} in {seconds:.1f} s; the best five by {condensed.card.recipes['condensed']['problem']['criterion']}:"
    return Answer(facts, (head, *top, "Retrain the best few on the full data before you choose."))


def show(folder: Path) -> Answer:
    """The card, and the verdict where there is one."""
    from hcdc.store import load_card, read_json

    card = load_card(folder)
    facts: dict[str, Any] = {"folder": str(folder), **card.model_dump()}
    unit, classes = card.data.unit, f"{card.data.num_classes} classes" if card.data.num_classes else "a regression"
    lines = [
        f"{folder}: {card.data.name} condensed by {card.method}, seed {card.seed}, in {card.seconds:.1f} s ({card.hardware})",
        f"  {card.sizes['train']} {unit} to train, {card.sizes['val']} to validate, {classes}",
        f"  space: {', '.join(card.space)}; family: {card.recipes['condensed']['problem']['family']}",
    ]
    if (folder / "evaluation.json").is_file():
        judged = read_json(folder / "evaluation.json")
        facts["evaluation"] = judged
        lines.append(f"  verdict {judged['verdict']}: {judged['sentence']}")
    else:
        lines.append(f"  not judged yet: hcdc evaluate {folder}")
    return Answer(facts, tuple(lines))


def verify(folder: Path) -> Answer:
    """Load everything; whatever is wrong raises `FormatError`."""
    from hcdc.condense import recipe_from_card
    from hcdc.store import load_condensed

    condensed = load_condensed(folder)
    for recipe in condensed.card.recipes.values():
        if recipe["problem"].get("family") != "module":  # a model of the user's own is not in the artefact
            recipe_from_card(recipe)
    facts = {"folder": str(folder), "whole": True, "format": condensed.card.format, "tensors_sha256": condensed.card.tensors_sha256}
    return Answer(facts, (f"{folder} is whole: card and tensors fit each other, format {condensed.card.format}",))


def _trials(folder: Path) -> list[Any]:
    """The trials of the searches made on this artefact, best first."""
    from hcdc.search import Trial
    from hcdc.store import read_json

    found = [Trial(**trial) for path in sorted(folder.glob("search-*.json")) for trial in read_json(path)["all"]]
    return sorted(found, key=lambda trial: trial.score)


def _config(config: dict[str, Any]) -> str:
    return "  ".join(f"{name}={value:.3f}" if isinstance(value, float) else f"{name}={value}" for name, value in config.items())


@contextlib.contextmanager
def _bar(label: str) -> Generator[Callable[..., None]]:
    """A progress bar on stderr: update(done, total, new label or None)."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(label, total=None)

        def update(done: int, total: int, description: str | None = None) -> None:
            progress.update(bar, completed=done, total=total, description=description or label)

        yield update
