"""Artefacts and checkpoints: what survives the process."""

from hcdc.store.artefact import (
    CARD,
    TENSORS,
    UNITS,
    Card,
    Condensed,
    DataCard,
    PilotCard,
    ProbeCard,
    TriedCard,
    amend_card,
    hardware,
    library_versions,
    load_card,
    load_condensed,
    numerics,
    space_from_card,
    space_to_card,
)
from hcdc.store.checkpoint import Checkpoint, Groups
from hcdc.store.files import StorageError, locked, read_json, read_tensors, write_bytes, write_json, write_tensors
from hcdc.store.ledger import Ledger, named_by

__all__ = [
    "CARD", "TENSORS", "UNITS", "Card", "Checkpoint", "Condensed", "DataCard", "Groups", "Ledger", "PilotCard", "ProbeCard",
    "StorageError", "TriedCard", "amend_card", "hardware", "library_versions", "load_card", "load_condensed", "locked",
    "named_by", "numerics", "read_json", "read_tensors", "space_from_card", "space_to_card", "write_bytes", "write_json",
    "write_tensors",
]  # fmt: skip
