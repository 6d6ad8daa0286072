"""What `hcdc probe` does, and `hcdc condense` after condensing, free of flags."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hcdc._progress import bar
from hcdc.cli.answers import Answer, Where
from hcdc.cli.artefacts import data_of, opened, show

if TYPE_CHECKING:
    from hcdc.data import Source
    from hcdc.engine import Engine
    from hcdc.evaluate import Probe
    from hcdc.store import Condensed


@dataclass(frozen=True)
class Request:
    """The arguments of `hcdc probe`."""

    folder: Path
    configs: int
    seeds: int
    root: Path | None = None
    where: Where = Where()
    data: str | None = None


def probe(request: Request) -> Answer:
    """Probe an artefact whatever it takes, in the place of what earlier probes said."""
    from hcdc.evaluate import Probe
    from hcdc.store import Ledger, locked

    probe = Probe(request.configs, request.seeds, Ledger(request.folder / "trainings"))
    condensed = opened(request.folder)
    source = data_of(condensed.card, request.data, request.root)
    with locked(request.folder), request.where.opened() as engine:
        _take(probe, request.folder, condensed, source, engine)
    return show(request.folder)


def look(folder: Path, condensed: Condensed, source: Source, engine: Engine) -> None:
    """Probe what was just saved in `folder`, unless it would take longer than may be taken unasked."""
    from hcdc.evaluate import FEWEST, Probe, probe_limit

    probe, most = Probe(), probe_limit(condensed)
    members = len(condensed.space.distinct(FEWEST, 0))
    if members < FEWEST:
        sys.stderr.write(f"not probed: the space has {members} configurations in all; train each of them on the full data\n")
        return
    expected = probe.cost(condensed, source)
    if expected > most:
        sys.stderr.write(
            f"not probed: {probe.configs} configurations, {probe.seeds} trainings each, would take about {expected:.0f} s, "
            f"and unasked no more than {most:.0f} s are taken; ask for it: hcdc probe {folder}\n"
        )
        return
    _take(probe, folder, condensed, source, engine)


def _take(probe: Probe, folder: Path, condensed: Condensed, source: Source, engine: Engine) -> None:
    from hcdc.store import amend_card

    with bar("probing", prefix="probing on ") as told:
        found = replace(probe, engine=engine)(condensed, source, told)
    amend_card(folder, probe=found.card.probe)
