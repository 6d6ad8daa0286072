"""What `hcdc evaluate` does, free of flags."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hcdc._progress import bar
from hcdc.cli.answers import Answer, Where
from hcdc.cli.artefacts import Searched, data_of, opened, searches_of

if TYPE_CHECKING:
    from hcdc.store import Card


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


def _history(request: Evaluate, card: Card, searches: list[Searched]) -> str:
    """The commands that led to a report, as far as they are known, a line each."""
    folder = shlex.quote(str(request.folder))
    lines = [f"{card.command} --out {folder}"] if card.command else []
    lines += [f"hcdc search {folder} {each.flags}" for each in searches if each.flags]
    lines.append(f"hcdc evaluate {folder} --configs {request.configs} --seeds {request.seeds} --config-seed {request.config_seed}")
    return "\n".join(lines)
