"""The command line over a Ray cluster: one JSON object whatever dies, one line an error, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import small
from tests.cli.test_cli import condensed, run


def one_process(marker: str, name: str) -> int | None:
    """The number of a process with `marker` in its environment whose title begins with `name`."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment, title = ((folder / file).read_bytes() for file in ("environ", "cmdline"))
        except OSError:
            continue
        if marker.encode() in environment and title.startswith(name.encode()):
            return int(folder.name)
    return None


def wait_for(condition, seconds: float = 240) -> int | None:
    end = time.monotonic() + seconds
    while (found := condition()) is None and time.monotonic() < end:
        time.sleep(0.05)
    return found


BAD_FLAGS = {
    "unknown engine": (["--engine", "magic"], "`engine` = 'magic': must be one of local, ray"),
    "address of the local engine": (["--address", "localhost:6379"], "`address` = 'localhost:6379': is for the ray engine"),
    "workers of the local engine": (["--workers", "2"], "`workers` = 2: is for the ray engine"),
    "no workers": (["--engine", "ray", "--workers", "0"], "`workers` = 0: must be at least 1"),
    "nothing there": (["--engine", "ray", "--address", "127.0.0.1:1"], "`address` = '127.0.0.1:1': nothing answers there"),
    "nothing to spread": (["--engine", "ray", "--algorithm", "hypergradient"], "`algorithm` = 'hypergradient': has no pieces"),
}


@pytest.mark.parametrize("case", BAD_FLAGS)
def test_a_bad_engine_is_one_line_and_exit_2(capsys, tmp_path, case):
    flags, expected = BAD_FLAGS[case]
    code, text, error = run(capsys, "search", str(condensed(capsys, tmp_path)), *flags)
    assert (code, text) == (2, "")
    assert error.count("\n") == 1
    assert expected in error


def test_a_method_without_pieces_is_refused(capsys, tmp_path):
    arguments = ["condense", str(small.npz(tmp_path)), "--size", "9", "--method", "gcond", "--engine", "ray", "--out", str(tmp_path / "out")]
    code, _, error = run(capsys, *arguments)
    assert code == 2
    assert "`method` = 'gcond, bank': has no pieces" in error


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_worker_is_not_seen_and_an_interrupt_ends_the_cluster(capsys, tmp_path, how):
    """SIGKILL goes to the first worker at work, SIGINT to the command itself."""
    pytest.importorskip("ray")
    out, marker = condensed(capsys, tmp_path), f"HCDC_TEST={tmp_path}"
    name, value = marker.split("=")
    command = [
        sys.executable,
        "-c",
        "import signal, hcdc.cli; signal.signal(signal.SIGINT, signal.default_int_handler); hcdc.cli.main()",
        "search",
        str(out),
        "--trials",
        "64",
        "--json",
        "--engine",
        "ray",
        "--workers",
        "2",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", name: value}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as running:
        worker = wait_for(lambda: one_process(marker, "ray::_piece"))
        assert worker is not None
        os.kill(worker if how == signal.SIGKILL else running.pid, how)
        text, error = running.communicate()
    if how == signal.SIGINT:
        assert (running.returncode, text) == (130, "")
        assert "interrupted; what was finished is kept, and the same command with --resume goes on from there" in error
    else:
        assert running.returncode == 0, error
        alone = json.loads(run(capsys, "search", str(out), "--trials", "64", "--json")[1])
        assert json.loads(text) | {"seconds": 0, "bill": {}} == alone | {"seconds": 0, "bill": {}}
    assert wait_for(lambda: True if one_process(marker, "") is None else None, 30)
