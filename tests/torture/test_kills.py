"""A few of the kills of `make torture`."""

from __future__ import annotations

import re
import subprocess
import sys


def test_killed_runs_end_the_same() -> None:
    """In a process of its own, which has no thread that a fork could lose."""
    flags = ["--writes", "2", "--moments", "1", "--seed", "1"]
    done = subprocess.run([sys.executable, "-m", "torture.kills", *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    survived = re.search(r"kills survived: (\d+)", done.stdout)
    assert survived
    assert int(survived[1]) >= 5
