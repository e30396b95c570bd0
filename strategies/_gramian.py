"""Shared by the aggregation methods: lengths and angles of the tasks' gradients, and solvers.

Each method solves a T × T problem, whatever the size of the network. The Gramian of the gradients
is computed once on the device (T²P multiply-adds, billed). The problem is solved there in float64,
without synchronising, and the answer is one coefficient per task. Problems over the simplex or a
cone are solved exactly by trying every face. T tasks have 2^T faces, which is few for the handful
of tasks in a run. The number of operations depends on no value.

Three conventions hold for everything built with `combine`:

- **Unweighted gradients.** Rows arrive multiplied by the tasks' weights, which sum to 1. A method
  works on the tasks' own gradients, without the weights. Its coefficients map equal gradients g to
  g, as the plain weighted sum does.
- **A task without a gradient is left out.** Its gradient is zero because its weight is 0 or because
  the batch has none of its labels. The direction shrinks by its weight, as in the plain sum.
- **Scale.** Lengths are relative to the longest gradient and angles are cosines. So the scale of
  the losses cannot decide what is small.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import Aggregator, UserError
from bench.tasks import Task

#: With more tasks, 2^T faces are too many.
MOST_TASKS = 10


@dataclass(frozen=True)
class Geometry:
    """Lengths and angles of the tasks' own gradients, in float64 on the device, and losses."""

    cosines: Tensor
    """`[T, T]`; a task without a gradient is orthogonal to all others."""

    lengths: Tensor
    """`[T]`, the longest is 1; 0 for a task without a gradient."""

    inverse: Tensor
    """`[T]`, 1 / length, and 0 for a task without a gradient."""

    losses: Tensor
    """`[T]`, the tasks' own losses, unweighted."""

    weights: Tensor
    """`[T]`, the tasks' weights; they sum to 1 over the tasks that have a gradient."""

    tolerance: float
    """How far rounding of the Gramian may move a cosine."""

    @property
    def active(self) -> Tensor:
        """`[T]`, 1 for a task that has a gradient, else 0."""
        return (self.lengths > 0).to(self.lengths.dtype)

    @property
    def definite(self) -> Tensor:
        """The cosines `[T, T]`, made positive definite in case rounding has made them less."""
        return self.cosines + self.tolerance * torch.eye(
            len(self.cosines), dtype=self.cosines.dtype, device=self.cosines.device
        )


Rule = Callable[[Geometry], Tensor]
"""Maps the geometry to the coefficients `[T]` of the tasks' own gradients in the direction."""


def combine(rule: Rule) -> Aggregator:
    """Return the aggregator that adds the tasks' own gradients with the coefficients of `rule`."""

    def merge(gradients: Tensor, losses: Tensor, weights: Tensor) -> Tensor:
        gram = (gradients @ gradients.T).double()
        share = weights.double()
        row_lengths = gram.diagonal().sqrt()
        present = row_lengths > 0
        none = torch.zeros_like(share)
        own = torch.where(present, row_lengths / share, none)
        lengths = own / own.max()
        unit = torch.where(present, 1 / row_lengths, none)
        same = torch.eye(len(share), dtype=torch.bool, device=gram.device)
        taking_part = torch.where(present, share, none)
        geometry = Geometry(
            cosines=torch.where(same, 1.0, (gram * unit * unit[:, None]).clamp(-1, 1)),
            lengths=torch.where(present, lengths, none),
            inverse=torch.where(present, 1 / lengths, none),
            losses=losses.double(),
            weights=taking_part / taking_part.sum(),
            tolerance=100 * torch.finfo(gradients.dtype).eps,
        )
        coefficients = rule(geometry) / share * taking_part.sum()
        return torch.where(present, coefficients, none).to(gradients.dtype) @ gradients

    return merge


def refuse_many(method: str, tasks: Sequence[Task]) -> None:
    """Raise `UserError` where a run has too many tasks for a solver that tries every face."""
    if len(tasks) > MOST_TASKS:
        raise UserError(f"{method} merges at most {MOST_TASKS} tasks, not {len(tasks)}")


def on_faces(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve `matrix[S, S] x[S] = right[S]` for each of the 2^T sets S of tasks.

    `matrix` is `[T, T]` and positive definite, `right` is `[T, K]`. Returns x `[2^T, T, K]`, which
    is 0 outside S.
    """
    count = len(matrix)
    index = torch.arange(2**count, device=matrix.device)
    inside = (index[:, None] >> torch.arange(count, device=matrix.device) & 1).to(matrix.dtype)
    systems = inside[:, :, None] * inside[:, None, :] * matrix + torch.diag_embed(1 - inside)
    solution: Tensor = torch.linalg.solve_ex(systems, inside[:, :, None] * right).result
    return solution


def squared_norm(coefficients: Tensor, cosines: Tensor) -> Tensor:
    """Return the squared lengths `[...]` of combinations `[..., T]` of vectors with a Gramian."""
    return ((coefficients @ cosines) * coefficients).sum(-1)


def least(candidates: Tensor, costs: Tensor) -> Tensor:
    """Return the candidate `[T]` of `[F, T]` with the lowest cost `[F]`; NaN counts as infinite."""
    best = costs.nan_to_num(nan=torch.inf).argmin().view(1)
    return candidates.index_select(0, best)[0]


def minimum_norm(cosines: Tensor, inverse: Tensor) -> Tensor:
    """Return the weights `[T]`, at least 0 and summing to 1, of the shortest convex combination.

    `cosines` is `[T, T]`, positive definite. `inverse` `[T]` is 1 over each vector's length, and 0
    for a vector that is left out. The shortest point of every face's affine hull is tried.
    """
    # In units of length: β ≥ 0 with a · β = 1, so that a short vector does not give tiny numbers.
    a = inverse / inverse.max()
    # Adding a aᵀ raises the cost by a constant on a · β = 1. It also gives a unique solution to a
    # face whose hull contains the origin.
    beta = on_faces(cosines + a * a[:, None], a[:, None])[:, :, 0].clamp_min(0)
    # Clamped and scaled, every face's solution is feasible, so the shortest one is the answer.
    beta = beta / (beta @ a)[:, None]
    return least(beta, squared_norm(beta, cosines)) * a


def eigen(matrix: Tensor, sweeps: int = 6) -> tuple[Tensor, Tensor]:
    """Return the unordered eigenvalues `[T]` and the eigenvectors (columns) of a symmetric matrix.

    Jacobi rotations (Golub and Van Loan, Matrix Computations, 8.5): one is exact for two tasks, and
    six sweeps are meant for ten. `torch.linalg.eigh` would wait for the device.
    """
    count = len(matrix)
    identity = torch.eye(count, dtype=matrix.dtype, device=matrix.device)
    vectors = identity
    for _ in range(sweeps if count > 2 else 1):
        for p in range(count):
            for q in range(p + 1, count):
                # The smaller of the two angles that make entry (p, q) zero.
                gap = matrix[q, q] - matrix[p, p]
                sign = torch.where(gap < 0, -1.0, 1.0)
                angle = torch.atan2(2 * sign * matrix[p, q], gap.abs()) / 2
                rotation = identity.clone()
                rotation[p, p] = rotation[q, q] = angle.cos()
                rotation[p, q] = angle.sin()
                rotation[q, p] = -angle.sin()
                matrix = rotation.T @ matrix @ rotation
                vectors = vectors @ rotation
    return matrix.diagonal(), vectors
