"""Runs killed at every write and at random moments; what is left must be whole, and what is run again must end the same.

    python -m torture.kills --writes 14 --moments 6 --seed 0

A kill at a write is SIGKILL just before the k-th change to the disk (a file made, renamed or removed, a folder made or
removed), or in the middle of one: the file is cut to a half. A kill at a moment is SIGKILL after a random time.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torture.fork import ended, spawn, warm

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}
UNEQUAL = {"seconds", "checksum", "report", "folder", "break_even_configs", "all"}
"""Facts that time enters, or that are compared apart."""


@dataclass
class Killer:
    """Counts the changes that this process makes to the disk, and dies at number `at` (0: never)."""

    at: int
    count: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 8))

    def arm(self) -> None:
        sys.addaudithook(self._seen)
        sync = os.fsync

        def torn(handle: int) -> None:
            self._change(handle)
            sync(handle)

        os.fsync = torn

    def total(self) -> int:
        return struct.unpack("q", self.count[:8])[0]

    def _seen(self, event: str, arguments: tuple[Any, ...]) -> None:
        written = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or written:
            self._change(None)

    def _change(self, handle: int | None) -> None:
        number = self.total() + 1
        self.count[:8] = struct.pack("q", number)
        if number == self.at:
            if handle is not None and os.fstat(handle).st_size and os.path.isfile(f"/proc/self/fd/{handle}"):
                os.ftruncate(handle, os.fstat(handle).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Victim:
    """A command on a folder of its own: `again` are the flags that it is run with after a kill."""

    name: str
    arguments: Callable[[Path], list[str]]
    again: tuple[str, ...]
    prepare: Callable[[Path], None]
    whole: Callable[[Path], None]
    outcome: Callable[[Path], Any]


def launch(victim: Victim, folder: Path, killer: Killer, again: bool = False) -> int:
    """A child that runs the command on `folder`."""
    arguments = victim.arguments(folder) + (list(victim.again) if again else [])

    def work() -> int:
        from hcdc.cli import main

        killer.arm()
        main(arguments)
        return 0

    return spawn(work, folder.with_suffix(".said"))


def finish(victim: Victim, folder: Path) -> Any:
    """Run the command after a kill, to its end; what came of it."""
    code = ended(launch(victim, folder, Killer(0), again=True))
    if code:
        raise AssertionError(f"{victim.name} ended with {code} after a kill: {folder.with_suffix('.said').read_text()}")
    victim.whole(folder)
    left = [path.name for path in folder.glob(".*.part")]
    assert victim.name == "search" or not left, f"{victim.name} left {left}"
    return victim.outcome(folder)


def at_writes(victim: Victim, places: int, work: Path, expected: Any, total: int) -> Iterator[str]:
    """Kill once at each of `places` writes, spread over all of the `total`."""
    places = min(places, total)
    for place in sorted({1 + round(i * (total - 1) / max(places - 1, 1)) for i in range(places)}):
        folder = work / f"{victim.name}-write-{place}"
        victim.prepare(folder)
        code = ended(launch(victim, folder, Killer(place)))
        assert code == -signal.SIGKILL, f"{victim.name} ended with {code} where it should have died"
        victim.whole(folder)
        assert finish(victim, folder) == expected, f"{victim.name} killed at write {place} ended otherwise"
        shutil.rmtree(folder, ignore_errors=True)
        yield f"write {place} of {total}"


def at_moments(victim: Victim, kills: int, work: Path, expected: Any, span: float, draw: random.Random) -> Iterator[str]:
    """Kill `kills` times after random times within `span`, up to three times in the same folder."""
    done, number = 0, 0
    while done < kills:
        number += 1
        folder = work / f"{victim.name}-moment-{number}"
        victim.prepare(folder)
        for attempt in range(min(3, kills - done)):
            wait = draw.uniform(0, span)
            child = launch(victim, folder, Killer(0), again=attempt > 0)
            time.sleep(wait)
            os.kill(child, signal.SIGKILL)
            code = ended(child)
            victim.whole(folder)
            if code == 0:
                break
            done += 1
            yield f"after {wait:.2f} s"
        assert finish(victim, folder) == expected, f"{victim.name} killed at moments ended otherwise"
        shutil.rmtree(folder, ignore_errors=True)


def known(facts: Any) -> Any:
    """Facts without those that time enters."""
    return {key: value for key, value in facts.items() if key not in UNEQUAL and not key.startswith("seconds_")}


def whole_folder(folder: Path) -> None:
    """Everything on disk that bears its final name can be read to its end."""
    from hcdc.store import Checkpoint, load_condensed

    if (folder / "card.json").exists():
        load_condensed(folder)
    if (folder / "checkpoint" / "manifest.json").exists():
        Checkpoint(folder / "checkpoint").load()
    for path in folder.rglob("[!.]*.json"):
        json.loads(path.read_text())
    if (folder / "report.html").exists():
        assert (folder / "report.html").read_text().rstrip().endswith("</html>")


def condense_outcome(folder: Path) -> Any:
    from hcdc.store import load_condensed

    names = sorted(path.name for path in folder.iterdir())
    assert names == ["card.json", "data.safetensors"], f"left: {names}"
    return known(load_condensed(folder).card.model_dump())


def evaluate_outcome(folder: Path) -> Any:
    return known(json.loads((folder / "evaluation.json").read_text()))


def search_outcome(folder: Path) -> Any:
    found = json.loads((folder / "search-random.json").read_text())
    return known({key: value for key, value in found.items() if key != "bill"}), [(trial["config"], trial["score"]) for trial in found["all"]]


def victims(work: Path) -> dict[str, Victim]:
    from tests import small

    data, artefact = small.npz(work), work / "artefact"

    def fresh(folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def copied(folder: Path) -> None:
        fresh(folder)
        shutil.copytree(artefact, folder)

    condense = Victim(
        "condense",
        lambda f: ["condense", str(data), "--size", "9", "--no-probe", "--out", str(f)],
        ("--resume",),
        fresh,
        whole_folder,
        condense_outcome,
    )
    evaluate = Victim("evaluate", lambda f: ["evaluate", str(f), "--configs", "4", "--seeds", "2"], (), copied, whole_folder, evaluate_outcome)
    search = Victim("search", lambda f: ["search", str(f), "--trials", "4"], ("--resume",), copied, whole_folder, search_outcome)
    warm(condense.arguments(artefact))
    copied(work / "warm")
    for victim in (search, evaluate):
        warm(victim.arguments(work / "warm"))
    return {victim.name: victim for victim in (condense, evaluate, search)}


def little_work() -> None:
    """A bank of tenths of a second, short trainings, a coarse report, and a checkpoint after every step."""
    import hcdc.evaluate.report
    import hcdc.run
    from hcdc.bilevel import Adam
    from hcdc.condense import Bank, default_recipes
    from hcdc.store import Checkpoint

    def short(*arguments: Any, **settings: Any) -> Any:
        return tuple(recipe._replace(solver=Adam(10, 0.05)) for recipe in default_recipes(*arguments, **settings))

    hcdc.run.Bank = lambda **_: Bank(starts=4, stages=2, chunk=2, more=2, steps=4, batch=4)
    hcdc.run.default_recipes = short
    hcdc.evaluate.report.DPI = 20
    Checkpoint.due = lambda self: True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writes", type=int, default=14, help="kills at writes, of each command; 0 for every write there is")
    parser.add_argument("--moments", type=int, default=6, help="kills at random moments, of each command")
    parser.add_argument("--commands", nargs="+", default=["condense", "evaluate", "search"])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    little_work()
    begin, draw, survived = time.monotonic(), random.Random(given.seed), 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as scratch:
        work = Path(scratch)
        for name, victim in victims(work).items():
            if name not in given.commands:
                continue
            killer, folder, start = Killer(0), work / f"{name}-whole", time.monotonic()
            victim.prepare(folder)
            assert ended(launch(victim, folder, killer)) == 0, folder.with_suffix(".said").read_text()
            span, expected, total = time.monotonic() - start, victim.outcome(folder), killer.total()
            writes = list(at_writes(victim, given.writes or total, work, expected, total))
            moments = list(at_moments(victim, given.moments, work, expected, span, draw)) if given.moments else []
            survived += len(writes) + len(moments)
            print(f"{name}: {len(writes)} kills at writes (of {total} in a run), {len(moments)} at random moments of {span:.1f} s, all survived")
    print(f"kills survived: {survived}; seed {given.seed}; {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
