"""Damaged files of every kind that is read: an error of ours that names the place, or data as good as any; never more.

    python -m torture.fuzz --inputs 1600 --seed 0

Every input is read in a child that may take `MEMORY` bytes more than it has and five seconds. It must end in an
`HcdcError` or in data that its own checks let through. A crash, a hang, any other exception, a file made outside of
the scratch folder and the running of code are failures, which are printed and kept.
"""

from __future__ import annotations

import argparse
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
from pathlib import Path
from typing import Any

from torture import seeds
from torture.damage import Target, damage
from torture.fork import ended, spawn

MEMORY = 1 << 29
SECONDS = 5
BATCH = 200
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect", "socket.getaddrinfo", "ctypes.dlopen")


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
