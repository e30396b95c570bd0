"""Batch normalisation whose statistics are kept apart for each task.

In training it normalises by the statistics of the batch, and in evaluation by their running mean.
Both are those of the task whose images pass. Scale and shift are shared.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.errors import UserError

#: Share of a batch in the running statistics. Some models have a hundredth, and would need hundreds
#: of steps for their own.
_MOMENTUM = 0.1


class SeparateStatistics(nn.Module):
    """What is added to the class of a batch normalisation, so that each task has statistics.

    `means` and `variances` are the running ones, `[tasks, C]`.
    """

    means: Tensor
    variances: Tensor
    track_running_stats: bool
    #: The task whose images pass now.
    at = 0

    @property
    def running_mean(self) -> Tensor:
        """The running mean of the task that passes, `[C]`, which is updated in place."""
        return self.means[self.at]

    @property
    def running_var(self) -> Tensor:
        """The running variance of the task that passes, `[C]`, which is updated in place."""
        return self.variances[self.at]

    def keep_apart(self, tasks: int) -> None:
        """Begin with the same statistics for so many tasks."""
        for name in ("means", "variances"):
            setattr(self, name, getattr(self, name)[:1].repeat(tasks, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise activations `[N, C, ...]`. Raises `UserError` where a channel has one value."""
        if self.training and x.numel() == x.shape[1]:
            raise UserError(
                "norm=per-task takes statistics of a batch, and a batch of one image has none: "
                "raise --batch-size, or give norm=group"
            )
        normalised: Tensor = super().forward(x)
        return normalised


def separate_statistics(norms: Sequence[_BatchNorm]) -> None:
    """Make batch normalisations keep their statistics apart. They begin with those that they have.

    Raises `UserError` where one has no running statistics.
    """
    for norm in norms:
        if norm.running_mean is None or norm.running_var is None:
            raise UserError("norm=per-task needs batch normalisation with running statistics")
        means, variances = norm.running_mean[None], norm.running_var[None]
        del norm.running_mean, norm.running_var
        norm.register_buffer("means", means.clone())
        norm.register_buffer("variances", variances.clone())
        norm.num_batches_tracked, norm.momentum = None, _MOMENTUM
        kind = type(norm)
        norm.__class__ = type(f"PerTask{kind.__name__}", (SeparateStatistics, kind), {})
