"""Try a task before a long run: what would break, what to change, how long it will take."""

from hcdc.doctor.checkup import Checkup, check
from hcdc.doctor.cost import Cost, estimate
from hcdc.doctor.probes import Finding, Level

__all__ = ["Checkup", "Cost", "Finding", "Level", "check", "estimate"]
