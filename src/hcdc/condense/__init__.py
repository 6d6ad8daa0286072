"""Methods that make a small synthetic training and validation set."""

from hcdc.condense.calibration import staged, stages_of
from hcdc.condense.cellpoints import CellFit, CellMeasure, CellPoint, channels_last
from hcdc.condense.coreset import CENTROIDS, HERDING, K_CENTER, NEIGHBOURS, PATHS, RANDOM, STRONG, Coreset
from hcdc.condense.dc import DC, DSA
from hcdc.condense.dm import DM
from hcdc.condense.estimate import check_memory, fitted, peak_memory, timed
from hcdc.condense.existing import Existing
from hcdc.condense.gcond import GCOND_X, GCond
from hcdc.condense.hcdc import HCDC, Algorithm1, Bank, first_configs
from hcdc.condense.hcdc_cells import TRAINED_CELLS, CellBank, CellHCDC, CellPaths
from hcdc.condense.images import ImageCondenser, check_formation
from hcdc.condense.kip import KIP
from hcdc.condense.loop import condense, recipe_from_card, recipes_of
from hcdc.condense.pilot import Choice, Pilot, Tried
from hcdc.condense.points import Measure, Points, narrowed, total_derivative
from hcdc.condense.task import Budget, Callback, Condenser, Task, default_recipes
from hcdc.condense.tm import TM

__all__ = [
    "CENTROIDS", "DC", "DM", "DSA", "GCOND_X", "HCDC", "HERDING", "KIP", "K_CENTER", "NEIGHBOURS", "PATHS", "RANDOM", "STRONG", "TM",
    "TRAINED_CELLS", "Algorithm1", "Bank", "Budget", "Callback", "CellBank", "CellFit", "CellHCDC", "CellMeasure", "CellPaths", "CellPoint",
    "Choice", "Condenser", "Coreset", "Existing", "GCond", "ImageCondenser", "Measure", "Pilot", "Points", "Task", "Tried", "channels_last",
    "check_formation", "check_memory", "condense", "default_recipes", "first_configs", "fitted", "narrowed", "peak_memory", "recipe_from_card",
    "recipes_of", "staged", "stages_of", "timed", "total_derivative",
]  # fmt: skip
