"""Where each public name is: read by type checkers and editors, and by `__init__.py`, which loads a name when it is first used."""

from ._device import on as on
from .bilevel import (
    CG as CG,
    SGD as SGD,
    Adam as Adam,
    Bilevel as Bilevel,
    Direct as Direct,
    Implicit as Implicit,
    Neumann as Neumann,
    Nystrom as Nystrom,
    Recipe as Recipe,
    Unrolled as Unrolled,
    hypergradient as hypergradient,
    hypergradients as hypergradients,
)
from .condense import (
    HCDC as HCDC,
    Algorithm1 as Algorithm1,
    Bank as Bank,
    Budget as Budget,
    Coreset as Coreset,
    GCond as GCond,
    Pilot as Pilot,
    Task as Task,
    default_recipes as default_recipes,
)
from .data import (
    Examples as Examples,
    GraphData as GraphData,
    ImageData as ImageData,
    NasBench201Table as NasBench201Table,
    Source as Source,
    Splits as Splits,
    TableData as TableData,
    from_pyg as from_pyg,
    load as load,
    table_splits as table_splits,
    to_pyg as to_pyg,
)
from .doctor import Checkup as Checkup, Finding as Finding, check as check
from .errors import (
    ConvergenceError as ConvergenceError,
    DataError as DataError,
    FormatError as FormatError,
    HcdcError as HcdcError,
    InputError as InputError,
    MissingExtraError as MissingExtraError,
    ModelError as ModelError,
    RunExistsError as RunExistsError,
    SpaceError as SpaceError,
)
from .evaluate import (
    CellTrainer as CellTrainer,
    Evaluation as Evaluation,
    Guard as Guard,
    Judge as Judge,
    Probe as Probe,
    align as align,
    first_look as first_look,
    objective_for as objective_for,
    verdict as verdict,
    write_report as write_report,
)
from .integrations.ray import Ray as Ray
from .models import (
    ConvMix as ConvMix,
    Logistic as Logistic,
    Mlp as Mlp,
    ModuleProblem as ModuleProblem,
    NasBench201 as NasBench201,
    PolyFilter as PolyFilter,
    problem_for as problem_for,
)
from .own import Calibrated as Calibrated, Own as Own, condense_model as condense_model
from .run import condense_source as condense_source, method_named as method_named, task_for as task_for
from .search import (
    Architect as Architect,
    Darts as Darts,
    DartsPT as DartsPT,
    GraphNAS as GraphNAS,
    Grid as Grid,
    HypergradientDescent as HypergradientDescent,
    Objective as Objective,
    Random as Random,
    Reinforce as Reinforce,
    Trial as Trial,
)
from .spaces import Cell as Cell, Choice as Choice, Int as Int, Real as Real, Space as Space
from .store import Checkpoint as Checkpoint, Condensed as Condensed, load_condensed as load_condensed

__version__: str
