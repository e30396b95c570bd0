"""What the aggregation methods share: the lengths and angles of the tasks' gradients, and solvers.

A method's problem is one of T × T numbers, whatever the network's size: the Gramian of the
gradients is taken once on the device (T²P multiply-adds, billed), the problem is solved there in
float64 and without waiting, and the answer is one coefficient a task. Problems over the simplex or
a cone are solved exactly by trying every face, of which T tasks have 2^T: for the few tasks of a
run that is small, and its number of operations depends on no value.

Three conventions hold for all that is built with `combine`:

- **Own gradients.** Rows come times the tasks' weights, which sum to 1. A method works on the
  tasks' own gradients, without the weights. Its coefficients are such that equal gradients g give
  g, which is what the plain weighted sum gives.
- **No gradient, no part.** A task whose gradient is zero (its weight is 0, or the batch has none
  of its labels) is left out, and the direction shrinks by its weight, as the plain sum does.
- **Scale.** Lengths are relative to the longest gradient's and angles are cosines, so the scale of
  the losses cannot decide what is small.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import Aggregator, UserError
from bench.tasks import Task

#: Beyond it 2^T faces are too many.
MOST_TASKS = 10


@dataclass(frozen=True)
class Geometry:
    """Lengths and angles of the tasks' own gradients, in float64 on the device, and losses."""

    cosines: Tensor
    """`[T, T]`; a task without a gradient is at right angles to all."""

    lengths: Tensor
    """`[T]`, the longest is 1; 0 for a task without a gradient."""

    inverse: Tensor
    """`[T]`, 1 / length, and 0 for a task without a gradient."""

    losses: Tensor
    """`[T]`, the tasks' own losses, unweighted."""

    weights: Tensor
    """`[T]`, the tasks' weights; they sum to 1 over the tasks that have a gradient."""

    tolerance: float
    """What the rounding of a Gramian may do to a cosine."""

    @property
    def active(self) -> Tensor:
        """`[T]`, 1 for a task that has a gradient, else 0."""
        return (self.lengths > 0).to(self.lengths.dtype)

    @property
    def definite(self) -> Tensor:
        """The cosines `[T, T]`, positive definite: rounding may have made them less."""
        return self.cosines + self.tolerance * torch.eye(
            len(self.cosines), dtype=self.cosines.dtype, device=self.cosines.device
        )


Rule = Callable[[Geometry], Tensor]
"""Maps the geometry to the coefficients `[T]` of the tasks' own gradients in the direction."""


def combine(rule: Rule) -> Aggregator:
    """Return the merge that adds the tasks' own gradients with the coefficients of `rule`."""

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
    """Return the candidate `[T]` of `[F, T]` whose cost `[F]` is least; a NaN costs too much."""
    best = costs.nan_to_num(nan=torch.inf).argmin().view(1)
    return candidates.index_select(0, best)[0]


def minimum_norm(cosines: Tensor, inverse: Tensor) -> Tensor:
    """Return the weights `[T]`, at least 0 and with sum 1, of the shortest convex combination.

    `cosines` is `[T, T]`, positive definite; `inverse` has 1 over the vectors' lengths `[T]`, 0 for
    one that takes no part. The shortest point of every face's affine hull is tried.
    """
    # In units of length: β ≥ 0 with a · β = 1, so that a short vector is no small number.
    a = inverse / inverse.max()
    # With a aᵀ added the cost grows by a constant on a · β = 1, and a face that holds the origin
    # in its hull has one solution too.
    beta = on_faces(cosines + a * a[:, None], a[:, None])[:, :, 0].clamp_min(0)
    # Clamped and scaled every face's solution is allowed, so the shortest one is the answer.
    beta = beta / (beta @ a)[:, None]
    return least(beta, squared_norm(beta, cosines)) * a


def eigen(matrix: Tensor, sweeps: int = 6) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues `[T]`, in no order, and eigenvectors (columns) of a symmetric matrix.

    Jacobi's rotations (Golub and Van Loan, Matrix Computations, 8.5): one is exact for two tasks,
    six sweeps are for ten. `torch.linalg.eigh` waits for the device.
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
