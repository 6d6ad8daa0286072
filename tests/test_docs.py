"""The Python of README and docs runs, at small numbers."""

from __future__ import annotations

import re
import runpy
import shlex
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


SCRIPTS = sorted(path.relative_to(ROOT) for folder in ("recipes", "benchmarks") for path in (ROOT / folder).glob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=str)
def test_scripts_can_be_run(path, monkeypatch):
    """Their imports, and the methods that they build."""
    monkeypatch.syspath_prepend(ROOT / path.parent)
    monkeypatch.syspath_prepend(ROOT)
    runpy.run_path(str(ROOT / path))


def commands_of_docs() -> list[Any]:
    """Every line of README and docs that runs a recipe or a benchmark, as its words from the script on."""
    lines = [
        line for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) for line in path.read_text().replace("\\\n", " ").splitlines()
    ]
    found = [shlex.split(text, comments=True) for line in lines for text in re.findall(r"python ((?:recipes|benchmarks)/[^`]*)", line)]
    return [pytest.param(words, id=" ".join(words)[:60]) for words in found]


@pytest.mark.parametrize("words", commands_of_docs())
def test_commands_of_the_docs_name_what_scripts_know(words):
    text, flag = (ROOT / words[0]).read_text(), ""
    for word in words[1:]:
        flag = word if word.startswith("--") else flag
        if word == flag:
            assert re.search(rf"\b{word[2:].replace('-', '[-_]')}\b", text), word
        elif flag == "--only" and word != "ROW...":
            assert f'"{word}"' in text, word
