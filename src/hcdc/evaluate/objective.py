"""From an artefact to what a searcher searches."""

from __future__ import annotations

import contextlib
from pathlib import Path

from hcdc.condense import first_configs, recipes_of
from hcdc.errors import SpaceError
from hcdc.search import Objective
from hcdc.spaces import Space
from hcdc.store import Condensed, load_condensed

STARTS = 10
"""Starting points that an artefact hands to a searcher; as many as Optuna's TPE draws at random before it models."""


def objective_for(artefact: Condensed | str | Path, space: Space | None = None, *, force: bool = False) -> Objective:
    """Search on `artefact` (its folder, or loaded): trained by its own recipe, over `space` (default: its own).

    Its starts are those from which the condensation started, as far as `space` has them. Raises `SpaceError` for a
    `space` with values that the artefact was not condensed for, unless with `force`; and always for one that makes
    other tensors than the family reads.
    """
    condensed = artefact if isinstance(artefact, Condensed) else load_condensed(artefact)
    space = condensed.space if space is None else space
    check_space(condensed.space, space, force=force, remedy="stay within, condense for this space, or use force")
    recipe = recipes_of(condensed)["condensed"]
    starts: list[dict[str, float | int | str]] = []
    for config in first_configs(condensed.card, STARTS):
        with contextlib.suppress(SpaceError):
            space.check(config)
            starts.append(config)
    return Objective(recipe, space, condensed.train, condensed.val, starts=tuple(starts))


def check_space(condensed: Space, space: Space, *, force: bool = False, remedy: str = "stay within, or condense for this space") -> None:
    """Raise `SpaceError` for a `space` with values beyond those of `condensed`, unless with `force`, and for one of other axes."""
    differing = condensed.beyond(space)
    if not differing:
        return
    if condensed.unlike(space):
        rule = f"must have the axes {list(condensed.axes)}, which the family reads, and their choices with all options in that order"
        raise SpaceError("space", differing, rule, "give every one of them once")
    if not force:
        ranges = ", ".join(f"{name}: {condensed.axes[name]}" for name in differing if name in condensed.axes)
        raise SpaceError("space", differing, f"goes beyond what was condensed for ({ranges})", remedy)
