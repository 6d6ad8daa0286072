"""The command line where the disk is full or read-only, the network is shut, extras are absent, or others are at work."""

from __future__ import annotations

import builtins
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from hcdc.cli import main
from hcdc.store import load_condensed, locked
from tests import small
from torture.kills import little_work


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `little_work` replaces is put back afterwards."""
    import hcdc.evaluate.report
    import hcdc.run
    from hcdc.store import Checkpoint

    for owner, name in ((hcdc.run, "Bank"), (hcdc.run, "default_recipes"), (hcdc.evaluate.report, "DPI"), (Checkpoint, "due")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    little_work()


def run(capsys: Any, *arguments: str | Path) -> tuple[int, str, str]:
    code = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def condensed(capsys: Any, folder: Path, *flags: str) -> Path:
    out = folder / "out"
    code, _, error = run(capsys, "condense", small.npz(folder), "--size", "9", "--no-probe", "--out", out, *(flags or ("--method", "random")))
    assert code == 0, error
    return out


# Disks ---------------------------------------------------------------------------------------------------------------


def mounted(folder: Path, options: str) -> bool:
    folder.mkdir(exist_ok=True)
    return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Any:
    """A disk of 32 KiB."""
    folder = tmp_path / "disk"
    if os.geteuid() != 0 or shutil.which("mount") is None or not mounted(folder, "size=32k"):
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(capsys: Any, tmp_path: Path, disk: Path) -> None:
    """Condensing, checkpoint included, needs more than there is; what is left is resumed elsewhere or is nothing."""
    code, text, error = run(capsys, "condense", small.npz(tmp_path), "--size", "9", "--no-probe", "--out", disk / "out")
    assert (code, text) == (2, "")
    assert "No space left on device; nothing was changed" in error.splitlines()[-1]
    assert not (disk / "out" / "card.json").exists()
    assert not list(disk.rglob("*.part")), "half a file is left"


def test_a_disk_that_is_full_when_an_artefact_is_judged(capsys: Any, tmp_path: Path, disk: Path) -> None:
    made = condensed(capsys, tmp_path)
    shutil.copytree(made, disk / "out")
    code, text, error = run(capsys, "evaluate", disk / "out", "--configs", "4", "--seeds", "1")
    assert (code, text) == (2, "")
    assert "No space left on device" in error.splitlines()[-1]
    assert not (disk / "out" / "evaluation.json").exists()
    assert run(capsys, "verify", disk / "out")[0] == 0


@pytest.mark.parametrize("command", [("evaluate", "--configs", "4", "--seeds", "1"), ("search", "--trials", "2")], ids=lambda c: c[0])
def test_a_disk_that_is_read_only(capsys: Any, tmp_path: Path, disk: Path, command: tuple[str, ...]) -> None:
    shutil.copytree(condensed(capsys, tmp_path), disk / "out")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    fresh = ("condense", tmp_path / "small.npz", "--size", "9", "--out", disk / "new")
    for flags in ((command[0], disk / "out", *command[1:]), fresh):
        code, text, error = run(capsys, *flags)
        assert (code, text) == (2, "")
        assert "Read-only file system" in error.splitlines()[-1]
    assert run(capsys, "verify", disk / "out")[0] == 0, "reading needs no writing"


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    """What a quota does: the write itself fails, in a process of its own."""
    out, data = tmp_path / "out", small.npz(tmp_path)

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))

    command = [
        sys.executable,
        "-c",
        "from hcdc.cli import main; main()",
        "condense",
        str(data),
        "--size",
        "9",
        "--method",
        "random",
        "--out",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "File too large; nothing was changed" in done.stderr.splitlines()[-1]
    assert list(out.iterdir()) == []


# Network and privacy -------------------------------------------------------------------------------------------------


def test_the_whole_command_line_opens_no_socket(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **named: Any) -> Any:
        raise AssertionError(f"a connection was asked for: {arguments}")

    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "create_connection", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    out = condensed(capsys, tmp_path, "--method", "hcdc")
    for command in (("search", out, "--trials", "2"), ("evaluate", out, "--configs", "4", "--seeds", "1"), ("show", out), ("verify", out)):
        code, _, error = run(capsys, *command)
        assert code == 0, error
    with pytest.raises(AssertionError, match="a connection"):
        socket.create_connection(("localhost", 1))


def test_a_report_of_hostile_names_is_text(capsys: Any, tmp_path: Path) -> None:
    """The path of the data, and so the name of the data, is markup; so are an option of a search and a setting."""
    evil = tmp_path / "<script>alert(1)<" / 'b "onload=x'
    evil.mkdir(parents=True)
    out = condensed(capsys, evil)
    trial = {"config": {"<img src=x onerror=alert(2)>": "</td><script>"}, "score": 0.5, "seconds": 1.0}
    (out / "search-random.json").write_text(json.dumps({"all": [trial]}))
    code, text, _ = run(capsys, "evaluate", out, "--configs", "4", "--seeds", "1", "--json")
    assert code == 0
    page = Path(json.loads(text)["report"]).read_text()
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;img src=x onerror" in page
    for forbidden in ("<script", "<img src=x", "</td><script>", 'b "onload', "http://", "https://", "url(", "@import"):
        assert forbidden not in page
    assert "default-src 'none'" in page


# Optional extras -----------------------------------------------------------------------------------------------------

EXTRAS = {
    "torch_geometric": (["condense", "cora", "--size", "9"], ".[graphs]"),
    "sklearn": (["condense", "digits", "--size", "20"], ".[images]"),
    "matplotlib": (["evaluate"], ".[report]"),
    "jinja2": (["evaluate"], ".[report]"),
}


@pytest.mark.parametrize("module", EXTRAS)
def test_an_absent_extra_is_named_and_nothing_else_needs_it(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    out, (command, said) = condensed(capsys, tmp_path), EXTRAS[module]
    original, find = builtins.__import__, __import__("importlib.util").util.find_spec

    def absent(name: str, *rest: Any, **named: Any) -> Any:
        if name.partition(".")[0] == module:
            raise ImportError(f"No module named {name!r}", name=name)
        return original(name, *rest, **named)

    for loaded in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setattr(builtins, "__import__", absent)
    monkeypatch.setattr("hcdc.evaluate.report.find_spec", lambda name: None if name == module else find(name))
    target = [out] if command[0] == "evaluate" else ["--out", tmp_path / "new"]
    code, text, error = run(capsys, *command, *target)
    assert (code, text) == (2, "")
    assert f"pip install -e '{said}'" in error.splitlines()[-1]
    for other in (("search", out, "--trials", "2"), ("verify", out), ("show", out)):
        assert run(capsys, *other)[0] == 0


# Others at work ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["condense", "evaluate"])
def test_one_writer_at_a_time(capsys: Any, tmp_path: Path, command: str) -> None:
    out = condensed(capsys, tmp_path) if command == "evaluate" else tmp_path / "out"
    arguments = [out, "--configs", "4"] if command == "evaluate" else [small.npz(tmp_path), "--size", "9", "--out", out]
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with locked(out):
        code, text, error = run(capsys, command, *arguments)
    assert (code, text) == (2, "")
    assert "another process is writing there" in error.splitlines()[-1]
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_many_readers_while_it_is_judged(capsys: Any, tmp_path: Path) -> None:
    """Readers never wait and never see anything but a whole artefact."""
    out = condensed(capsys, tmp_path)
    wanted, done, seen, wrong = load_condensed(out).card.tensors_sha256, threading.Event(), [], []

    def read() -> None:
        while not done.is_set():
            try:
                seen.append(load_condensed(out).fingerprint())
                if (out / "evaluation.json").exists():
                    json.loads((out / "evaluation.json").read_text())
            except Exception as error:
                wrong.append(error)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        with locked(out):
            assert run(capsys, "verify", out)[0] == 0, "reading takes no lock"
        assert run(capsys, "evaluate", out, "--configs", "4", "--seeds", "1")[0] == 0
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    assert set(seen) == {load_condensed(out).fingerprint()}
    assert load_condensed(out).card.tensors_sha256 == wanted
