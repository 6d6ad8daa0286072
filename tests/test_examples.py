"""The examples run, at small numbers, print their figures, and stay short."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.cases import needs_data

FOLDER = Path(__file__).parent.parent / "examples"
PRINTED = ("spearman_loss", "ceiling_loss", "floor_strong_loss", "regret_top1", "break_even_configs")


@pytest.mark.parametrize("name", ["tabular", "image", pytest.param("graph", marks=needs_data)])
def test_an_example_runs(name, capsys):
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    facts = module.main(small=True)
    assert facts["configs"] == 4
    printed = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert set(PRINTED) <= printed


def test_examples_are_at_most_sixty_lines():
    assert [path.name for path in FOLDER.glob("*.py") if len(path.read_text().splitlines()) > 60] == []
