"""Ways to damage a file, and what is damaged: byte by byte, number by number, value by value."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
