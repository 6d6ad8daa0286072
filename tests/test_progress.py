"""What is told of long work while it goes on."""

from __future__ import annotations

from hcdc import task_for
from hcdc._progress import bar
from hcdc.condense import condense, staged
from hcdc.data import load
from hcdc.run import method_named
from hcdc.store import DataCard
from tests import small


def test_each_stage_is_counted_by_itself(tmp_path):
    source = load(str(small.npz(tmp_path)))
    task, method, told = task_for(source, size=9), method_named("hcdc", steps=5), []
    card = DataCard.of(source.name, source.sha256, source.kind, source.splits.train)
    condense(method, task, card, callbacks=[staged(method, lambda *each: told.append(each), "condensing")])
    measured = method.measurements()
    points = [("measuring points", done, measured) for done in range(1, measured + 1)]
    assert told == points + [("learning S_val", done, 5) for done in range(1, 6)]


def test_a_method_of_one_stage_goes_by_its_label():
    method, told = method_named("dm", "images", steps=3), []
    staged(method, lambda *each: told.append(each), "condensing digits")(2, 6, {})
    assert told == [("condensing digits", 2, 6)]


def test_the_bar_goes_to_stderr_and_starts_anew_with_each_label(capsys):
    with bar("first") as told:
        told("second", 1, 4)
        told("second", 2, 4)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "second" in shown.err
    assert "2/4" in shown.err


def test_what_a_bar_is_told_of_has_its_prefix(capsys):
    with bar("training", prefix="training on ") as told:
        told("full data", 1, 2)
    assert "training on full data" in capsys.readouterr().err


def test_names_are_no_markup(capsys):
    with bar("condensing data[red]") as told:
        told("condensing data[red]", 1, 2)
    assert "data[red]" in capsys.readouterr().err


def test_a_bar_that_is_not_shown_writes_nothing(capsys):
    with bar("first", shown=False) as told:
        told("second", 1, 4)
    assert capsys.readouterr() == ("", "")
