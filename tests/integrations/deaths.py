"""Work that ends its worker when it is first done; workers import it by name."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any


def once(folder: str, work: Any, **arguments: Any) -> Any:
    """`work(**arguments)`, but whoever comes to `folder` first is killed and leaves its process number there."""
    try:
        with Path(folder, "killed").open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return work(**arguments)
    return os.kill(os.getpid(), signal.SIGKILL)


def always(**arguments: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
