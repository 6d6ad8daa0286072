"""Doors to other libraries, each a module of its own that imports its library when it is used."""

from __future__ import annotations

__all__: list[str] = []
