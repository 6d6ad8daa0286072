"""The card for the Hugging Face Hub: its head is YAML that the Hub knows, its code runs, its figures are measured ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hcdc.integrations.huggingface import dataset_card
from hcdc.store import load_card, write_json
from tests.cli.test_cli import condensed, little_work, run  # noqa: F401

yaml = pytest.importorskip("yaml")


def parts(text: str) -> tuple[dict[str, Any], str]:
    found = re.fullmatch(r"---\n(.*?)\n---\n(.*)", text, re.S)
    assert found is not None
    return yaml.safe_load(found[1]), found[2]


def test_a_judged_artefact(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = condensed(capsys, tmp_path)
    code, text, _ = run(capsys, "show", str(out), "--card")
    assert code == 0
    assert "It has not been judged yet" in text
    facts = {"verdict": "amber", "sentence": "Good, with a caveat.", "configs": 4, "seeds": 1, "spearman_loss": 0.812, "ceiling_loss": None}
    write_json(out / "evaluation.json", facts)
    code, text, _ = run(capsys, "show", str(out), "--card")
    head, body = parts(text)
    assert (code, head["task_categories"], head["size_categories"]) == (0, ["graph-ml"], ["n<1K"])
    assert head["pretty_name"] == "small.npz, condensed by hcdc"
    assert "**Amber.** Good, with a caveat." in body
    assert "| this set | 0.81 |" in body
    assert "at best" not in body
    assert str(tmp_path) not in text
    code, as_json, _ = run(capsys, "show", str(out), "--card", "--json")
    assert json.loads(as_json)["readme"].strip() == text.strip()
    (block,) = re.findall(r"```python\n(.*?)```", body, re.S)
    monkeypatch.chdir(out)
    found: dict[str, Any] = {}
    exec(compile(block, "card", "exec"), found)
    assert found["train"].size == 9


@pytest.mark.parametrize("content", ['{"verdict": "green", "sentence": ""}', "[]"])
def test_damaged_facts_are_named(capsys: Any, tmp_path: Path, content: str) -> None:
    out = condensed(capsys, tmp_path)
    (out / "evaluation.json").write_text(content)
    code, _, error = run(capsys, "show", str(out), "--card")
    assert (code, error.count("\n")) == (2, 1)
    assert "evaluation.json" in error


KINDS = {
    "graph": (3, ["graph-ml"]),
    "images": (3, ["image-classification"]),
    "table": (3, ["tabular-classification"]),
    "a table's regression": (0, ["tabular-regression"]),
    "a regression on images": (0, None),
    "examples": (3, None),
}


@pytest.mark.parametrize("case", KINDS)
def test_the_task_is_named_in_the_words_of_the_hub(case: str) -> None:
    classes, tasks = KINDS[case]
    kind: Any = case.split()[-1] if case.startswith("a regression") else case.split("'")[0].removeprefix("a ")
    card = load_card(Path(__file__).parent.parent / "fixtures" / "format-1" / "images")
    data = card.data.model_copy(update={"kind": kind, "num_classes": classes, "name": 'of "all": [kinds]\n`'})
    head, _ = parts(dataset_card(card.model_copy(update={"data": data, "sizes": {"train": 900, "val": 100}})))
    assert head.get("task_categories") == tasks
    assert head["size_categories"] == ["1K<n<10K"]
    assert head["pretty_name"].startswith('of "all": [kinds]')
