"""The command line as a contract: JSON alone on stdout, one line an error, exit codes, resumption after a kill."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

import hcdc
from hcdc.cli import app, main
from hcdc.run import CORESETS
from hcdc.store import load_condensed, locked
from tests import small

BRIEF = ["--size", "9", "--no-probe"]
FAST = [*BRIEF, "--steps", "5"]


@pytest.fixture(autouse=True)
def little_work(monkeypatch):
    """Banks of a second; what the commands do with them stays as it is."""
    monkeypatch.setattr("hcdc.run.Bank", lambda **_: small.METHODS["hcdc"].driver)


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    try:
        main(list(arguments))
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_hcdc_learns_on_the_training_set_of_another_method(capsys, tmp_path):
    """Paths, whose nodes beyond the first of each have no label."""
    first, second = condensed(capsys, tmp_path, "paths"), str(tmp_path / "second")
    assert run(capsys, "condense", str(tmp_path / "small.npz"), *FAST, "--train-from", str(first), "--out", second)[0] == 0
    made, source = load_condensed(second), load_condensed(first)
    assert made.card.settings["train"]["method"] == "paths"
    assert torch.equal(made.train.x, source.train.x)


def condensed(capsys, folder: Path, method: str = "random") -> Path:
    out = folder / method
    assert run(capsys, "condense", str(small.npz(folder)), "--method", method, "--size", "9", "--no-probe", "--out", str(out))[0] == 0
    return out


@pytest.mark.parametrize("method", ["hcdc", "gcond", "gcond-x", "random", "herding", "k-center", "centroids", "paths"])
def test_the_main_job(capsys, tmp_path, method):
    data, out = small.npz(tmp_path), tmp_path / "out"
    code, text, progress = run(
        capsys, "condense", str(data), "--method", method, *(BRIEF if method in CORESETS else FAST), "--out", str(out), "--json"
    )
    assert code == 0
    assert json.loads(text)["method"] == method
    assert method in ("random", "centroids", "paths") or ("learning S_val" if method == "hcdc" else "condensing") in progress
    assert not (out / "checkpoint").exists()
    for algorithm in ("grid", "random", "hypergradient"):
        code, text, _ = run(capsys, "search", str(out), "--algorithm", algorithm, "--trials", "3", "--json")
        assert code == 0
        assert len(json.loads(text)["best_config"]) == 4
    code, text, _ = run(capsys, "evaluate", str(out), "--configs", "5", "--seeds", "2", "--json")
    assert code == 0
    facts = json.loads(text)
    assert facts["nodes"] == 9
    page = Path(facts["report"]).read_text()
    assert page.lower().startswith("<!doctype html>")
    assert "Direction of hypergradients" in page
    for line in (f"hcdc condense {data} --size 9 --method {method}", f"hcdc search {out} --algorithm grid", f"hcdc evaluate {out} --configs 5"):
        assert line in page
    told = run(capsys, "show", str(out))[1]
    assert facts["sentence"] in told
    assert f"Report: {facts['report']}" in told
    assert "is whole" in run(capsys, "verify", str(out))[1]


@pytest.mark.parametrize("space", ["ppr", "heat", "sign", "appnp"])
def test_a_space_by_name_with_regularisers(capsys, tmp_path, space):
    flags = ["--space", space, "--regularise", "decay", "--regularise", "edge_drop"]
    out = tmp_path / "out"
    code, text, _ = run(capsys, "condense", str(small.npz(tmp_path)), "--method", "random", "--size", "9", *flags, "--out", str(out), "--json")
    assert code == 0
    card = json.loads(text)
    assert card["recipes"]["condensed"]["problem"]["family"] == space
    assert list(card["space"])[-3:] == ["decay.0", "decay.1", "edge_drop"]
    code, text, _ = run(capsys, "search", str(out), "--trials", "2", "--json")
    assert code == 0
    assert set(json.loads(text)["best_config"]) == set(card["space"])
    assert "is whole" in run(capsys, "verify", str(out))[1]


@pytest.mark.parametrize(("last", "space", "score"), [("{}", "logistic", "accuracy"), ("{}.5", "mlp", "r2")])
def test_the_main_job_on_a_table(capsys, tmp_path, last, space, score):
    random = np.random.default_rng(0)
    rows = [f"{a:.3f},{'xyz'[k % 3]},{last.format(k % 2)}" for k, a in enumerate(random.normal(size=60))]
    (tmp_path / "table.csv").write_text("\n".join(["age,town,y", *rows]))
    out = tmp_path / "out"
    code, text, error = run(capsys, "condense", str(tmp_path / "table.csv"), "--space", space, *FAST, "--out", str(out), "--json")
    assert code == 0, error
    card = json.loads(text)
    assert [column["name"] for column in card["data"]["columns"]] == ["age", "town", "y"]
    code, text, _ = run(capsys, "search", str(out), "--trials", "3")
    assert code == 0
    assert ("log10_decay.N is of column N: 0 age, 1 town" in text) == (space == "logistic")
    code, text, error = run(capsys, "evaluate", str(out), "--configs", "5", "--seeds", "2", "--json")
    assert code == 0, error
    facts = json.loads(text)
    assert facts["rows"] == 9
    assert f"picked_test_{score}" in facts
    assert ("accuracy" in json.dumps(sorted(facts))) == (score == "accuracy")
    page = Path(facts["report"]).read_text()
    assert ("R²" in page) == (score == "r2")
    told = run(capsys, "show", str(out))[1]
    assert facts["sentence"] in told
    assert f"Report: {facts['report']}" in told
    assert "is whole" in run(capsys, "verify", str(out))[1]


def test_evaluate_for_a_person_is_a_verdict_five_lines_and_a_path(capsys, tmp_path):
    out = condensed(capsys, tmp_path)
    _, text, _ = run(capsys, "evaluate", str(out), "--configs", "4", "--seeds", "1")
    lines = text.splitlines()
    assert len(lines) == 7
    assert lines[0].split(":")[0] in ("GREEN", "AMBER", "RED")
    assert lines[-1] == f"Report: {out / 'report.html'}"


def poisoned(**changes):
    arrays = small.arrays()
    for name, change in changes.items():
        arrays[name] = change(arrays[name])
    return arrays


BAD_DATA = {
    "NaN features": ({"x": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 3, np.nan, x)}, "NaN or infinite"),
    "labels out of range": ({"y": lambda y: y - 1}, "labels run from 0"),
    "a class without a training node": ({"train_mask": lambda m: m & (small.arrays()["y"] != 1)}, "every class needs a training node"),
    "edges to nowhere": ({"edge_index": lambda e: e + 50}, "nodes run from 0"),
    "overlapping masks": ({"val_mask": lambda m: np.ones_like(m)}, "one part only"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_one_line_and_exit_2(capsys, tmp_path, case):
    changes, expected = BAD_DATA[case]
    np.savez(tmp_path / "bad.npz", **poisoned(**changes))
    code, text, error = run(capsys, "condense", str(tmp_path / "bad.npz"), *FAST, "--out", str(tmp_path / "out"))
    assert (code, text) == (2, "")
    assert error.count("\n") == 1
    assert expected in error
    assert not (tmp_path / "out").exists()


BAD_FLAGS = {
    "unknown name": (["condense", "coral", "--size", "9"], "`DATA` = 'coral'"),
    "missing file": (["condense", "nothing.npz", "--size", "9"], "must be a file that exists"),
    "unknown method": (["condense", "{data}", "--size", "9", "--method", "magic"], "`method` = 'magic'"),
    "unknown space": (["condense", "{data}", "--size", "9", "--space", "cube"], "`space` = 'cube'"),
    "space of another kind": (
        ["condense", "{data}", "--size", "9", "--space", "convmix"],
        "polyfilter, ppr, heat, sign, appnp, graphnas are for graphs",
    ),
    "unknown criterion": (["condense", "{data}", "--size", "9", "--criterion", "luck"], "`criterion` = 'luck'"),
    "unknown basis": (["condense", "{data}", "--size", "9", "--basis", "wavelet"], "`basis` = 'wavelet'"),
    "unknown regulariser": (["condense", "{data}", "--size", "9", "--regularise", "decay", "--regularise", "l1"], "`regularise` = ('decay', 'l1')"),
    "soft labels of a table": (["condense", "wine", "--size", "9", "--soft-labels", "--dry-run"], "`soft-labels` = True"),
    "order of a family without": (["condense", "{data}", "--size", "9", "--space", "appnp", "--order", "2"], "`order` = 2"),
    "negative order": (["condense", "{data}", "--size", "9", "--order", "-1"], "`order` = -1"),
    "size of zero": (["condense", "{data}", "--size", "0"], "`size` = 0"),
    "size beyond the data": (["condense", "{data}", "--size", "4000"], "`size` = 4000"),
    "val-size beyond the data": (["condense", "{data}", "--size", "9", "--val-size", "99"], "`val-size` = 99"),
    "steps of what learns nothing": (
        ["condense", "{data}", "--size", "9", "--method", "random", "--steps", "5"],
        "`steps` = 5: random learns nothing",
    ),
    "no steps": (["condense", "{data}", "--size", "9", "--steps", "0"], "`steps` = 0"),
    "unknown driver": (["condense", "{data}", "--size", "9", "--driver", "taxi"], "`driver` = 'taxi'"),
}


@pytest.mark.parametrize("case", BAD_FLAGS)
def test_bad_flags_name_argument_and_value(capsys, tmp_path, case):
    arguments, expected = BAD_FLAGS[case]
    filled = [argument.format(data=small.npz(tmp_path)) for argument in arguments]
    code, text, error = run(capsys, *filled, "--out", str(tmp_path / "out"))
    assert (code, text) == (2, "")
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert expected in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["evaluate", "search", "show", "verify"])
def test_damaged_artefacts_are_refused(capsys, tmp_path, command):
    assert run(capsys, command, str(tmp_path / "absent"))[0] == 2
    out = condensed(capsys, tmp_path)
    card = (out / "card.json").read_text()
    (out / "card.json").write_text(card.replace('"seed": 0', '"seed": 1'))
    code, _, error = run(capsys, command, str(out))
    assert code == 2
    assert "edited" in error
    (out / "card.json").write_text(card)
    tensors = (out / "data.safetensors").read_bytes()
    (out / "data.safetensors").write_bytes(tensors[:-20])
    code, _, error = run(capsys, command, str(out))
    assert code == (0 if command == "show" else 2)
    assert command == "show" or "truncated or edited" in error


@pytest.mark.parametrize("content", ["[]", "{}", '{"verdict": "green"}', "{", '{"verdict": NaN, "sentence": ""}'])
def test_damaged_facts_beside_an_artefact_are_named(capsys, tmp_path, content):
    out = condensed(capsys, tmp_path)
    (out / "evaluation.json").write_text(content)
    code, _, error = run(capsys, "show", str(out))
    assert (code, error.count("\n")) == (2, 1)
    assert "evaluation.json" in error
    (out / "evaluation.json").unlink()
    for trials in (content, '{"all": [1]}', '{"all": [{"config": {}, "score": "x", "seconds": 1}]}'):
        (out / "search-random.json").write_text(trials)
        code, _, error = run(capsys, "evaluate", str(out), "--configs", "4", "--seeds", "1")
        assert (code, error.count("\n")) == (2, 1)
        assert "search-random.json" in error


def test_a_finished_run_is_resumed_by_removing_its_checkpoint(capsys, tmp_path):
    """What a kill between the two leaves."""
    out = condensed(capsys, tmp_path)
    (out / "checkpoint").mkdir()
    assert run(capsys, "condense", str(small.npz(tmp_path)), "--method", "random", *BRIEF, "--out", str(out), "--resume")[0] == 0
    assert not (out / "checkpoint").exists()


def test_a_finished_run_of_another_command_is_not_taken_for_ones_own(capsys, tmp_path):
    out = condensed(capsys, tmp_path)
    code, text, error = run(capsys, "condense", str(small.npz(tmp_path)), "--method", "herding", *BRIEF, "--out", str(out), "--resume")
    assert (code, text, error.count("\n")) == (2, "", 1)
    assert "--method random" in error


def test_what_was_said_of_another_set_is_left_aside(capsys, tmp_path):
    out = condensed(capsys, tmp_path)
    assert run(capsys, "search", str(out), "--trials", "3")[0] == run(capsys, "evaluate", str(out), "--configs", "4", "--seeds", "1")[0] == 0
    for path in (out / "evaluation.json", out / "search-random.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"artefact": "f" * 64}))
    told = run(capsys, "show", str(out))[1]
    assert "Report:" not in told
    assert "judged another set" in told
    page = Path(json.loads(run(capsys, "evaluate", str(out), "--configs", "4", "--seeds", "1", "--json")[1])["report"]).read_text()
    assert "hcdc search" not in page


def test_data_that_moved_is_read_where_it_is_now(capsys, tmp_path):
    out = condensed(capsys, tmp_path)
    moved = small.npz(tmp_path).rename(tmp_path / "elsewhere.npz")
    for command in (["evaluate", "--configs", "4", "--seeds", "1"], ["probe", "--configs", "6"], ["search", "--trials", "2", "--guard", "2"]):
        arguments = [command[0], str(out), *command[1:]]
        code, _, error = run(capsys, *arguments)
        assert code == 2
        assert "--data" in error
        assert run(capsys, *arguments, "--data", str(moved))[0] == 0, command


def test_what_a_file_says_cannot_reach_the_terminal(capsys, tmp_path):
    code, _, error = run(capsys, "show", str(tmp_path / "\x1b[31mred"))
    assert code == 2
    assert "\x1b" not in error


def test_nothing_is_overwritten(capsys, tmp_path):
    out = condensed(capsys, tmp_path)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    code, _, error = run(capsys, "condense", str(small.npz(tmp_path)), *FAST, "--out", str(out))
    assert code == 2
    assert "already holds a finished run" in error
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("arguments", [["--trials", "0"], ["--algorithm", "magic"]])
def test_a_bad_search_is_refused(capsys, tmp_path, arguments):
    code, text, error = run(capsys, "search", str(condensed(capsys, tmp_path)), *arguments)
    assert (code, text) == (2, "")
    assert error.count("\n") == 1


def test_an_output_that_cannot_be_written_is_refused_before_the_work(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, error = run(capsys, "condense", str(small.npz(tmp_path)), *FAST, "--out", str(tmp_path / "file" / "out"))
    assert code == 2
    assert "cannot write" in error


def test_a_dry_run_says_what_is_needed_and_writes_nothing(capsys, tmp_path):
    code, text, _ = run(capsys, "condense", str(small.npz(tmp_path)), *FAST, "--out", str(tmp_path / "out"), "--dry-run", "--json")
    facts = json.loads(text)
    assert (code, facts["method"]) == (0, "hcdc")
    assert facts["memory_bytes"] > 2**20
    assert not (tmp_path / "out").exists()
    assert run(capsys, "condense", str(tmp_path / "small.npz"), *FAST, "--dry-run", "--json")[1] == text
    code, text, error = run(capsys, "condense", str(tmp_path / "small.npz"), *FAST)
    assert (code, text) == (2, "")
    assert "`out` = None: must name the folder" in error
    _, text, _ = run(capsys, "condense", "wine", *FAST, "--dry-run")
    assert text.startswith("target: target, 3 classes; columns: alcohol, ")
    assert "hcdc doctor" in text


def test_condensing_ends_in_a_first_look(capsys, tmp_path):
    out = tmp_path / "out"
    code, text, progress = run(capsys, "condense", str(small.npz(tmp_path)), "--size", "9", "--steps", "5", "--out", str(out), "--json")
    card = json.loads(text)
    assert code == 0
    assert card["probe"]["light"] in ("green", "amber", "red")
    assert card["command"] == f"hcdc condense {small.npz(tmp_path)} --size 9 --method hcdc --driver bank --seed 0 --steps 5"
    assert "probing" in progress
    assert "is whole" in run(capsys, "verify", str(out))[1]
    assert card["probe"]["sentence"] in run(capsys, "show", str(out))[1]
    assert not (out / "trainings").exists()


def test_a_first_look_that_would_take_long_is_left_to_the_user(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("hcdc.evaluate.probes.LEAST", 1e-6)
    monkeypatch.setattr("hcdc.evaluate.probes.SHARE", 0.0)
    out = tmp_path / "out"
    code, text, error = run(capsys, "condense", str(small.npz(tmp_path)), "--method", "random", "--size", "9", "--out", str(out))
    assert code == 0
    assert f"ask for it: hcdc probe {out}" in error
    assert f"not probed yet: hcdc probe {out}" in text
    code, text, _ = run(capsys, "probe", str(out), "--configs", "6", "--json")
    assert code == 0
    assert json.loads(text)["probe"]["configs"] == 6
    assert run(capsys, "probe", str(out), "--configs", "3")[0] == 2


def test_the_doctor_tells_findings_and_cost(capsys, tmp_path, monkeypatch):
    code, text, _ = run(capsys, "doctor", str(small.npz(tmp_path)), "--size", "9", "--steps", "5", "--json")
    facts = json.loads(text)
    assert (code, facts["healthy"]) == (0, True)
    assert facts["cost"]["seconds"] > 0
    monkeypatch.setattr("hcdc.doctor.checkup.machine_memory", lambda: 1)
    code, text, _ = run(capsys, "doctor", str(small.npz(tmp_path)), "--size", "9", "--steps", "5")
    assert code == 2
    assert text.startswith("breaks: the run needs")


def test_the_doctor_takes_what_condense_takes(capsys, tmp_path):
    flags = {command: set(inspect.signature(getattr(app, command)).parameters) for command in ("condense", "doctor")}
    assert flags["condense"] - flags["doctor"] == {"out", "resume", "dry_run", "probe", "engine", "address", "workers", "device"}
    assert flags["doctor"] <= flags["condense"]
    asked = ["doctor", str(small.npz(tmp_path)), "--size", "9", "--method", "random", "--json"]
    code, text, _ = run(capsys, *asked, "--order", "2", "--basis", "chebyshev", "--regularise", "decay", "--seed", "3")
    assert (code, json.loads(text)["healthy"]) == (0, True)
    code, _, error = run(capsys, *asked, "--basis", "fourier")
    assert code == 2
    assert "`basis` = 'fourier'" in error


def test_a_folder_that_another_process_writes_to_is_refused(capsys, tmp_path):
    with locked(tmp_path / "out"):
        code, _, error = run(capsys, "condense", str(small.npz(tmp_path)), *FAST, "--out", str(tmp_path / "out"))
    assert code == 2
    assert "another process" in error


SLOW = """
import signal
import hcdc.run, hcdc.cli
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that put the tests into the background ignores it
from hcdc.condense import Bank
from hcdc.store import Checkpoint
hcdc.run.Bank = lambda **_: Bank(starts=8, stages=2, chunk=4, steps=80, batch=8)
Checkpoint.due = lambda self: True
hcdc.cli.main()
"""
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


def finished(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", SLOW, *arguments], capture_output=True, text=True, env=ONE_THREAD, check=False)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, how):
    arguments = ["condense", str(small.npz(tmp_path)), "--size", "9", "--out"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert finished(*arguments, str(whole)).returncode == 0
    with subprocess.Popen([sys.executable, "-c", SLOW, *arguments, str(broken)], stderr=subprocess.PIPE, text=True, env=ONE_THREAD) as running:
        while not (broken / "checkpoint" / "manifest.json").exists() and running.poll() is None:
            time.sleep(0.01)
        time.sleep(0.1)
        running.send_signal(how)
        _, error = running.communicate()
    assert running.returncode == (-9 if how == signal.SIGKILL else 130), error
    if how == signal.SIGINT:
        assert re.search(r"^interrupted; \d+ of 84 steps are kept, and the same command with --resume goes on from there$", error, re.MULTILINE)
    assert not (broken / "card.json").exists()
    refused = finished(*arguments, str(broken))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--resume" in refused.stderr
    assert finished(*arguments, str(broken), "--resume").returncode == 0
    assert (broken / "data.safetensors").read_bytes() == (whole / "data.safetensors").read_bytes()


@pytest.mark.slow
def test_of_two_runs_in_one_folder_one_works_and_the_other_is_told(capsys, tmp_path):
    """Two processes of their own, begun together."""
    out = tmp_path / "out"
    command = [sys.executable, "-c", SLOW, "condense", str(small.npz(tmp_path)), "--size", "9", "--no-probe", "--out", str(out)]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ONE_THREAD) for _ in range(2)]
    ends = sorted(((each.returncode, error) for each, error in [(each, each.communicate()[1]) for each in both]), key=lambda end: end[0])
    assert [code for code, _ in ends] == [0, 2], ends
    told = [line for line in ends[1][1].splitlines() if "GiB of memory" not in line]
    assert len(told) == 1, told
    assert told[0].startswith(f"error: {out}: another process is writing there")
    assert "is whole" in run(capsys, "verify", str(out))[1]
    assert not (out / "checkpoint").exists()


def test_help_does_not_wait_for_torch():
    code = "import sys\nfrom hcdc.cli import main\ntry:\n main(['--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


BRACKETS = {"run": "[condense], [search], [evaluate]", "condense": "[default: $HCDC_DATA]", "evaluate": "[default: 80]"}


@pytest.mark.parametrize(("command", "said"), BRACKETS.items())
def test_help_keeps_what_stands_in_brackets(capsys, monkeypatch, command, said):
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 400)
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert said in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"hcdc {version('hcdc')}\n"


def test_a_set_of_a_model_of_ones_own_is_left_to_python(capsys, tmp_path):
    x, y = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    space = hcdc.Space({"log10_decay": hcdc.Real(-3, 0)})
    method = hcdc.HCDC(driver=hcdc.Bank(starts=4, stages=1, chunk=4, steps=3, batch=4))
    made = hcdc.condense_model(lambda: torch.nn.Linear(4, 3), (x, y), (x, y), space=space, size=6, method=method, small=hcdc.Adam(5, 0.05), pilot=0)
    made.save(tmp_path / "mine")
    code, text, _ = run(capsys, "show", str(tmp_path / "mine"))
    assert code == 0
    assert "of a model of your own: judge and search it in Python" in text
    assert "hcdc evaluate" not in text
    for command in ("evaluate", "probe", "search"):
        code, _, error = run(capsys, command, str(tmp_path / "mine"))
        assert code == 2
        assert "was condensed for a model of your own, whose code is not saved; judge and search it in Python" in error


def test_a_card_whose_recipes_name_no_family_is_refused_by_name(capsys, tmp_path):
    made, broken = tmp_path / "made", tmp_path / "broken"
    run(capsys, "condense", str(small.npz(tmp_path)), "--method", "random", *BRIEF, "--out", str(made))
    condensed = load_condensed(made)
    replace(condensed, card=condensed.card.model_copy(update={"recipes": {"condensed": {}, "full": {}}})).save(broken)
    for command in ("show", "evaluate", "probe", "search"):
        code, _, error = run(capsys, command, str(broken))
        assert code == 2
        assert "card.json: field `recipes` lacks or misspells 'problem'" in error
