"""What we learn from: frozen containers and the loaders that make them."""

from hcdc.data.base import Data, Real, Splits
from hcdc.data.download import fetch
from hcdc.data.graphs import (
    HIDDEN,
    GraphData,
    graph_splits,
    propagated,
    symmetric_adjacency,
)
from hcdc.data.images import ImageData, image_splits
from hcdc.data.nasbench201 import NasBench201Table
from hcdc.data.sbm import BlockModel, block_model
from hcdc.data.sources import Source, fingerprint, from_pyg, load
from hcdc.data.sparse import Sparse

__all__ = [
    "HIDDEN", "BlockModel", "Data", "GraphData", "ImageData", "NasBench201Table", "Real", "Source", "Sparse", "Splits", "block_model",
    "fetch", "fingerprint", "from_pyg", "graph_splits", "image_splits", "load", "propagated", "symmetric_adjacency",
]  # fmt: skip
