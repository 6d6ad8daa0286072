"""What `hcdc search` does, free of flags."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcdc._progress import bar
from hcdc.cli.answers import Answer, Where, few
from hcdc.cli.artefacts import axes_of, data_of, is_of, opened
from hcdc.errors import InputError, RunExistsError

if TYPE_CHECKING:
    from hcdc.evaluate import Guarded
    from hcdc.search import Searcher, Trial
    from hcdc.spaces import Space
    from hcdc.store import Condensed


LOWER = {"loss": "loss", "soft-accuracy": "1 − soft accuracy"}
"""What a criterion minimises, in words."""


@dataclass(frozen=True)
class Search:
    """The arguments of `hcdc search`; `axes` are texts NAME=LOW:HIGH, `guard` is how many are retrained (None: none)."""

    folder: Path
    algorithm: str
    trials: int
    seed: int
    resume: bool = False
    storage: str | None = None
    guard: int | None = None
    axes: tuple[str, ...] = ()
    force: bool = False
    root: Path | None = None
    where: Where = Where()
    data: str | None = None

    def __post_init__(self) -> None:
        from hcdc.evaluate import Guard
        from hcdc.search import check_trials

        check_trials(self.trials)
        _searcher(self)
        self.where.need(self.algorithm in ("grid", "random"), "algorithm", self.algorithm, "take grid or random, or leave --engine out")
        if self.guard is not None:
            Guard(self.guard)
        elif self.data is not None:
            raise InputError("data", self.data, "is what --guard trains on", "add --guard, or leave it out")

    def flags(self) -> str:
        """Of the command, without who computes and where its data and its study are: the URL of a database may hold a password."""
        words = ["--algorithm", self.algorithm, "--trials", str(self.trials), "--seed", str(self.seed)]
        words += [] if self.guard is None else ["--guard", str(self.guard)]
        words += [word for axis in self.axes for word in ("--axis", axis)] + (["--force"] if self.force else [])
        return shlex.join(words)


def search(request: Search) -> Answer:
    """Search on the condensed set; writes search-ALGORITHM.json with every trial.

    What is finished is kept in search-ALGORITHM/ as it comes. The folder goes when the search is done, but for a study
    of Optuna, which more trials can go on with. A search that is there is replaced, but not by fewer trials
    nor by none of its guard.
    """
    from hcdc.evaluate import Guard, check_source, objective_for
    from hcdc.search import ranked
    from hcdc.store import Ledger, write_json

    searcher, studies = _searcher(request)
    folder = request.folder
    guard = None if request.guard is None else Guard(request.guard, ledger=Ledger(folder / "trainings"))
    condensed = opened(folder)
    objective = objective_for(condensed, _ranges(condensed.space, request.axes), force=request.force)
    source = None if guard is None else data_of(condensed.card, request.data, request.root)
    if source is not None:
        check_source(condensed, source)
    path = folder / f"search-{request.algorithm}.json"
    _refuse_to_lose(path, request, condensed.card.tensors_sha256)
    kept = None if request.storage else folder / f"search-{request.algorithm}"
    if kept is not None and kept.is_dir() and any(kept.iterdir()) and not request.resume:
        raise RunExistsError(f"{kept}: holds a search already; add --resume to go on with it, or remove that folder to start anew")
    alone = contextlib.nullcontext() if kept is None or studies else _alone(kept)  # a study is for several processes
    with alone, request.where.opened() as engine, bar(f"{request.trials} trials by {request.algorithm}", shown=sys.stderr.isatty()):
        found = searcher.run(replace(objective, engine=engine), trials=request.trials, seed=request.seed, checkpoint=kept)
    guarded = None
    if guard is not None and source is not None:
        with bar("training", prefix="training on ") as told:
            guarded = guard(condensed, source, found, space=objective.space, progress=told)
    facts = _facts(request, condensed, found, guarded)
    origin = {"artefact": condensed.card.tensors_sha256, "flags": request.flags()}
    write_json(path, facts | origin | {"all": [trial._asdict() for trial in ranked(found)]})
    if kept is not None and not studies:
        shutil.rmtree(kept, ignore_errors=True)
    lines = _lines(facts, found, condensed.card.recipes["condensed"]["problem"]["criterion"])
    return Answer(facts, (*lines, *axes_of(condensed.card), f"All of them, with every digit: {path}"))


@contextlib.contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Hold `folder`, and leave none where nothing was kept in it."""
    from hcdc.store import locked

    with locked(folder):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _refuse_to_lose(path: Path, request: Search, artefact: str) -> None:
    """Raise `RunExistsError` where `path` holds a search of this artefact with more trials, or under a guard that this one lacks."""
    from hcdc.store import read_json

    held: Any = read_json(path) if path.is_file() else {}
    if not isinstance(held, dict) or not isinstance(held.get("trials"), int) or not is_of(held, artefact):
        return
    guarded = "guard" in held
    if held["trials"] > request.trials or (guarded and request.guard is None):
        remedy = f"ask for as many{', and for --guard' if guarded else ''}, or move that file away"
        raise RunExistsError(f"{path}: holds a search of {held['trials']} trials{' and its guard' if guarded else ''}, which would be lost; {remedy}")


def _searcher(request: Search) -> tuple[Searcher, bool]:
    """The searcher, and whether it keeps a study of Optuna."""
    from hcdc.integrations import optuna
    from hcdc.search import ALGORITHMS

    if request.algorithm in optuna.ALGORITHMS:
        return replace(optuna.ALGORITHMS[request.algorithm], storage=request.storage), True
    if request.algorithm not in ALGORITHMS:
        names = ", ".join([*ALGORITHMS, *optuna.ALGORITHMS])
        raise InputError("algorithm", request.algorithm, f"must be one of {names}", "choose one of these")
    if request.storage is not None:
        raise InputError(
            "storage", request.storage, f"is for {', '.join(optuna.ALGORITHMS)}", f"leave it out: {request.algorithm} keeps its trials in DIR"
        )
    return ALGORITHMS[request.algorithm], False


def _ranges(space: Space, axes: tuple[str, ...]) -> Space:
    """`space` with the ranges that NAME=LOW:HIGH name."""
    from hcdc.spaces import Choice, Int, Space

    changed = dict(space.axes)
    for text in axes:
        name, _, ends = text.partition("=")
        axis = changed.get(name)
        if axis is None or isinstance(axis, Choice):
            numeric = [name for name, axis in space.axes.items() if not isinstance(axis, Choice)]
            raise InputError("axis", text, f"must name a numeric axis, of which there are {', '.join(numeric) or 'none'}", "write NAME=LOW:HIGH")
        number = int if isinstance(axis, Int) else float
        try:
            low, high = (number(end) for end in ends.split(":"))
        except ValueError as error:
            kind = "integers" if isinstance(axis, Int) else "numbers"
            raise InputError("axis", text, f"must give two {kind}", f"write {name}={axis.low}:{axis.high}, or other ends") from error
        changed[name] = replace(axis, low=low, high=high)
    return Space(changed)


def _facts(request: Search, condensed: Condensed, found: tuple[Trial, ...], guarded: Guarded | None) -> dict[str, Any]:
    from hcdc.search import ranked

    best, seconds = ranked(found)[0], sum(trial.seconds for trial in found)
    bill = {"seconds_condense": condensed.card.seconds, "seconds_search": seconds}
    facts: dict[str, Any] = {"algorithm": request.algorithm, "trials": len(found), "pruned": sum(trial.pruned for trial in found)}
    facts |= {"seed": request.seed, "best_config": best.config, "best_score": best.score, "recommended_config": best.config, "seconds": seconds}
    if guarded is not None:
        one = guarded.seconds / (len(guarded.candidates) * len(guarded.candidates[0].real))
        bill |= {"seconds_guard": guarded.seconds, "seconds_same_trials_on_full_estimate": one * len(found)}
        facts |= {"recommended_config": guarded.facts["recommended_config"], "guard": guarded.facts}
    return facts | {"bill": bill}


def _lines(facts: dict[str, Any], found: tuple[Trial, ...], criterion: str) -> tuple[str, ...]:
    from hcdc.search import ranked

    top = [f"  {trial.score:.4f}  {few(_values(trial.config), '  ')}" for trial in ranked(found)[:5]]
    ended = f", {facts['pruned']} of them ended early" if facts["pruned"] else ""
    head = (
        f"{facts['trials']} trials by {facts['algorithm']}{ended} in {facts['seconds']:.1f} s; the best five by {LOWER[criterion]}, lower is better:"
    )
    if "guard" not in facts:
        return (head, *top, "Train the best few on the full data before you choose: --guard 5 does.")
    guard, bill = facts["guard"], facts["bill"]
    stayed = "stayed first" if guard["first_held"] else f"fell behind the one in place {guard['recommended_place']}"
    noise = ", within the noise of seeds" if guard["first_within_noise"] and not guard["first_held"] else ""
    tau = "Kendall's tau is undefined" if guard["kendall"] is None else f"Kendall's tau {guard['kendall']:.2f}"
    early = "; the rest could be left out" if guard["stopped_early"] else ""
    fewer = "" if guard["offered"] == guard["asked"] else f" ({guard['asked']} were asked for, and the search has no more that differ)"
    return (
        head,
        *top,
        f"On the full data, the first {guard['trained']} of the best {guard['offered']}{fewer}, trained {guard['seeds']} times each: "
        f"S's first {stayed}{noise}; {tau}{early}.",
        f"Recommended: {'  '.join(_values(facts['recommended_config']))}",
        f"Bill: condensing {bill['seconds_condense']:.1f} s, search {bill['seconds_search']:.1f} s, guard {bill['seconds_guard']:.1f} s; "
        f"the same trials on the full data, one at a time: about {bill['seconds_same_trials_on_full_estimate']:.1f} s.",
    )


def _values(config: dict[str, Any]) -> list[str]:
    return [f"{name}={value:.3f}" if isinstance(value, float) else f"{name}={value}" for name, value in config.items()]
