"""`Sparse` is its dense matrix: in products, in their derivatives, under every transform."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, jvp, vmap

from hcdc.data import Sparse
from tests.cases import normal

MATRIX = normal(4, 5, seed=0) * (normal(4, 5, seed=1) > 0)
MATRIX[2], MATRIX[:, 3] = 0, 0
"""[4, 5] with an empty row and an empty column."""


@pytest.fixture
def sparse() -> Sparse:
    return Sparse.from_dense(MATRIX)


def test_product(sparse: Sparse) -> None:
    for shape in ((5, 3), (5,), (5, 2, 3)):
        x = normal(*shape, seed=2)
        torch.testing.assert_close(sparse @ x, torch.tensordot(MATRIX, x, 1))


def test_transpose(sparse: Sparse) -> None:
    assert sparse.T.shape == (5, 4)
    assert sparse.T.T is sparse
    assert torch.equal(sparse.T.dense(), MATRIX.T)
    torch.testing.assert_close(sparse.T @ normal(4, 2, seed=3), MATRIX.T @ normal(4, 2, seed=3))


def test_entries_given_twice_are_added() -> None:
    index = torch.tensor([[1, 0, 1], [2, 0, 2]])
    made = Sparse.from_coo(index, torch.tensor([1.0, 5.0, 2.0]), (2, 3))
    assert made.dense().tolist() == [[5, 0, 0], [0, 0, 3]]
    assert made.nnz == 2


def test_coo_round_trip(sparse: Sparse) -> None:
    index, values = sparse.coo()
    assert torch.equal(Sparse.from_coo(index, values, (4, 5)).dense(), MATRIX)
    assert (index[0].diff() >= 0).all(), "not in row order"


def test_derivatives_of_first_and_second_order(sparse: Sparse) -> None:
    x = normal(5, 2, seed=4).requires_grad_()
    assert gradcheck(lambda x: sparse @ x, x, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(lambda x: (sparse @ x).sin(), x)
    assert gradgradcheck(lambda x: sparse @ (sparse.T @ (sparse @ x).tanh()), x)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_vmap(sparse: Sparse, dim: int) -> None:
    x = normal(6, 5, 2, seed=5).movedim(0, dim)
    expected = torch.stack([MATRIX @ one for one in x.unbind(dim)])
    torch.testing.assert_close(vmap(lambda x: sparse @ x, in_dims=dim)(x), expected)


def test_nested_vmap(sparse: Sparse) -> None:
    x = normal(3, 2, 5, 4, seed=6)
    torch.testing.assert_close(vmap(vmap(lambda x: sparse @ x))(x), MATRIX @ x)


def loss(operator: Sparse | Tensor, x: Tensor) -> Tensor:
    return ((operator @ x).sin() * torch.arange(8.0, dtype=x.dtype).reshape(4, 2)).sum()


def test_vmap_of_grad(sparse: Sparse) -> None:
    x = normal(3, 5, 2, seed=7)
    found = vmap(grad(lambda x: loss(sparse, x)))(x)
    torch.testing.assert_close(found, torch.stack([grad(lambda x: loss(MATRIX, x))(one) for one in x]))


def test_jvp_of_vmap_of_grad(sparse: Sparse) -> None:
    """The composition that a Hessian-vector product of a batch of models is made of."""
    x, v = normal(3, 5, 2, seed=8), normal(3, 5, 2, seed=9)
    found = jvp(vmap(grad(lambda x: loss(sparse, x))), (x,), (v,))[1]
    for one, tangent, product in zip(x, v, found, strict=True):
        dense = hessian(lambda x: loss(MATRIX, x))(one).reshape(10, 10)
        torch.testing.assert_close(product.flatten(), dense @ tangent.flatten())


@pytest.mark.parametrize("index", [[0, 1, 2, 3], [3, 1], [2], [1, 1, 0], []], ids=str)
def test_rows(sparse: Sparse, index: list[int]) -> None:
    rows = sparse.rows(torch.tensor(index, dtype=torch.long))
    assert torch.equal(rows.dense(), MATRIX[index])
    torch.testing.assert_close(rows @ normal(5, 2, seed=10), MATRIX[index] @ normal(5, 2, seed=10))


def test_submatrix() -> None:
    square, index = normal(6, 6, seed=11) * (normal(6, 6, seed=12) > 0), torch.tensor([4, 0, 5])
    assert torch.equal(Sparse.from_dense(square).submatrix(index), square[index][:, index])


def test_conversion(sparse: Sparse) -> None:
    single = sparse.to(dtype=torch.float32)
    assert single.dense().dtype == single.T.dense().dtype == torch.float32
    assert torch.equal(single.dense(), MATRIX.float())
    assert sparse.to(dtype=torch.float64) is sparse.to("cpu") is sparse


def test_what_is_moved_twice_is_moved_once(sparse: Sparse) -> None:
    """So that the three parts of a graph share its matrices on another device too."""
    single = sparse.to(dtype=torch.float32)
    assert sparse.to(dtype=torch.float32) is single
    assert sparse.to(dtype=torch.float16) is not single


def test_scaled(sparse: Sparse) -> None:
    """Entry by entry, in the order of `coo`; the transpose, through which gradients flow, follows."""
    factors = torch.arange(1.0, sparse.nnz + 1, dtype=torch.float64)
    index, values = sparse.coo()
    expected = torch.zeros_like(MATRIX)
    expected[index[0], index[1]] = values * factors
    for made, dense in ((sparse.scaled(factors), expected), (sparse.T.scaled(torch.ones(sparse.nnz)), MATRIX.T)):
        assert torch.equal(made.dense(), dense)
        assert torch.equal(made.T.dense(), dense.T)
        assert made.T.T is made
        x = normal(dense.shape[1], 2, seed=13).requires_grad_()
        assert gradcheck(lambda x, made=made: made @ x, x)
    assert torch.equal(sparse.dense(), MATRIX), "the original changed"
    assert torch.equal(sparse.T.dense(), MATRIX.T)


def symmetric() -> Sparse:
    square = normal(6, 6, seed=14) * (normal(6, 6, seed=15) > 0)
    square = square + square.T
    return Sparse(square.to_sparse_csr(), symmetric=True)


def test_a_symmetric_matrix_is_its_own_transpose() -> None:
    made = symmetric()
    assert made.T is made
    assert torch.equal(made.dense(), made.dense().T)
    single = made.to(dtype=torch.float32)
    assert single.T is single
    x = normal(6, 2, seed=16).requires_grad_()
    assert gradgradcheck(lambda x: (made @ x).sin(), x)


def test_a_symmetric_matrix_scaled_need_not_be() -> None:
    made = symmetric()
    factors = torch.arange(1.0, made.nnz + 1, dtype=torch.float64)
    scaled = made.scaled(factors)
    index, values = made.coo()
    expected = torch.zeros(6, 6, dtype=torch.float64).index_put(tuple(index), values * factors)
    assert torch.equal(scaled.dense(), expected)
    assert torch.equal(scaled.T.dense(), expected.T)


@pytest.mark.parametrize("diagonal", [[0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6], [0, 2, 0, 0, 5, 0]], ids=["none", "all", "some"])
def test_plus_identity(diagonal: list[float]) -> None:
    base = normal(6, 6, seed=17) * (normal(6, 6, seed=18) > 0.5)
    base[1], base[:, 4] = 0, 0
    base = base - torch.diag(base.diag()) + torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    for dense in (base, base + base.T):
        given = Sparse(dense.to_sparse_csr(), symmetric=torch.equal(dense, dense.T))
        made = given.plus_identity()
        expected = dense + torch.eye(6, dtype=torch.float64)
        assert torch.equal(made.dense(), expected)
        assert torch.equal(made.T.dense(), expected.T)
        assert made.nnz == int((expected != 0).sum())
        torch._validate_sparse_csr_tensor_args(made.csr.crow_indices(), made.csr.col_indices(), made.csr.values(), made.shape)
        assert torch.equal(given.dense(), dense), "wrote to the matrix"


def test_coo_is_unfolded_once_while_it_is_held(sparse: Sparse) -> None:
    held = sparse.coo()[0]
    assert sparse.coo()[0] is held


def test_pickling(sparse: Sparse) -> None:
    held = sparse.coo()[0]
    for made in (sparse, symmetric()):
        back = pickle.loads(pickle.dumps(made))
        assert torch.equal(back.dense(), made.dense())
        assert torch.equal(back.T.dense(), made.T.dense())
        assert (back.T is back) == (made.T is made)
    assert sparse.coo()[0] is held


def test_other_layouts_are_refused() -> None:
    with pytest.raises(TypeError, match="from_coo"):
        Sparse(MATRIX)


SQUARE = MATRIX[:, :4]
WEIGHTS, DENSE = normal(4, seed=11), normal(4, 2, seed=12)


def power_sum(weights: Tensor, dense: Tensor) -> Tensor:
    """The polynomial written out."""
    return torch.stack([weight * torch.linalg.matrix_power(SQUARE, k) @ dense for k, weight in enumerate(weights)]).sum(0)


def test_polynomial() -> None:
    square = Sparse.from_dense(SQUARE)
    torch.testing.assert_close(square.polynomial(WEIGHTS, DENSE), power_sum(WEIGHTS, DENSE))
    torch.testing.assert_close(square.polynomial(WEIGHTS[:1], DENSE), WEIGHTS[0] * DENSE)
    unit = Sparse.identity(4, DENSE)
    torch.testing.assert_close(unit.polynomial(WEIGHTS, DENSE), WEIGHTS.sum() * DENSE)


def test_derivatives_of_a_polynomial() -> None:
    square, weights, dense = Sparse.from_dense(SQUARE), WEIGHTS.clone().requires_grad_(), DENSE.clone().requires_grad_()
    assert gradcheck(square.polynomial, (weights, dense), check_forward_ad=True, check_batched_grad=True)
    assert gradcheck(square.polynomial, (WEIGHTS, dense), check_forward_ad=True)
    assert gradcheck(square.polynomial, (weights, DENSE), check_forward_ad=True)
    assert gradgradcheck(lambda w, x: square.polynomial(w, x).sin(), (weights, dense))


@pytest.mark.parametrize("batched", [(0, 1), (None, 1), (1, None)])
def test_vmap_of_a_polynomial_and_its_gradients(batched: tuple[int | None, int | None]) -> None:
    square = Sparse.from_dense(SQUARE)
    weights, dense = (
        torch.stack([value, -2 * value, value.sin()], dim) if dim is not None else value for value, dim in zip((WEIGHTS, DENSE), batched, strict=True)
    )
    for transform in (lambda f: f, lambda f: grad(lambda w, x: f(w, x).sin().sum(), (0, 1))):
        found = vmap(transform(square.polynomial), batched)(weights, dense)
        torch.testing.assert_close(found, vmap(transform(power_sum), batched)(weights, dense))


def test_nested_vmap_of_a_polynomial() -> None:
    square, weights, dense = Sparse.from_dense(SQUARE), normal(3, 4, seed=13), normal(3, 2, 4, 5, seed=14)
    found = vmap(lambda w, x: vmap(lambda one: square.polynomial(w, one))(x))(weights, dense)
    torch.testing.assert_close(found, vmap(lambda w, x: vmap(lambda one: power_sum(w, one))(x))(weights, dense))
