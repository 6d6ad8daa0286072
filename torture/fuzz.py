"""Damaged files of every kind that is read: an error of ours that names the place, or data as good as any; never more.

    python -m torture.fuzz --inputs 1600 --seed 0

Every input is read in a child that may take `MEMORY` bytes more than it has and five seconds. It must end in an
`HcdcError` or in data that its own checks let through. A crash, a hang, any other exception, a file made outside of
the scratch folder and the running of code are failures, which are printed and kept.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torture import seeds
from torture.fork import ended, spawn

MEMORY = 1 << 29
SECONDS = 5
BATCH = 200
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect", "socket.getaddrinfo", "ctypes.dlopen")
NUMBERS = (0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**60, 2**63 - 1, -(2**63))
"""What goes where a length or a size may be."""
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**60, 10**400, 0.5, 1e308, -1e-320, "", "x", "../../etc/passwd", "nul\0", "\ud800", [], [[]], {}, {"a": []},
    "9" * 5000, [0] * 1000,
)  # fmt: skip
Mutator = Callable[[random.Random, bytes], bytes]


def flip(draw: random.Random, content: bytes) -> bytes:
    """One to eight bits."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 8))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut(draw: random.Random, content: bytes) -> bytes:
    return content[: draw.randrange(len(content))]


def splice(draw: random.Random, content: bytes) -> bytes:
    """A stretch written elsewhere, repeated or left out."""
    first, second = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    place = draw.randrange(len(content) + 1)
    kind = draw.randrange(3)
    if kind == 0:
        return content[:first] + content[second:]
    piece = content[first:second][:4096]
    return content[:place] + piece * draw.choice((1, 2, 50)) + content[place + (len(piece) if kind == 1 else 0) :]


def lengths(draw: random.Random, content: bytes) -> bytes:
    """A number of two, four or eight bytes, of a size that a field would not have."""
    code, width = draw.choice((("<H", 2), ("<I", 4), (">I", 4), ("<Q", 8)))
    place = draw.randrange(max(1, len(content) - width))
    return content[:place] + struct.pack(code, draw.choice(NUMBERS) % 2 ** (8 * width)) + content[place + width :]


def digits(draw: random.Random, content: bytes) -> bytes:
    """A number that is written out, in a header or in text."""
    places = [place for place in range(min(len(content), 4096)) if content[place : place + 1].isdigit()]
    if not places:
        return flip(draw, content)
    place = draw.choice(places)
    return content[:place] + str(draw.choice((*NUMBERS, 10**30, "1e999", "nan", "0x"))).encode() + content[place + 1 :]


def tree(draw: random.Random, content: bytes) -> bytes:
    """A value somewhere in a JSON document replaced, left out or doubled; what is no JSON is treated as bytes."""
    try:
        value = json.loads(content)
    except ValueError:
        return flip(draw, content)
    for _ in range(draw.choice((1, 1, 2))):
        value = _changed(draw, value)
    return json.dumps(value).encode()


def _changed(draw: random.Random, value: Any) -> Any:
    if not isinstance(value, (dict, list)) or not value or draw.random() < 0.1:
        return draw.choice(VALUES)
    if isinstance(value, list):
        at = draw.randrange(len(value))
        new = [_changed(draw, value[at])] if draw.random() < 0.8 else draw.choice(([], [value[at]] * 2))
        return value[:at] + new + value[at + 1 :]
    key = draw.choice(sorted(value))
    kind = draw.random()
    if kind < 0.1:
        return {name: found for name, found in value.items() if name != key}
    if kind < 0.2:
        return value | {draw.choice(("", "x", "../x", key + " ")): value[key]}
    return value | {key: _changed(draw, value[key])}


BYTES: tuple[Mutator, ...] = (flip, cut, splice, lengths, digits)


@dataclass(frozen=True)
class Target:
    """A folder of whole files, what reads it, and how each of its files may be damaged; `mend` may sign anew."""

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], None]
    mutators: tuple[Mutator, ...] = BYTES
    files: str = "*"
    mend: Callable[[random.Random, Path], None] = lambda draw, folder: None


def damage(target: Target, whole: dict[str, bytes], draw: random.Random, folder: Path) -> str:
    """Write `whole` to `folder` with one file damaged; what was done."""
    for name, content in whole.items():
        (folder / name).write_bytes(content)
    name = draw.choice(sorted(name for name in whole if Path(name).match(target.files)))
    mutator = draw.choice(target.mutators)
    (folder / name).write_bytes(mutator(draw, whole[name]))
    target.mend(draw, folder)
    return f"{target.name}: {mutator.__name__} of {name}"


def attempts(target: Target, folder: Path, first: int, last: int, seed: int, place: mmap.mmap) -> int:
    """Read inputs `first` to `last`, in a child; the number of the one at work is in `place`, verdicts follow it."""
    from hcdc.errors import HcdcError

    warnings.simplefilter("ignore")
    whole = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    before = {path for path in folder.parent.iterdir()}
    sys.addaudithook(_refuse)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    for number in range(first, last):
        place[:8] = struct.pack("q", number)
        done = damage(target, whole, random.Random(f"{target.name} {seed} {number}"), folder)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            target.read(folder)
            verdict = 1
        except HcdcError as error:
            verdict = 2 if str(error) and len(str(error)) < 2000 else 3
            if verdict == 3:
                print(f"FAILED {done}, input {number}: a message of {len(str(error))} characters")
        except Exception as error:
            verdict = 3
            print(f"FAILED {done}, input {number}: {type(error).__name__}: {str(error)[:300]}")
            import traceback

            traceback.print_exc()
        signal.setitimer(signal.ITIMER_REAL, 0)
        if {path for path in folder.parent.iterdir()} != before:
            print(f"FAILED {done}, input {number}: wrote outside of its folder")
            verdict = 3
        place[8 + number] = verdict
    place[:8] = struct.pack("q", last)
    return 0


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(FORBIDDEN):
        os.write(2, f"FAILED: {event}{arguments}\n".encode(errors="replace"))
        os._exit(99)


def fuzz(target: Target, inputs: int, seed: int, work: Path) -> Counter[str]:
    """Verdicts over `inputs` damaged copies."""
    folder, place, first = work / target.name / "files", mmap.mmap(-1, 8 + inputs), 0
    folder.mkdir(parents=True)
    target.make(folder)
    target.read(folder)
    found: Counter[str] = Counter()
    whole = work / target.name / "whole"
    shutil.copytree(folder, whole)
    while first < inputs:
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        said, last = work / f"{target.name}.said", min(first + BATCH, inputs)
        code = ended(spawn(lambda first=first, last=last: attempts(target, folder, first, last, seed, place), said), limit=1000)
        text, at = said.read_text(errors="replace"), struct.unpack("q", place[:8])[0]
        if "FAILED" in text or code:
            print(text)
        if code:
            print(f"FAILED {target.name}, input {at}: {'took too long' if code == -signal.SIGALRM else f'ended with {code}'}")
            found["failed"] += 1
            at += 1
        first = at
    names = {1: "let through", 2: "refused", 3: "failed"}
    found.update(names[verdict] for verdict in place[8:] if verdict)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1600, help="damaged inputs of each kind")
    parser.add_argument("--kinds", nargs="+", default=None)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    begin, total = time.monotonic(), Counter[str]()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as scratch:
        for target in seeds.targets():
            if given.kinds and target.name not in given.kinds:
                continue
            found = fuzz(target, given.inputs, given.seed, Path(scratch))
            total += found
            print(f"{target.name}: {found['refused']} refused, {found['let through']} let through, {found['failed']} failed", flush=True)
    read = sum(total.values())
    print(f"inputs read: {read}; refused {total['refused']}, failed {total['failed']}; seed {given.seed}; {time.monotonic() - begin:.0f} s")
    return bool(total["failed"])


if __name__ == "__main__":
    sys.exit(main())
