"""What we search over."""

from hcdc.spaces.axes import Axis, Choice, Int, Real, Space, seeded
from hcdc.spaces.relaxation import RELAXATIONS, RelaxationName, gumbel, relaxed
from hcdc.spaces.topology import EDGES, OPS, Cell, all_cells, sample_cells

__all__ = [
    "EDGES", "OPS", "RELAXATIONS", "Axis", "Cell", "Choice", "Int", "Real", "RelaxationName", "Space", "all_cells", "gumbel", "relaxed",
    "sample_cells", "seeded",
]  # fmt: skip
