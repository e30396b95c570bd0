"""The optimizer of every run."""

from collections.abc import Collection, Iterable

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

_BETAS = 0.9, 0.999
_EPSILON = 1e-8


class AdamW:
    """AdamW (Loshchilov & Hutter 2019) by torch's fused kernel.

    It takes the same steps as `torch.optim.AdamW`, bit for bit, without the hooks and checks around
    them. Those cost a small network as much as a tenth of its step. A parameter without a gradient
    stays as it is. Parameters whose identity is in `scaled` have `factor` times the learning rate.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        undecayed: Iterable[nn.Parameter],
        rate: float,
        decay: float,
        scaled: Collection[int] = (),
        factor: float = 1.0,
    ) -> None:
        #: The learning rate of the steps that follow.
        self.rate = rate
        every = list(parameters)
        apart = [p for p in every if factor != 1 and id(p) in scaled]
        others = [p for p in every if factor == 1 or id(p) not in scaled]
        self._groups = [
            (times, weight_decay, [(p, *self._moments(p)) for p in group if p.requires_grad])
            for times, weight_decay, group in (
                (1.0, decay, others),
                (factor, decay, apart),
                (1.0, 0.0, undecayed),
            )
        ]

    @staticmethod
    def _moments(parameter: nn.Parameter) -> tuple[Tensor, Tensor, Tensor]:
        """Return the running means of a gradient and of its square, and the count of its steps."""
        first, second = (torch.zeros_like(parameter, requires_grad=False) for _ in range(2))
        return first, second, torch.zeros((), device=parameter.device)

    @property
    def state(self) -> list[Tensor]:
        """All the state that it keeps between steps."""
        return [tensor for *_, group in self._groups for _, *kept in group for tensor in kept]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for *_, group in self._groups:
            for parameter, *_ in group:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for times, decay, group in self._groups:
            moved = [(row, g) for row in group if (g := row[0].grad) is not None]
            adamw(
                [p for (p, _, _, _), _ in moved],
                [g for _, g in moved],
                [first for (_, first, _, _), _ in moved],
                [second for (_, _, second, _), _ in moved],
                [],
                [count for (_, _, _, count), _ in moved],
                fused=True,
                amsgrad=False,
                beta1=_BETAS[0],
                beta2=_BETAS[1],
                lr=times * self.rate,
                weight_decay=decay,
                eps=_EPSILON,
                maximize=False,
            )
