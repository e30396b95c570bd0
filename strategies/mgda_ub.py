"""MGDA-UB (Sener and Koltun 2018): MGDA on the gradients at the shared features.

The rule: let Z be the features of the batch at which the tasks' paths split. Find α ≥ 0 with Σ
α = 1 such that |Σ α_t ∇_Z L_t| is least; the encoder descends Σ α_t L_t. The length on Z, times a
constant, is an upper bound on the length on the parameters. The gradients at Z cost a pass through
the heads per task. Σ α_t ∇_Z L_t goes back through the encoder once, whatever the number of tasks;
MGDA goes back through it once per task. Where the Jacobian has orthonormal rows, up to a factor,
the two agree.

Everything that tasks share must lie before one activation: `hard` and `branch`, on the same images.
Tasks on images of their own have features of their own, and their gradients share no space.
Networks that mix tasks inside have no such point. Both are refused. Normalizers and solver are
those of `mgda`. The heads learn from their tasks' own gradients, as in the paper's Algorithm 1.
"""

from dataclasses import dataclass

from .mgda import MGDA


@dataclass(frozen=True)
class MGDAUB(MGDA):
    """Multiple-gradient descent on the shared features."""

    name = "mgda-ub"
    summary = "the shortest convex combination of the task gradients at the shared features"
    on_features = True
