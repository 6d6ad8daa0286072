"""The artefact: load(save(x)) == x, and every way of not being one is refused by name."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hcdc.data import HIDDEN, GraphData, ImageData
from hcdc.errors import FormatError, RunExistsError
from hcdc.spaces import Choice, Int, Real, Space
from hcdc.store import (
    Card,
    Condensed,
    DataCard,
    PilotCard,
    ProbeCard,
    amend_card,
    hardware,
    library_versions,
    load_card,
    load_condensed,
    space_from_card,
    space_to_card,
)
from hcdc.store.files import write_tensors
from tests.cases import dense_graph, random_graph, random_images

SPACE = Space({"filter.0": Real(-1, 1), "filter.1": Real(-0.25, 1e-7), "depth": Int(1, 9), "op": Choice(("conv", "skip"))})


def card(kind: Any = "graph", **changes: Any) -> Card:
    fields: dict[str, Any] = {
        "method": "hcdc", "settings": {"lr": 0.1, "driver": {"type": "Bank"}}, "seed": 3, "steps": 7,
        "data": DataCard(name="cora", sha256="0" * 64, kind=kind, num_classes=3),
        "recipes": {"condensed": {"problem": {"family": "polyfilter"}}, "full": {}}, "space": space_to_card(SPACE),
        "sizes": {"train": 8, "val": 8}, "history": [{"step": 0.0, "loss": 1.5}], "seconds": 2.5, "versions": {"torch": "2"}, "hardware": "none",
    }  # fmt: skip
    return Card(**(fields | changes))


def graphs() -> Condensed:
    return Condensed(dense_graph(seed=0), dense_graph(seed=1), card())


def images() -> Condensed:
    return Condensed(random_images(seed=0, dtype=torch.float32), random_images(seed=1, dtype=torch.float32), card("images"))


def subgraphs() -> Condensed:
    """Containers of nodes of which some stay outside of the loss, their labels hidden."""
    splits = random_graph()
    index = torch.arange(15)
    return Condensed(splits.train.take(index), splits.val.take(index), card())


def shared() -> Condensed:
    """One container for both parts."""
    data = dense_graph()
    return Condensed(data, data, card())


each_kind = pytest.mark.parametrize("make", [graphs, images, subgraphs, shared], ids=lambda f: f.__name__)


@each_kind
def test_load_of_save_is_the_same(make: Callable[[], Condensed], tmp_path: Path) -> None:
    made = make()
    saved = made.save(tmp_path / "out")
    found = load_condensed(tmp_path / "out")
    for one, two in ((made.train, found.train), (made.val, found.val)):
        assert type(one) is type(two)
        assert one.num_classes == two.num_classes
        assert one.tensors().keys() == two.tensors().keys()
        assert all(torch.equal(value, two.tensors()[key]) for key, value in one.tensors().items())
    assert found.card == saved
    assert replace(found, card=made.card).card == made.card
    assert found.card.model_copy(update={"tensors_sha256": "", "checksum": ""}) == made.card
    assert found.space == SPACE
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["card.json", "data.safetensors"]


def test_save_of_load_is_the_same_file(tmp_path: Path) -> None:
    graphs().save(tmp_path / "one")
    load_condensed(tmp_path / "one").save(str(tmp_path / "two"))
    for name in ("card.json", "data.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_an_artefact_is_not_overwritten(tmp_path: Path) -> None:
    graphs().save(tmp_path)
    before = (tmp_path / "card.json").read_bytes()
    with pytest.raises(RunExistsError, match="already holds"):
        images().save(tmp_path)
    assert (tmp_path / "card.json").read_bytes() == before
    assert load_condensed(tmp_path).card.data.kind == "graph"


def test_the_card_is_written_last(tmp_path: Path) -> None:
    """A run that died between the two files has no artefact and can be saved again."""
    broken = Condensed(dense_graph(), dense_graph(), card(settings={"value": float("nan")}))
    with pytest.raises(ValueError, match="JSON"):
        broken.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["data.safetensors"]
    with pytest.raises(FormatError, match=r"card\.json is missing"):
        load_condensed(tmp_path)
    graphs().save(tmp_path)
    assert load_condensed(tmp_path).train.size == 8


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "card.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


PROBE: dict[str, Any] = {
    "light": "amber", "sentence": "As far as 12 probes tell: it may be.", "configs": 12, "seeds": 2, "config_seed": 5, "spearman_loss": 0.8,
    "spearman_top_half_loss": None, "ci95": [0.4, 0.95], "ceiling_loss": 0.9, "floor_strong_loss": 0.7, "seconds_search_condensed": 1.0,
    "seconds_search_full": 9.0, "break_even_configs": None, "seconds_probe": 12.0,
}  # fmt: skip


def test_a_card_without_optional_fields_has_no_trace_of_them(tmp_path: Path) -> None:
    graphs().save(tmp_path)
    assert not {"probe", "command"} & set(json.loads((tmp_path / "card.json").read_text()))


def test_amending_signs_anew_and_leaves_the_tensors(tmp_path: Path) -> None:
    graphs().save(tmp_path)
    before = (tmp_path / "data.safetensors").read_bytes()
    amended = amend_card(tmp_path, probe=ProbeCard(**PROBE))
    assert load_condensed(tmp_path).card == amended
    assert amended.probe is not None
    assert amended.probe.ci95 == (0.4, 0.95)
    assert (tmp_path / "data.safetensors").read_bytes() == before


EDITS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a setting": (lambda c: c["settings"].update(lr=0.2), "checksum"),
    "the seed": (lambda c: c.update(seed=4), "checksum"),
    "a bound of the space": (lambda c: c["space"]["filter.0"].update(low=-2), "checksum"),
    "a number of the history": (lambda c: c["history"][0].update(loss=1.4), "checksum"),
    "the hash of the tensors": (lambda c: c.update(tensors_sha256="0" * 64), "checksum"),
    "the checksum": (lambda c: c.update(checksum="0" * 64), "checksum"),
    "a field missing": (lambda c: c.pop("method"), "method"),
    "a field too many": (lambda c: c.update(author="me"), "author"),
    "a field within": (lambda c: c["data"].update(source="web"), "data.source"),
    "another format": (lambda c: c.update(format=2), "format"),
    "another kind": (lambda c: c["data"].update(kind="video"), "data.kind"),
    "a table without columns": (lambda c: c["data"].update(kind="table"), "data"),
    "one class": (lambda c: c["data"].update(num_classes=1), "data.num_classes"),
    "a hash that is none": (lambda c: c["data"].update(sha256="../x"), "data.sha256"),
    "a size missing": (lambda c: c["sizes"].pop("val"), "sizes"),
    "a size of zero": (lambda c: c["sizes"].update(val=0), "sizes"),
    "a light of its own": (lambda c: c.update(probe=PROBE | {"light": "blue"}), "probe.light"),
    "a probe without figures": (lambda c: c.update(probe={"light": "red", "sentence": ""}), "probe.configs"),
    "a probe added": (lambda c: c.update(probe=PROBE), "checksum"),
    "negative time": (lambda c: c.update(seconds=-1), "seconds"),
}


@pytest.mark.parametrize(("change", "named"), EDITS.values(), ids=EDITS)
def test_an_edited_card(tmp_path: Path, change: Callable[[dict[str, Any]], Any], named: str) -> None:
    graphs().save(tmp_path)
    edit(tmp_path, change)
    for load in (load_card, load_condensed):
        with pytest.raises(FormatError, match=f"field `{named}`"):
            load(tmp_path)


def sign(folder: Path, **changes: Any) -> None:
    """Change a card and sign it again: what a careful hand, or another version, would write."""
    content = Card.model_validate(json.loads((folder / "card.json").read_text())).model_copy(update=changes)
    (folder / "card.json").write_text(json.dumps(content.model_copy(update={"checksum": content.signature()}).model_dump()))


SPACES: dict[str, dict[str, Any]] = {
    "no axis": {},
    "unknown kind": {"x": {"kind": "complex", "low": 0, "high": 1}},
    "no kind": {"x": {"low": 0, "high": 1}},
    "unknown field": {"x": {"kind": "real", "low": 0, "high": 1, "log": True}},
    "text": {"x": {"kind": "real", "low": "a", "high": "b"}},
    "swapped": {"x": {"kind": "real", "low": 1, "high": 0}},
    "one option": {"x": {"kind": "choice", "options": ["a"]}},
}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_signed_card_whose_space_is_none(tmp_path: Path, space: dict[str, Any]) -> None:
    graphs().save(tmp_path)
    sign(tmp_path, space=space)
    with pytest.raises(FormatError, match="field `space`"):
        load_condensed(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"format": 1}', pickle.dumps({})], ids=str)
def test_cards_that_are_none(tmp_path: Path, content: bytes) -> None:
    graphs().save(tmp_path)
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(FormatError, match=r"card\.json"):
        load_condensed(tmp_path)


def test_folders_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(FormatError, match="not a folder"):
            load_condensed(path)
    with pytest.raises(FormatError, match="missing"):
        load_condensed(tmp_path)


def test_truncated_edited_and_absent_tensors(tmp_path: Path) -> None:
    graphs().save(tmp_path)
    path = tmp_path / "data.safetensors"
    whole = path.read_bytes()
    for content in (whole[:-4], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(content)
        with pytest.raises(FormatError, match="truncated or edited"):
            load_condensed(tmp_path)
    path.unlink()
    with pytest.raises(FormatError, match="cannot be read"):
        load_condensed(tmp_path)
    assert load_card(tmp_path).method == "hcdc", "the card alone needs no tensors"


GRAPH: dict[str, Any] = {
    "val.x": torch.full((8, 5), float("nan")),
    "train.x": torch.zeros(7, 5),
    "val.adjacency": torch.zeros(8, 7),
    "train.adjacency": -torch.ones(8, 8),
    "train.y": torch.full((8,), 3),
    "val.y": torch.zeros(8),
    "val.mask": torch.zeros(8, dtype=torch.bool),
    "train.mask": torch.ones(8),
}
IMAGES: dict[str, Any] = {
    "train.x": torch.zeros(6, 8, 8),
    "val.x": torch.full((6, 1, 8, 8), float("inf")),
    "val.y": torch.tensor([0, 1, 2, 0, 1, -1]),
}
WRONG = [(graphs, name, value) for name, value in GRAPH.items()] + [(images, name, value) for name, value in IMAGES.items()]


@pytest.mark.parametrize(("make", "name", "value"), WRONG, ids=[f"{make.__name__} {name}" for make, name, _ in WRONG])
def test_tensors_that_do_not_fit_their_card(tmp_path: Path, make: Callable[[], Condensed], name: str, value: torch.Tensor) -> None:
    made = make()
    made.save(tmp_path)
    tensors = {f"{part}.{key}": v for part in ("train", "val") for key, v in getattr(made, part).tensors().items()}
    assert name in tensors
    sign(tmp_path, tensors_sha256=write_tensors(tmp_path / "data.safetensors", tensors | {name: value}))
    with pytest.raises(FormatError, match=f"tensor `{name}`"):
        load_condensed(tmp_path)
    del tensors[name]
    sign(tmp_path, tensors_sha256=write_tensors(tmp_path / "data.safetensors", tensors))
    with pytest.raises(FormatError, match=f"lacks the tensor '{name}'"):
        load_condensed(tmp_path)


def test_hidden_labels_are_written_as_hidden(tmp_path: Path) -> None:
    made = subgraphs()
    made.save(tmp_path)
    found: GraphData = load_condensed(tmp_path).train
    assert (found.y[~found.mask] == HIDDEN).all()
    assert found.labels().tolist() == made.train.labels().tolist()


def test_a_card_is_what_json_makes_of_it(tmp_path: Path) -> None:
    """Tuples within settings and recipes, as `asdict` leaves them."""
    made = Condensed(dense_graph(), dense_graph(seed=1), card(settings={"a": (1, 2)}, recipes={"full": {"problem": {"shape": (1, 8, 8)}}}))
    saved = made.save(tmp_path)
    assert load_card(tmp_path) == saved
    assert saved.recipes["full"] == made.card.recipes["full"] == {"problem": {"shape": [1, 8, 8]}}


def test_space_round_trip() -> None:
    written = json.loads(json.dumps(space_to_card(SPACE)))
    assert space_from_card(written) == SPACE
    assert list(space_from_card(written).axes) == list(SPACE.axes)


def test_signature_covers_every_field_but_itself() -> None:
    made = card()
    others = {
        "method": "gcond", "settings": {}, "seed": 4, "steps": 8, "recipes": {}, "space": {}, "sizes": {}, "history": [], "seconds": 3.0,
        "versions": {}, "hardware": "x", "tensors_sha256": "1" * 64, "format": 1,
        "command": "hcdc condense cora", "probe": ProbeCard(**PROBE), "pilot": PilotCard(configs=16, tried=[], seconds=1.0),
        "data": DataCard(name="cora", sha256="1" * 64, kind="graph", num_classes=3),
    }  # fmt: skip
    assert set(others) | {"checksum"} == set(Card.model_fields)
    for name, value in others.items():
        changed = made.model_copy(update={name: value}).signature()
        assert (changed == made.signature()) == (name == "format"), name
    assert made.model_copy(update={"checksum": "x"}).signature() == made.signature()


def test_facts_about_the_machine() -> None:
    found = library_versions()
    assert found["torch"] == torch.__version__
    assert {"python", "hcdc", "numpy", "safetensors"} <= found.keys()
    assert f"{torch.get_num_threads()} threads" in hardware()


def test_kinds_are_told_apart(tmp_path: Path) -> None:
    images().save(tmp_path)
    assert isinstance(load_condensed(tmp_path).val, ImageData)
