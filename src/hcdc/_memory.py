"""How much memory there is."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

LIBRARIES = 600 * 2**20
"""Bytes of a process that has loaded its libraries and nothing else."""

LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container says what it may use, in control groups of version 2 and 1; "max" where it may use all."""


def machine_memory() -> int:
    """Bytes of physical memory, or of what the container may use of it."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in LIMITS:
        with contextlib.suppress(OSError, ValueError):
            found.append(int(path.read_text()))
    return min(found)
