"""What we search over."""

from hcdc.spaces.axes import Axis, Choice, Int, Real, Space

__all__ = ["Axis", "Choice", "Int", "Real", "Space"]
