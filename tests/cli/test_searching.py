"""`hcdc search`: every algorithm, resumption after a kill, the guard, ranges, and refusals of one line."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from hcdc.evaluate.report import configuration
from hcdc.integrations import optuna_storage
from hcdc.store import locked, read_json
from tests import small
from tests.cli.test_cli import condensed, run

ALGORITHMS = ["grid", "random", "hypergradient", "reinforce", "graphnas", "tpe", "cmaes", "hyperband"]


def found(folder, algorithm):
    return [(trial["config"], trial["score"]) for trial in read_json(folder / f"search-{algorithm}.json")["all"]]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_answers_alike_and_again(capsys, tmp_path, algorithm):
    out = condensed(capsys, tmp_path)
    code, text, _ = run(capsys, "search", str(out), "--algorithm", algorithm, "--trials", "3", "--json")
    facts = json.loads(text)
    assert (code, facts["algorithm"]) == (0, algorithm)
    assert facts["bill"]["seconds_search"] == facts["seconds"] > 0
    assert facts["recommended_config"] == facts["best_config"]
    first, kept = found(out, algorithm), out / f"search-{algorithm}"
    if algorithm in ALGORITHMS[:5]:
        assert not kept.exists()
    else:
        code, _, error = run(capsys, "search", str(out), "--algorithm", algorithm, "--trials", "3")
        assert (code, error.count("\n")) == (2, 1)
        assert "--resume" in error
    code, text, _ = run(capsys, "search", str(out), "--algorithm", algorithm, "--trials", "3", "--resume")
    assert code == 0
    assert "Train the best few" in text
    assert found(out, algorithm) == first


@pytest.mark.parametrize("algorithm", ["darts", "darts-pt"])
def test_choices_are_found_by_a_supernet(capsys, tmp_path, algorithm):
    npz, out = small.npz(tmp_path), tmp_path / "out"
    assert run(capsys, "condense", str(npz), "--size", "9", "--space", "appnp", "--method", "random", "--out", str(out))[0] == 0
    code, text, _ = run(capsys, "search", str(out), "--algorithm", algorithm, "--trials", "1", "--json")
    assert code == 0
    assert json.loads(text)["best_config"].keys() == {"k", "hidden", "alpha", "activation"}
    assert not (out / f"search-{algorithm}").exists()


def test_the_guard_is_on_the_bill_and_recommends(capsys, tmp_path):
    out = condensed(capsys, tmp_path)
    code, text, _ = run(capsys, "search", str(out), "--trials", "6", "--guard", "3", "--json")
    facts = json.loads(text)
    assert code == 0
    assert 2 <= facts["guard"]["trained"] <= 3
    assert facts["bill"]["seconds_guard"] == facts["guard"]["seconds"] > 0
    places = [row["config"] for row in facts["guard"]["candidates"]]
    assert facts["recommended_config"] == places[facts["guard"]["recommended_place"] - 1]
    assert read_json(out / "search-random.json")["guard"] == facts["guard"]
    _, text, _ = run(capsys, "search", str(out), "--trials", "6", "--guard", "3")
    recommended, bill, last = text.splitlines()[-3:]
    assert recommended.startswith("Recommended: filter.0=")
    assert bill.startswith("Bill: condensing")
    assert last.endswith(str(out / "search-random.json"))
    assert read_json(out / "search-random.json")["flags"] == "--algorithm random --trials 6 --seed 0 --guard 3"
    assert run(capsys, "evaluate", str(out), "--configs", "4", "--seeds", "1")[0] == 0
    page = (out / "report.html").read_text("utf-8")
    assert f"of these is recommended: {configuration(facts['recommended_config'])}" in page
    assert "Retrain a few" not in page


def test_a_search_is_not_replaced_by_less(capsys, tmp_path):
    out = condensed(capsys, tmp_path)
    assert run(capsys, "search", str(out), "--trials", "4", "--guard", "2")[0] == 0
    before = (out / "search-random.json").read_bytes()
    for less in (("--trials", "3", "--guard", "2"), ("--trials", "4"), ("--trials", "4", "--resume")):
        code, text, error = run(capsys, "search", str(out), *less)
        assert (code, text, error.count("\n")) == (2, "", 1)
        assert "holds a search of 4 trials and its guard, which would be lost" in error
    assert (out / "search-random.json").read_bytes() == before
    code, text, _ = run(capsys, "search", str(out), "--trials", "5", "--guard", "9")
    assert code == 0
    assert "of the best 5 (9 were asked for, and the search has no more that differ), trained 3 times each" in text


def test_of_two_searches_alike_one_is_told_to_wait(capsys, tmp_path):
    out = condensed(capsys, tmp_path)
    with locked(out / "search-random"):
        for more in ((), ("--resume",)):
            code, _, error = run(capsys, "search", str(out), "--trials", "3", *more)
            assert (code, error.count("\n")) == (2, 1)
            assert f"{out / 'search-random'}: another process is writing there" in error
        assert run(capsys, "search", str(out), "--algorithm", "grid", "--trials", "3")[0] == 0
    assert run(capsys, "search", str(out), "--trials", "3")[0] == 0
    assert not (out / "search-random").exists()


def test_a_range_is_narrowed_and_only_widened_by_force(capsys, tmp_path):
    out = condensed(capsys, tmp_path)
    narrow = ["--axis", "filter.0=0.25:0.5", "--axis", "filter.3=-1:0", "--trials", "3"]
    assert run(capsys, "search", str(out), *narrow)[0] == 0
    assert all(0.25 <= config["filter.0"] <= 0.5 and config["filter.3"] <= 0 for config, _ in found(out, "random"))
    wide = ["search", str(out), "--axis", "filter.1=2:3", "--trials", "3"]
    code, text, error = run(capsys, *wide)
    assert (code, text, error.count("\n")) == (2, "", 1)
    assert "filter.1" in error
    assert "condensed for" in error
    code, _, _ = run(capsys, *wide, "--force", "--guard", "2")
    assert code == 0
    assert all(2 <= config["filter.1"] <= 3 for config, _ in found(out, "random"))


REFUSED = {
    "no trials": (["--trials", "0"], "`trials` = 0"),
    "no trials of a study": (["--algorithm", "tpe", "--trials", "0"], "`trials` = 0"),
    "algorithm": (
        ["--algorithm", "magic"],
        "must be one of grid, random, hypergradient, darts, darts-pt, reinforce, graphnas, tpe, cmaes, hyperband",
    ),
    "darts without choices": (["--algorithm", "darts"], "DARTS weighs the options of choices, and there is none among these axes; take"),
    "darts-pt without choices": (["--algorithm", "darts-pt"], "DARTS-PT weighs the options of choices"),
    "darts on a cluster": (["--algorithm", "darts", "--engine", "ray"], "take grid or random, or leave --engine out"),
    "storage without a study": (["--storage", "x.db"], "`storage` = 'x.db': is for tpe"),
    "guard of one": (["--guard", "1"], "`guard` = 1"),
    "unknown axis": (["--axis", "filter.9=0:1"], "must name a numeric axis, of which there are filter.0"),
    "axis without range": (["--axis", "filter.0"], "must give two numbers; write filter.0=-1.0:1.0"),
    "axis of three": (["--axis", "filter.0=0:1:2"], "must give two numbers"),
    "axis of letters": (["--axis", "filter.0=a:b"], "must give two numbers"),
    "axis upside down": (["--axis", "filter.0=1:0"], "low must be less than high"),
    "axis of nan": (["--axis", "filter.0=0:nan"], "must be finite"),
    "foreign file": (["--algorithm", "tpe", "--storage", "{folder}/small.npz"], "is no Optuna study"),
    "foreign journal": (["--algorithm", "tpe", "--storage", "{folder}/other.log"], "is no journal of Optuna"),
    "locked": (["--algorithm", "tpe", "--storage", "{folder}/locked.db"], "locked by another process"),
    "another space": (["--algorithm", "tpe", "--storage", "{folder}/used.db", "--axis", "filter.0=0:1"], "is of another space"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_search_is_one_line_and_exit_2(capsys, tmp_path, monkeypatch, case):
    arguments, expected = REFUSED[case]
    monkeypatch.setattr(optuna_storage, "TIMEOUT", 0.1)
    out = condensed(capsys, tmp_path)
    (tmp_path / "other.log").write_text("Monday: rain.\n")
    locked = sqlite3.connect(tmp_path / "locked.db")
    locked.executescript("CREATE TABLE t (x); BEGIN EXCLUSIVE")
    if case == "another space":
        assert run(capsys, "search", str(out), "--algorithm", "tpe", "--trials", "1", "--storage", str(tmp_path / "used.db"))[0] == 0
        (out / "search-tpe.json").unlink()
    code, text, error = run(capsys, "search", str(out), *(argument.format(folder=tmp_path) for argument in arguments))
    locked.close()
    assert (code, text, error.count("\n")) == (2, "", 1), error
    assert expected in error
    assert not list(out.glob("search-*"))


def test_without_the_extra_the_pip_line_is_given(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(optuna_storage, "find_spec", lambda name: None)
    code, _, error = run(capsys, "search", str(condensed(capsys, tmp_path)), "--algorithm", "tpe")
    assert (code, error.count("\n")) == (2, 1)
    assert "pip install -e '.[optuna]'" in error


SLOW = """
import time
from hcdc.search import Objective
from hcdc.bilevel import problem
problem.TOGETHER = 2
judged = Objective.judged
def slow(self, *rest):
    time.sleep(0.5)
    return judged(self, *rest)
Objective.judged = slow
from hcdc.cli import main
main()
"""


@pytest.mark.parametrize("algorithm", ["random", "hypergradient", "tpe"])
def test_a_killed_search_resumes(capsys, tmp_path, algorithm, monkeypatch):
    """To the same trials, bit for bit; a study of no more trials than it has starting points too."""
    monkeypatch.setattr("hcdc.bilevel.problem.TOGETHER", 2)
    out = condensed(capsys, tmp_path)
    arguments = ["search", str(out), "--algorithm", algorithm, "--trials", "10"]
    assert run(capsys, *arguments)[0] == 0
    whole, kept = found(out, algorithm), out / f"search-{algorithm}"
    (out / f"search-{algorithm}.json").unlink()
    if kept.exists():
        (kept / "study.sqlite3").unlink()
        kept.rmdir()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", SLOW, *arguments], env=environment) as running:
        while not any(kept.glob("*.json")) and not (kept / "study.sqlite3").exists() and running.poll() is None:
            time.sleep(0.01)
        time.sleep(0.2)
        running.send_signal(signal.SIGKILL)
    assert running.returncode == -9
    assert not (out / f"search-{algorithm}.json").exists()
    assert "--resume" in run(capsys, *arguments)[2]
    assert run(capsys, *arguments, "--resume")[0] == 0
    assert len(whole) == 10
    assert found(out, algorithm) == whole
