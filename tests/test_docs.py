"""The Python of README and docs runs, at small numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import hcdc.run
from hcdc.cli import app, running
from hcdc.condense import Bank

ROOT = Path(__file__).parent.parent


def blocks(language: str) -> list[Any]:
    """The blocks of `language` in README and docs."""
    return [
        pytest.param(block, id=f"{path.name}-{number}")
        for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
        for number, block in enumerate(re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.S))
    ]


SMALLER = {"size=50": "size=10", "configs=24": "configs=4", "seeds=2": "seeds=1", "trials=40": "trials=3", "n_trials=12": "n_trials=2"}


@pytest.mark.parametrize("block", blocks("python"))
def test_examples_run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hcdc.run, "Bank", lambda **_: Bank(starts=4, stages=1, chunk=4, steps=3, batch=4))
    for large, little in SMALLER.items():
        block = block.replace(large, little)
    exec(compile(block, "example", "exec"), {})


@pytest.mark.parametrize("block", blocks("toml"))
def test_run_files_pass_their_check(block, tmp_path):
    (tmp_path / "run.toml").write_text(block)
    commands = {"condense": app.condense, "search": app.search, "evaluate": app.evaluate}
    assert running.read(tmp_path / "run.toml", commands).keys() == commands.keys()
    assert callable(running.run(tmp_path / "run.toml", commands))


def test_readme_names_only_files_that_exist():
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
