"""What we search over."""

from hcdc.spaces.axes import Axis, Choice, Int, Real, Space
from hcdc.spaces.topology import EDGES, OPS, Cell, all_cells, sample_cells

__all__ = ["EDGES", "OPS", "Axis", "Cell", "Choice", "Int", "Real", "Space", "all_cells", "sample_cells"]
