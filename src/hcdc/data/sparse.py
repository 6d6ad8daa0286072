"""A constant sparse matrix whose products differentiate any number of times and batch by `vmap`."""

from __future__ import annotations

import warnings
import weakref
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)


class Sparse:
    """Immutable sparse matrix in CSR form, its transpose cached; a `symmetric` one is its own.

    `sparse @ dense` multiplies [n, m] by [m, f]. The product is linear in `dense`, its derivative is a product with
    the transpose, so gradients of every order, forward mode and `torch.func.vmap` over `dense` all work; the entries
    of the matrix themselves are constants.
    """

    _index: weakref.ref[Tensor] | None = None
    unit: bool = False
    """Whether this was made as an identity, whose products cost nothing."""

    def __init__(self, csr: Tensor, transposed: Sparse | None = None, *, symmetric: bool = False) -> None:
        if csr.layout != torch.sparse_csr:
            raise TypeError(f"`csr` has layout {csr.layout}; build it with Sparse.from_coo or Sparse.from_dense")
        self.csr = csr
        self._parts = _parts_of(csr)
        self._copies: weakref.WeakValueDictionary[Any, Sparse] = weakref.WeakValueDictionary()
        self.T = self if symmetric else transposed or Sparse(csr.to_sparse_coo().t().coalesce().to_sparse_csr(), self)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_index", "_parts", "_copies")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._parts = _parts_of(self.csr)
        self._copies = weakref.WeakValueDictionary()

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
        made = cls.from_coo(torch.stack([index, index]), like.new_ones(n), (n, n))
        made.unit = True
        return made

    @property
    def shape(self) -> torch.Size:
        return self.csr.shape

    @property
    def nnz(self) -> int:
        return int(self.csr.values().numel())

    def coo(self) -> tuple[Tensor, Tensor]:
        """`index` [2, E] in row order and `values` [E]; while someone holds `index`, others are given the same tensor."""
        index = self._index() if self._index else None
        if index is None:
            crow, column, _ = self._parts
            index = torch.stack([torch.repeat_interleave(crow.diff()), column])
            self._index = weakref.ref(index)
        return index, self._parts[2]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Sparse:
        """A copy, or this matrix where it is of that kind; while someone holds the copy, others are given the same one."""
        made = self._copies.get((device, dtype))
        if made is None:
            moved = self.csr.to(device=device, dtype=dtype)
            if moved is self.csr:
                return self
            made = self._copies[device, dtype] = Sparse(moved, symmetric=self.T is self)
            made.unit = self.unit
        return made

    def dense(self) -> Tensor:
        return self.csr.to_dense()

    def scaled(self, factors: Tensor) -> Sparse:
        """The same pattern with every stored entry multiplied by its `factors` [nnz], in CSR order."""
        values = self.csr.values() * factors
        turned = Sparse(_with_values(self.T.csr, values[self._turn]), self)
        turned.T = Sparse(_with_values(self.csr, values), turned)  # pyright: ignore[reportConstantRedefinition]
        return turned.T

    def clone(self) -> Sparse:
        """The same matrix in memory of its own, which `copy_` may fill again."""
        return self.scaled(torch.ones_like(self._parts[2]))

    def copy_(self, other: Sparse) -> Sparse:
        """Take the values of `other`, which has the same pattern: for whoever made this a `clone`, and nobody else holds it."""
        for ours, theirs in ((self, other), (self.T, other.T)):
            ours.csr.values().copy_(theirs.csr.values())
        return self

    @cached_property
    def _turn(self) -> Tensor:
        """Where, in CSR order, the stored entries of the transpose are found."""
        return self.csr.col_indices().argsort(stable=True)

    def plus_identity(self) -> Sparse:
        """A + I of a square A: one is added where the diagonal has an entry and stored where it has none."""
        crow, col, values, n = self.csr.crow_indices(), self.csr.col_indices(), self.csr.values().clone(), self.shape[0]
        row = torch.repeat_interleave(crow.diff())  # [nnz], the row of every entry
        values[row == col] += 1
        absent = torch.ones(n, dtype=torch.bool, device=col.device)
        absent[col[row == col]] = False
        before = torch.bincount(row[col < row], minlength=n)  # [n], entries left of the diagonal
        del row
        shift = torch.cat([absent.new_zeros(1, dtype=torch.long), absent.cumsum(0)])
        new = absent.nonzero().squeeze(1)
        old = torch.ones(values.numel() + new.numel(), dtype=torch.bool, device=col.device)
        old[(crow[:-1] + shift[:-1] + before)[new]] = False
        full, weights = col.new_empty(old.numel()), values.new_ones(old.numel())
        full.masked_scatter_(old, col).masked_scatter_(~old, new)
        weights.masked_scatter_(old, values)
        made = torch.sparse_csr_tensor(crow + shift, full, weights, self.shape, check_invariants=False)
        return Sparse(made, symmetric=self.T is self)

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
        return dense if self.unit else _Product.apply(self, dense)

    def polynomial(self, weights: Tensor, dense: Tensor) -> Tensor:
        """sum_k weights_k A^k `dense` of a square A, differentiable in both: [K + 1], [n, f] -> [n, f]."""
        return weights.sum() * dense if self.unit else _Polynomial.apply(self, weights, dense)


def _parts_of(csr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row pointers, columns and values, in the memory of `csr`; inside of a `torch.func` transform they cannot be asked for."""
    return csr.crow_indices(), csr.col_indices(), csr.values()


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


class _Polynomial(torch.autograd.Function):
    """sum_k weights_k A^k dense by Horner's rule, weights [K + 1, *batch] and dense [n, *batch, f].

    One kernel a product and one a sum, and nothing is kept but the inputs: the derivative by weights_k is
    <dense, (A^T)^k slope>, whose powers the derivative by `dense` needs as well.
    """

    @staticmethod
    def forward(operator: Sparse, weights: Tensor, dense: Tensor) -> Tensor:
        last, *rest = weights.unsqueeze(-1).flip(0).unbind()
        total = last * dense
        for weight in rest:
            total = (operator.csr @ total.reshape(dense.shape[0], -1)).reshape(dense.shape).addcmul_(dense, weight)
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Sparse, Tensor, Tensor], output: Tensor) -> None:
        ctx.operator = inputs[0]
        ctx.save_for_backward(*inputs[1:])
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        weights, dense = ctx.saved_tensors
        if not ctx.needs_input_grad[1]:
            return None, None, _Polynomial.apply(ctx.operator.T, weights, grads[0])
        first, *rest = weights.unsqueeze(-1).unbind()
        term, by_dense, by_weights = grads[0], first * grads[0], [(dense * grads[0]).sum((0, -1))]
        for weight in rest:
            term = _Product.apply(ctx.operator.T, term)
            by_dense = torch.addcmul(by_dense, term, weight)
            by_weights.append((dense * term).sum((0, -1)))
        return None, torch.stack(by_weights), by_dense

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        weights, dense = ctx.saved_tensors
        parts = [(weights, tangents[2]), (tangents[1], dense)]
        return torch.stack([_Polynomial.apply(ctx.operator, *part) for part in parts if None not in part]).sum(0)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[None, int | None, int | None], operator: Sparse, weights: Tensor, dense: Tensor) -> tuple[Tensor, int]:  # pyright: ignore[reportIncompatibleMethodOverride]
        weights, dense = (_batched(value, dim, info.batch_size) for value, dim in zip((weights, dense), in_dims[1:], strict=True))
        return _Polynomial.apply(operator, weights, dense), 1


def _batched(value: Tensor, dim: int | None, size: int) -> Tensor:
    """`value` with its batch second, made where it has none."""
    if dim is not None:
        return value.movedim(dim, 1)
    return value.unsqueeze(1).expand(value.shape[0], size, *value.shape[1:])
