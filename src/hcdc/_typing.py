"""The vocabulary shared by every room."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from torch import Tensor

Params: TypeAlias = dict[str, Tensor]
Hyper: TypeAlias = dict[str, Tensor]
Noise: TypeAlias = dict[str, Any]
Config: TypeAlias = Mapping[str, float | int | str]
