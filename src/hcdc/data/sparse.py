"""A constant sparse matrix whose products differentiate any number of times and batch by `vmap`."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)


class Sparse:
    """Immutable sparse matrix in CSR form, its transpose cached.

    `sparse @ dense` multiplies [n, m] by [m, f]. The product is linear in `dense`, its derivative is a product with
    the transpose, so gradients of every order, forward mode and `torch.func.vmap` over `dense` all work; the entries
    of the matrix themselves are constants.
    """

    def __init__(self, csr: Tensor, transposed: Sparse | None = None) -> None:
        if csr.layout != torch.sparse_csr:
            raise TypeError(f"`csr` has layout {csr.layout}; build it with Sparse.from_coo or Sparse.from_dense")
        self.csr = csr
        self.T = transposed or Sparse(csr.to_sparse_coo().t().coalesce().to_sparse_csr(), self)

    @classmethod
    def from_coo(cls, index: Tensor, values: Tensor, shape: tuple[int, int]) -> Sparse:
        """From `index` [2, E] and `values` [E]; entries given twice are added."""
        coo = torch.sparse_coo_tensor(index, values, shape, check_invariants=False).coalesce()
        return cls(coo.to_sparse_csr())

    @classmethod
    def from_dense(cls, dense: Tensor) -> Sparse:
        return cls(dense.to_sparse_csr())

    @classmethod
    def identity(cls, n: int, like: Tensor) -> Sparse:
        """[n, n], of the type and on the device of `like`."""
        index = torch.arange(n, device=like.device)
        return cls.from_coo(torch.stack([index, index]), like.new_ones(n), (n, n))

    @property
    def shape(self) -> torch.Size:
        return self.csr.shape

    @property
    def nnz(self) -> int:
        return int(self.csr.values().numel())

    def coo(self) -> tuple[Tensor, Tensor]:
        """`index` [2, E] in row order and `values` [E]."""
        coo = self.csr.to_sparse_coo().coalesce()
        return coo.indices(), coo.values()

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Sparse:
        return Sparse(self.csr.to(device=device, dtype=dtype))

    def dense(self) -> Tensor:
        return self.csr.to_dense()

    def scaled(self, factors: Tensor) -> Sparse:
        """The same pattern with every stored entry multiplied by its `factors` [nnz], in CSR order."""
        values = self.csr.values() * factors
        turned = Sparse(_with_values(self.T.csr, values[self._turn]), self)
        turned.T = Sparse(_with_values(self.csr, values), turned)  # pyright: ignore[reportConstantRedefinition]
        return turned.T

    @cached_property
    def _turn(self) -> Tensor:
        """Where, in CSR order, the stored entries of the transpose are found."""
        return self.csr.col_indices().argsort(stable=True)

    def rows(self, index: Tensor) -> Sparse:
        """The rows `index` [r], as a matrix of shape [r, m]."""
        crow, col, values = self.csr.crow_indices(), self.csr.col_indices(), self.csr.values()
        counts = crow.diff()[index]
        total = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        source = torch.repeat_interleave(crow[index] - total[:-1], counts) + torch.arange(int(total[-1]), device=crow.device)
        shape = (index.numel(), self.shape[1])
        return Sparse(torch.sparse_csr_tensor(total, col[source], values[source], shape, check_invariants=False))

    def sub(self, index: Tensor) -> Sparse:
        """The rows and columns `index` [r], each once, as a matrix of shape [r, r]."""
        position = torch.full((self.shape[1],), -1, device=index.device)
        position[index] = torch.arange(index.numel(), device=index.device)
        (row, column), values = self.rows(index).coo()
        kept = position[column] >= 0
        return Sparse.from_coo(torch.stack([row[kept], position[column[kept]]]), values[kept], (index.numel(), index.numel()))

    def submatrix(self, index: Tensor) -> Tensor:
        """Dense [r, r]: rows and columns `index`."""
        return self.sub(index).dense()

    def __matmul__(self, dense: Tensor) -> Tensor:
        return _Product.apply(self, dense)


def _with_values(csr: Tensor, values: Tensor) -> Tensor:
    return torch.sparse_csr_tensor(csr.crow_indices(), csr.col_indices(), values, csr.shape, check_invariants=False)


class _Product(torch.autograd.Function):
    """Sparse [n, m] @ dense [m, ...]; `vmap` keeps the batch next to the features so that one product serves it."""

    @staticmethod
    def forward(operator: Sparse, dense: Tensor) -> Tensor:
        flat = operator.csr @ dense.reshape(dense.shape[0], -1)
        return flat.reshape(flat.shape[0], *dense.shape[1:])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Sparse, Tensor], output: Tensor) -> None:
        ctx.operator = inputs[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        return None, _Product.apply(ctx.operator.T, grads[0])

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return _Product.apply(ctx.operator, tangents[1])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[None, int], operator: Sparse, dense: Tensor) -> tuple[Tensor, int]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Product.apply(operator, dense.movedim(in_dims[1], 1)), 1
