"""Children of a process that has loaded its libraries: a run costs what it does, not the two seconds of importing torch."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


def warm(arguments: list[str]) -> None:
    """Run the command here, so that children find loaded and compiled what it needs; no thread may be left by it."""
    import torch

    from hcdc.cli import main

    torch.set_num_threads(1)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere), contextlib.suppress(SystemExit):
        main(arguments)
    for _ in range(100):  # a thread that was joined may be listed for a moment longer
        if len(os.listdir("/proc/self/task")) == 1:
            return
        time.sleep(0.05)
    raise AssertionError("a thread is left: a fork would lose it")


def spawn(work: Callable[[], int], said: Path) -> int:
    """The id of a child that runs `work`, writes what it says to `said` and ends with what `work` returns."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    _become(work, said)


def _become(work: Callable[[], int], said: Path) -> NoReturn:
    code = 70
    try:
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        code = work()
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(child: int, limit: float = 120.0) -> int:
    """Exit code of `child`, negative for a signal; one that takes longer than `limit` seconds is an error."""
    begin = time.monotonic()
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() - begin > limit:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError(f"a child took longer than {limit} s")
        time.sleep(0.002)
