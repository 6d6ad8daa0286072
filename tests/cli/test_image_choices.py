"""The flags that images alone have: what they make, and what is refused in one line."""

from __future__ import annotations

import json

import pytest

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


BROKEN = {
    "an unknown relaxation": (["--space", "nasbench201", "--relaxation", "hard"], "`relaxation` = 'hard': must be one of softmax, gumbel, gdas"),
    "a relaxation of no cells": (["--relaxation", "gdas"], "`relaxation` = 'gdas': hcdc has no such choice"),
    "soft labels of real images": (["--method", "random", "--soft-labels"], "`soft-labels` = True: random has no such choice"),
    "sides that cannot be divided": (["--method", "dm", "--formation", "3"], "`formation` = 3: must divide the sides"),
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
