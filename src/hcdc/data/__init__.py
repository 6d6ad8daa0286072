"""What we learn from: frozen containers and the loaders that make them."""

from hcdc.data.base import Data, Real, Splits
from hcdc.data.download import fetch
from hcdc.data.examples import Examples, check_examples, check_spread, example_splits
from hcdc.data.graphs import (
    HIDDEN,
    GraphData,
    graph_splits,
    propagated,
    symmetric_adjacency,
)
from hcdc.data.images import ImageData, image_splits
from hcdc.data.intake import Intake, read_graph
from hcdc.data.nasbench201 import NasBench201Table
from hcdc.data.pyg import from_pyg, to_pyg
from hcdc.data.sbm import BlockModel, block_model
from hcdc.data.sources import Source, fingerprint, kind_of, load
from hcdc.data.sparse import Sparse
from hcdc.data.tables import Column, TableData, TableEncoder, read_columns, shuffled_parts, table_splits

__all__ = [
    "HIDDEN", "BlockModel", "Column", "Data", "Examples", "GraphData", "ImageData", "Intake", "NasBench201Table", "Real",
    "Source", "Sparse", "Splits", "TableData", "TableEncoder", "block_model", "check_examples", "check_spread", "example_splits", "fetch",
    "fingerprint", "from_pyg", "graph_splits", "image_splits", "kind_of", "load", "propagated", "read_columns", "read_graph",
    "shuffled_parts", "symmetric_adjacency", "table_splits", "to_pyg",
]  # fmt: skip
