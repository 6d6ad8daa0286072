"""What each command does, free of flags: a request in, an `Answer` out."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hcdc._progress import bar
from hcdc.engine import Engine, local
from hcdc.errors import DataError, FormatError, InputError, RunExistsError

if TYPE_CHECKING:
    from hcdc.condense import Condenser, Task
    from hcdc.data import Source
    from hcdc.evaluate import Verdict
    from hcdc.search import Trial
    from hcdc.store import Card, Condensed


class Answer(NamedTuple):
    """`facts` for --json, `lines` for a person; `good` is False where the command ends with exit code 2."""

    facts: dict[str, Any]
    lines: tuple[str, ...]
    good: bool = True


ENGINES = ("local", "ray")
DEVICES = ("cpu", "cuda", "auto")
FLAGS = {"regularisers": "regularise", "searched": "search"}
"""Flags whose names are not those of the settings that they set."""
NAMED = 8
"""Axes of a space that are listed for a person."""


@dataclass(frozen=True)
class Where:
    """The arguments that say where the work is done."""

    engine: str = "local"
    address: str | None = None
    workers: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise InputError("engine", self.engine, f"must be one of {', '.join(ENGINES)}", "choose one of these")
        for name in ("address", "workers"):
            if self.engine == "local" and getattr(self, name) is not None:
                raise InputError(name, getattr(self, name), "is for the ray engine", "add --engine ray, or leave it out")
        if self.device.partition(":")[0] not in DEVICES:
            raise InputError("device", self.device, f"must be one of {', '.join(DEVICES)}", "choose one of these")
        if self.engine != "local" and self.device != "cpu":
            raise InputError("device", self.device, f"is for the local engine; {self.engine} works on CPUs", "leave one of the two out")

    def need(self, spreads: bool, argument: str, value: str, remedy: str) -> None:
        """Refuse another engine than the local one for what has nothing to spread."""
        if self.engine != "local" and not spreads:
            raise InputError(argument, value, f"has no pieces that engine {self.engine} could spread", remedy)

    def doing(self, work: Callable[[], Answer]) -> Callable[[], Answer]:
        """`work` on the device."""

        def done() -> Answer:
            from hcdc._device import on

            with on(self.device):
                return work()

        return done

    @contextlib.contextmanager
    def opened(self) -> Generator[Engine]:
        """The engine, for as long as the context lasts; what Ray has to say of lost workers goes to stderr."""
        if self.engine == "local":
            yield local
            return
        from hcdc.integrations.ray import Ray

        with contextlib.redirect_stdout(sys.stderr), Ray(self.address, self.workers) as engine:
            yield engine


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
    from hcdc.cli.probing import look
    from hcdc.condense import HCDC, Bank, check_memory, fitted, machine_memory, staged, stages_of
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
    source, method, task = _read(request.asked)
    spreads = isinstance(method, HCDC) and isinstance(method.driver, Bank)
    request.where.need(
        spreads, "method", f"{request.asked.method}, {request.asked.driver}", "take --method hcdc with its bank, or leave --engine out"
    )
    method = fitted(method, task)
    needed, steps = check_memory(method, task), method.length()
    stages = ", ".join(f"{count} of {stage}" for stage, count in stages_of(method, "condensing").items())
    line = f"{steps} steps ({stages}), about {needed / 2**30:.1f} GiB of memory (of {machine_memory() / 2**30:.1f})"
    lines = (*_columns(source), f"{line}; for an estimate of the time: hcdc doctor, with the same options")
    if request.dry_run:
        return Answer({"data": source.name, "method": method.name, "steps": steps, "memory_bytes": needed}, lines)
    sys.stderr.write("".join(f"{line}\n" for line in lines))
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


def _columns(source: Source) -> list[str]:
    """How the target of a table was read, and the columns beside it."""
    data = source.splits.train
    if source.kind != "table":
        return []
    read = f"{data.num_classes} classes" if data.num_classes else "a number"
    return [f"target: {data.target.name}, {read}; columns: {few([column.name for column in data.columns])}"]


def _read(asked: Asked) -> tuple[Source, Condenser, Task]:
    """The data, and what is to be done with it."""
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
    return source, method, task


def doctor(asked: Asked) -> Answer:
    """Check what `condense` would be asked for, without doing it."""
    from hcdc.doctor import check

    source, method, task = _read(asked)
    with bar("trying the model, and timing each part of a run"):
        checkup = check(task, method)
    return Answer(checkup.facts() | {"data": source.name, "method": method.name}, checkup.lines(), checkup.healthy)


def _refuse_a_run(request: Condense, unfinished: bool) -> None:
    if (request.out / "card.json").exists():
        raise RunExistsError(f"`out` = {request.out}: already holds a finished run; choose another folder")
    if unfinished and not request.resume:
        raise RunExistsError(f"`out` = {request.out}: holds an unfinished run; add --resume to go on with it, or choose another folder")


@dataclass(frozen=True)
class Evaluate:
    """The arguments of `hcdc evaluate`."""

    folder: Path
    configs: int
    seeds: int
    config_seed: int
    cache: Path | None
    root: Path | None
    where: Where = Where()
    data: str | None = None

    def __post_init__(self) -> None:
        from hcdc.evaluate import Judge, require_report

        require_report()
        Judge(self.configs, self.seeds, self.config_seed)


def evaluate(request: Evaluate) -> Answer:
    """Judge an artefact; writes report.html and then evaluation.json beside it."""
    from hcdc.evaluate import Judge, align, verdict, write_report
    from hcdc.store import Ledger, locked, write_json

    folder = request.folder
    judge = Judge(request.configs, request.seeds, request.config_seed, Ledger(request.cache or folder / "trainings"))
    condensed = opened(folder)
    source = data_of(condensed.card, request.data, request.root)
    searches = searches_of(folder, condensed.card.tensors_sha256)
    with locked(folder), request.where.opened() as engine:
        judge = replace(judge, engine=engine)
        with bar("training", prefix="training on ") as told:
            evaluation = judge(condensed, source, told)
        judged = verdict(evaluation.facts)
        facts = evaluation.facts | {"verdict": judged.light, "sentence": judged.sentence}
        with bar("comparing hypergradients"):
            found = align(condensed, source)
        report = write_report(
            folder / "report.html", condensed, evaluation, [trial for each in searches for trial in each.trials],
            recommended={each.algorithm: each.recommended for each in searches if each.recommended},
            command=_history(request, condensed.card, searches), alignment=found,
        )  # fmt: skip
        write_json(folder / "evaluation.json", facts | {"artefact": condensed.card.tensors_sha256})
    return Answer(facts | {"report": str(report)}, (f"{judged.light.upper()}: {judged.sentence}", *judged.lines, f"Report: {report}"))


class Searched(NamedTuple):
    """What was kept of a search: `flags` of its command and the configuration that its guard recommends, where there are."""

    algorithm: str
    trials: tuple[Trial, ...]
    flags: str | None
    recommended: dict[str, Any] | None


def searches_of(folder: Path, artefact: str) -> list[Searched]:
    """The searches in `folder` that were made on the set with the hash `artefact`."""
    from hcdc.search import Trial
    from hcdc.store import read_json

    found: list[Searched] = []
    for path in sorted(folder.glob("search-*.json")):
        try:
            facts: Any = read_json(path)
            if not is_of(facts, artefact):
                continue
            trials = tuple(
                Trial(dict(trial["config"]), float(trial["score"]), float(trial["seconds"]), bool(trial.get("pruned", False)))
                for trial in facts["all"]
            )
            recommended = dict(facts["recommended_config"]) if "guard" in facts else None
            found.append(Searched(path.stem.removeprefix("search-"), trials, facts.get("flags"), recommended))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"{path} lacks or misspells {error}; remove it and search again") from error
    return found


def _history(request: Evaluate, card: Card, searches: list[Searched]) -> str:
    """The commands that led to a report, as far as they are known, a line each."""
    folder = shlex.quote(str(request.folder))
    lines = [f"{card.command} --out {folder}"] if card.command else []
    lines += [f"hcdc search {folder} {each.flags}" for each in searches if each.flags]
    lines.append(f"hcdc evaluate {folder} --configs {request.configs} --seeds {request.seeds} --config-seed {request.config_seed}")
    return "\n".join(lines)


def show(folder: Path, as_readme: bool = False) -> Answer:
    """The card, and the verdict where there is one; `as_readme` writes them for the Hugging Face Hub."""
    from hcdc.store import load_card, read_json

    card = load_card(folder)
    facts: dict[str, Any] = {"folder": str(folder), **card.model_dump()}
    unit, classes = card.data.unit, f"{card.data.num_classes} classes" if card.data.num_classes else "a regression"
    family = _family(card, folder)
    lines = [
        f"{folder}: {card.data.name} condensed by {card.method}, seed {card.seed}, in {card.seconds:.1f} s ({card.hardware})",
        f"  {card.sizes['train']} {unit} to train, {card.sizes['val']} to validate, {classes}",
        f"  space: {few(card.space)}; family: {family}",
    ]
    lines += _axes(card, family)
    if card.pilot is not None:
        lines.append(f"  S_train and the steps on it were chosen by {card.pilot.configs} trainings on the full data, in {card.pilot.seconds:.1f} s")
    path = folder / "evaluation.json"
    if path.is_file():
        judged: Any = read_json(path)
        if is_of(judged, card.tensors_sha256):
            facts["evaluation"] = judged
        else:
            lines.append(f"  {path} judged another set, and is left aside")
    judged = facts.get("evaluation")
    try:
        if as_readme:
            from hcdc.integrations.huggingface import dataset_card

            facts["readme"] = dataset_card(card, judged)
        else:
            lines += [*_looked_at(card), *_unlooked(folder, card, family)] if judged is None else _judged(folder, judged)
    except (ArithmeticError, AttributeError, KeyError, StopIteration, TypeError, ValueError) as error:
        raise FormatError(f"{path} lacks or misspells {error}; remove it and judge again: hcdc evaluate {folder}") from error
    return Answer(facts, tuple(facts["readme"].splitlines()) if as_readme else tuple(lines))


def few(names: Collection[str], between: str = ", ") -> str:
    """No more of the `names` than a line holds."""
    listed = list(names)
    return between.join(listed if len(listed) <= NAMED else [*listed[: NAMED - 1], f"and {len(listed) - NAMED + 1} more"])


def _axes(card: Card, family: str) -> list[str]:
    """Whose decay each numbered axis of a logistic regression is."""
    if family != "logistic" or card.data.columns is None:
        return []
    return [f"  log10_decay.N is of column N: {few([f'{at} {column.name}' for at, column in enumerate(card.data.columns[:-1])])}"]


def _looked_at(card: Card) -> list[str]:
    from hcdc.evaluate import first_look

    found = first_look(card)
    return [] if found is None else _told(found)


def _judged(folder: Path, facts: dict[str, Any]) -> list[str]:
    from hcdc.evaluate import verdict

    report = folder / "report.html"
    return [*_told(verdict(facts)), *([f"  Report: {report}"] if report.is_file() else [])]


def _told(found: Verdict) -> list[str]:
    return [f"  {found.light}: {found.sentence}", *(f"  {line}" for line in found.lines)]


def _unlooked(folder: Path, card: Card, family: str) -> list[str]:
    """What may be done with an artefact that is not judged yet."""
    if family == OWN:
        return ["  of a model of your own: judge and search it in Python, where the model is (docs/own.md, What is saved)"]
    unprobed = [f"  not probed yet: hcdc probe {folder}"] if card.probe is None else []
    return [*unprobed, f"  not judged yet: hcdc evaluate {folder}"]


OWN = "module"
"""The family of a model of the user's own, whose code is not saved."""


def _family(card: Card, folder: Path) -> str:
    try:
        return card.recipes["condensed"]["problem"]["family"]
    except (KeyError, TypeError) as error:
        raise FormatError(f"{folder / 'card.json'}: field `recipes` lacks or misspells {error}") from error


def data_of(card: Card, given: str | None, root: Path | None) -> Source:
    """What an artefact was made from: where its card says, or where it is now."""
    from hcdc.data import load

    try:
        return load(given or card.data.name, root)
    except DataError as error:
        if given:
            raise
        rule = f"is what the set was made from, and cannot be read from here ({error})"
        raise InputError("data", card.data.name, rule, "say where it is: --data") from error


def opened(folder: Path) -> Condensed:
    """The artefact in `folder`, for a command that trains on it: `InputError` where its model is the user's own."""
    from hcdc.store import load_condensed

    condensed = load_condensed(folder)
    if _family(condensed.card, folder) == OWN:
        remedy = "judge and search it in Python: from hcdc.own import own; own(MODEL, train, val, space=..., size=...).load(DIR).evaluate(test)"
        raise InputError("DIR", str(folder), "was condensed for a model of your own, whose code is not saved", remedy)
    return condensed


def verify(folder: Path) -> Answer:
    """Load everything; whatever is wrong raises `FormatError`."""
    from hcdc.condense import recipes_of
    from hcdc.store import load_condensed

    condensed = load_condensed(folder)
    if condensed.card.recipes["condensed"]["problem"].get("family") != "module":  # a model of the user's own is not in the artefact
        recipes_of(condensed)
    facts = {"folder": str(folder), "whole": True, "format": condensed.card.format, "tensors_sha256": condensed.card.tensors_sha256}
    return Answer(facts, (f"{folder} is whole: card and tensors fit each other, format {condensed.card.format}",))


def is_of(facts: Any, artefact: str) -> bool:
    """Whether what was kept beside a set is of the set with the hash `artefact`; what does not say counts as its own."""
    return not isinstance(facts, dict) or facts.get("artefact", artefact) == artefact
