"""The ledger of costly results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hcdc.store import Ledger

CAUSE: dict[str, Any] = {"recipe": {"steps": 200, "lr": 0.01}, "seed": 3, "configs": [{"a": 0.1}]}
RESULT = {"loss": [[0.5, 1e30]], "seconds": 1.25}


def test_get_of_put_is_the_same(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "trainings")
    assert ledger.get(CAUSE) is None
    ledger.put(CAUSE, RESULT)
    assert Ledger(tmp_path / "trainings").get(CAUSE) == RESULT
    assert ledger.get(dict(reversed(CAUSE.items()))) == RESULT, "the order of a cause is no part of it"


def test_a_tuple_is_what_json_makes_of_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.put({"shape": (1, 8, 8)}, 5)
    assert ledger.get({"shape": (1, 8, 8)}) == ledger.get({"shape": [1, 8, 8]}) == 5


@pytest.mark.parametrize("change", [{"seed": 4}, {"recipe": {"steps": 201, "lr": 0.01}}, {"more": 1}])
def test_another_cause_has_another_result(tmp_path: Path, change: dict[str, Any]) -> None:
    ledger = Ledger(tmp_path)
    ledger.put(CAUSE, RESULT)
    assert ledger.get(CAUSE | change) is None
    ledger.put(CAUSE | change, {"loss": 2})
    assert ledger.get(CAUSE) == RESULT


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", json.dumps({"cause": CAUSE}), json.dumps({"cause": {"seed": 4}, "result": 1})])
def test_damaged_and_foreign_entries_count_as_absent(tmp_path: Path, content: str) -> None:
    ledger = Ledger(tmp_path)
    ledger.put(CAUSE, RESULT)
    (entry,) = tmp_path.iterdir()
    entry.write_text(content)
    assert ledger.get(CAUSE) is None
    ledger.put(CAUSE, RESULT)
    assert ledger.get(CAUSE) == RESULT


def test_no_folder_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = Ledger(None)
    ledger.put(CAUSE, RESULT)
    assert ledger.get(CAUSE) is None
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_is_made_once(tmp_path: Path) -> None:
    made = list[int]()

    def make() -> dict[str, Any]:
        made.append(1)
        return {"value": len(made)}

    assert Ledger(tmp_path).kept(CAUSE, make) == Ledger(tmp_path).kept(CAUSE, make) == {"value": 1}
    assert Ledger(None).kept(CAUSE, make) == {"value": 2}
