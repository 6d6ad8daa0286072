"""`hcdc run`: a file does what the three commands do, and is refused by name before anything is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from hcdc.cli import app as door, running
from tests import small
from tests.cli.test_cli import little_work, run  # noqa: F401

SECTIONS = {"condense": door.condense, "search": door.search, "evaluate": door.evaluate}
WHOLE = """
[condense]
data = "{data}"
size = 9
steps = 5
out = "{out}"

[search]
algorithm = "grid"
trials = 3
axis = ["filter.0=0:0.5"]

[evaluate]
configs = 4
seeds = 1
"""


def written(folder: Path, text: str = WHOLE) -> Path:
    file = folder / "run.toml"
    file.write_text(text.format(data=small.npz(folder), out=folder / "out"))
    return file


def test_a_file_does_what_the_commands_do(capsys, tmp_path):
    code, text, error = run(capsys, "run", str(written(tmp_path)), "--json")
    assert code == 0, error
    facts, other = json.loads(text), tmp_path / "other"
    assert list(facts) == ["condense", "search", "evaluate"]
    assert run(capsys, "condense", str(tmp_path / "small.npz"), "--size", "9", "--steps", "5", "--out", str(other))[0] == 0
    assert (other / "data.safetensors").read_bytes() == (tmp_path / "out" / "data.safetensors").read_bytes()
    _, text, _ = run(capsys, "search", str(other), "--algorithm", "grid", "--trials", "3", "--axis", "filter.0=0:0.5", "--json")
    assert json.loads(text)["best_score"] == facts["search"]["best_score"]
    assert Path(facts["evaluate"]["report"]).is_file()


def test_an_interrupted_file_is_resumed_and_a_finished_one_is_not_overwritten(capsys, tmp_path, monkeypatch):
    file = written(tmp_path, WHOLE.partition("[evaluate]")[0])
    with monkeypatch.context() as broken:
        broken.setattr("hcdc.search.Grid.run", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(capsys, "run", str(file))[0] == 130
    made = (tmp_path / "out" / "card.json").read_bytes()
    code, _, error = run(capsys, "run", str(file))
    assert (code, error.count("\n")) == (2, 1)
    assert "already holds a finished run" in error
    code, text, error = run(capsys, "run", str(file), "--resume")
    assert code == 0, error
    assert [line for line in text.splitlines() if line.startswith("[")] == ["[condense]", "[search]"]
    assert (tmp_path / "out" / "card.json").read_bytes() == made


def test_a_dry_run_checks_all_sections_and_does_none(capsys, tmp_path):
    code, text, _ = run(capsys, "run", str(written(tmp_path)), "--dry-run", "--json")
    assert (code, list(json.loads(text))) == (0, ["condense"])
    assert not (tmp_path / "out").exists()


REFUSED = {
    "not TOML": ("[condense", "is not TOML"),
    "no section": ("", "must have a section [condense]"),
    "a section that is a value": ("condense = 1", "`condense` = 1: must be a section"),
    "another section": (WHOLE + "[judge]\nconfigs = 4", "`judge` = {{'configs': 4}}: is no key of the file, which has condense"),
    "a key misspelt": (WHOLE.replace("steps", "step"), "`condense.step` = 5: is no key of [condense]"),
    "the key that was meant": (WHOLE.replace("steps", "step"), "did you mean steps?"),
    "a key with a line below": (WHOLE.replace("steps", "val_size"), "did you mean val-size?"),
    "a text for a number": (WHOLE.replace("size = 9", 'size = "9"'), "`condense.size` = '9': must be a valid integer; see `hcdc condense --help`"),
    "a truth for a number": (WHOLE.replace("trials = 3", "trials = true"), "`search.trials` = True: must be a valid integer"),
    "one of several": (WHOLE.replace('["filter.0=0:0.5"]', '["filter.0=0:0.5", 1]'), "`search.axis.1` = 1: must be a valid string"),
    "no folder to work in": (WHOLE.replace('out = "{out}"', ""), "`condense.out` = None: must be given"),
    "a key that is needed": (WHOLE.replace("size = 9", ""), "`condense.size` = None: must be given"),
    "what belongs to one call": (WHOLE.replace("steps = 5", "resume = true"), "`condense.resume` = True: is no key"),
    "what is above is of all": ("root = 3\n" + WHOLE, "`root` = 3"),
    "what is above must be of all": ("size = 3\n" + WHOLE, "`size` = 3: is no key of the file"),
    "an algorithm": (WHOLE.replace("grid", "magic"), "`algorithm` = 'magic'"),
    "trials": (WHOLE.replace("trials = 3", "trials = 0"), "`trials` = 0"),
    "configurations": (WHOLE.replace("configs = 4", "configs = 1"), "`configs` = 1"),
    "engine": ('engine = "steam"\n' + WHOLE, "`engine` = 'steam'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_file_is_one_line_and_nothing_is_done(capsys, tmp_path, case):
    text, said = REFUSED[case]
    code, out, error = run(capsys, "run", str(written(tmp_path, text)))
    assert (code, out, error.count("\n")) == (2, "", 1), error
    assert said.format() in error
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there(capsys, tmp_path):
    code, _, error = run(capsys, "run", str(tmp_path / "run.toml"))
    assert code == 2
    assert "cannot be read: No such file" in error


@pytest.mark.parametrize("name", SECTIONS)
def test_keys_are_the_flags_and_defaults_stay_with_the_commands(name):
    flags = {option.opts[0].removeprefix("--") for option in get_command(door.app).commands[name].params}
    assert set(running.names(SECTIONS[name])) == flags - {"json", "help", "folder", "resume", "dry-run"}
    assert running.read.__defaults__ is None


def test_what_a_file_leaves_out_is_not_filled_in(tmp_path):
    found = running.read(written(tmp_path), SECTIONS)
    assert found["condense"] == {"data": str(tmp_path / "small.npz"), "size": 9, "steps": 5, "out": tmp_path / "out"}
    assert found["evaluate"] == {"configs": 4, "seeds": 1}


def test_the_shell_learns_the_commands(tmp_path):
    """Into a home of its own, whose bash then completes."""
    hcdc = Path(sys.executable).parent / "hcdc"
    home = {"HOME": str(tmp_path), "PATH": f"{hcdc.parent}:{os.environ['PATH']}"} | {
        name: value for name, value in os.environ.items() if name.startswith(("PYTHON", "LD_", "LANG"))
    }
    install = subprocess.run(["bash", "-c", "hcdc --install-completion; exit $?"], env=home, capture_output=True, text=True, check=False)
    assert install.returncode == 0, install.stderr
    assert "bash completion installed" in install.stdout
    words = '. ~/.bashrc; COMP_WORDS=(hcdc con); COMP_CWORD=1; _hcdc_completion hcdc con hcdc; echo "${COMPREPLY[@]}"'
    asked = subprocess.run(["bash", "-c", words], env=home, capture_output=True, text=True, check=False)
    assert asked.stdout.split() == ["condense"], asked.stderr
