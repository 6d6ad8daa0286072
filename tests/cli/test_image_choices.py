"""The flags that images alone have: what they make, and what is refused in one line."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hcdc.condense import CellBank
from hcdc.data.cifar import LAYOUTS
from tests.cli.test_cli import run

DIGITS = ["condense", "digits", "--size", "20", "--no-probe"]


def test_hcdc_on_cells_makes_a_point_a_step(capsys, tmp_path):
    out = str(tmp_path / "out")
    code, text, _ = run(capsys, *DIGITS, "--space", "nasbench201", "--steps", "7", "--soft-labels", "--dry-run", "--out", out, "--json")
    assert code == 0
    assert json.loads(text)["steps"] == 24 + 7


def test_the_training_set_of_an_artefact_is_trained_on_and_named_in_the_card(capsys, tmp_path):
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    assert run(capsys, *DIGITS, "--method", "random", "--out", first)[0] == 0
    code, text, _ = run(capsys, *DIGITS, "--train-from", first, "--out", second, "--dry-run", "--json")
    assert (code, json.loads(text)["method"]) == (0, "hcdc")
    code, _, error = run(capsys, "condense", "digits", "--size", "30", "--train-from", first, "--out", second)
    assert (code, error.splitlines()[-1][:19]) == (2, "error: `size` = 30:")


@pytest.fixture
def cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty images a batch in the official layout; a cell is trained for one epoch, two are aligned."""
    names = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
    monkeypatch.setitem(LAYOUTS, "cifar10", replace(LAYOUTS["cifar10"], files=dict.fromkeys(names, 20)))
    monkeypatch.setattr("hcdc.condense.task.CELL_EPOCHS", 1)
    monkeypatch.setattr("hcdc.evaluate.alignment.CELLS", 2)
    monkeypatch.setattr("hcdc.run.CellBank", lambda **_: CellBank(starts=3, steps=2, batch=3))
    folder, random = tmp_path / "cifar-10-batches-py", np.random.default_rng(0)
    folder.mkdir()
    for name in names:
        batch = {"data": random.integers(0, 256, (20, 3072), dtype=np.uint8), "labels": [i % 10 for i in range(20)]}
        (folder / name).write_bytes(pickle.dumps(batch))
    return tmp_path


def test_cells_end_to_end(capsys, cifar10):
    """Condensed on what a random artefact trains on, and judged cell by cell."""
    root, first, second = ["--root", str(cifar10)], str(cifar10 / "first"), str(cifar10 / "second")
    command = ["condense", "cifar10", "--space", "nasbench201", "--size", "10", "--no-probe", *root]
    assert run(capsys, *command, "--method", "random", "--out", first)[0] == 0
    code, text, progress = run(capsys, *command, "--train-from", first, "--out", second, "--json")
    assert code == 0
    assert "GiB of memory" in progress
    history = json.loads(text)["history"]
    assert {"alignment_loss", "values_loss", "accuracy_loss"} <= set(history[-1])
    code, text, _ = run(capsys, "evaluate", second, "--configs", "4", "--seeds", "1", *root, "--json")
    assert code == 0
    facts = json.loads(text)
    assert (facts["images"], facts["images_val"], facts["configs"]) == (10, 10, 4)
    assert "Direction of hypergradients" in Path(facts["report"]).read_text()


BROKEN = {
    "an unknown relaxation": (["--space", "nasbench201", "--relaxation", "hard"], "`relaxation` = 'hard': must be one of softmax, gumbel, gdas"),
    "a relaxation of no cells": (["--relaxation", "gdas"], "`relaxation` = 'gdas': hcdc has no such choice"),
    "soft labels of real images": (["--method", "random", "--soft-labels"], "`soft-labels` = True: random has no such choice"),
    "sides that cannot be divided": (["--method", "dm", "--formation", "3"], "`formation` = 3: must divide the sides"),
    "sides of what has whole images": (["--formation", "2"], "no such choice on this data and space; leave it out; dc, dsa, dm, kip, tm"),
    "a decay searched with cells": (["--space", "nasbench201", "--regularise", "decay"], "`regularise` = ('decay',): condenses for cells alone"),
    "no artefact to train on": (["--train-from", "nowhere"], "nowhere is not a folder"),
    "fewer images than classes": (["--size", "9"], "`size` = 9: must lie between 10 (one a class)"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_refused_is_one_line_and_exit_2(capsys, tmp_path, case):
    flags, words = BROKEN[case]
    code, text, error = run(capsys, *DIGITS, *flags, "--out", str(tmp_path / "out"))
    assert code == 2
    assert text == ""
    assert words in error.splitlines()[-1]


def test_a_decay_searched_with_cells_is_judged_without_an_alignment(capsys, cifar10, tmp_path):
    """No point of the alignment has a decay; everything else of the verdict is there."""
    root, out = ["--root", str(cifar10)], str(tmp_path / "set")
    made = ["condense", "cifar10", "--space", "nasbench201", "--size", "10", "--regularise", "decay", "--method", "random", "--no-probe"]
    assert run(capsys, *made, *root, "--out", out)[0] == 0
    code, text, _ = run(capsys, "evaluate", out, "--configs", "4", "--seeds", "1", *root)
    assert (code, "Ranking of 4 configurations" in text) == (0, True)
