"""The optimizer takes the steps of torch's own."""

from typing import Any

import pytest
import torch
from torch import nn

from bench.train.optimizer import AdamW


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_takes_the_steps_of_torchs_adamw_bit_for_bit(layout: torch.memory_format) -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        made = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(180, 2))
        return made.to(memory_format=layout)

    ours, theirs = network(), network()
    scales: list[nn.Parameter] = [nn.Parameter(torch.tensor([0.5, 2.0])) for _ in range(2)]
    optimizer = AdamW(ours.parameters(), [scales[0]], rate=0.0, decay=0.1)
    groups: list[dict[str, Any]] = [
        {"params": list(theirs.parameters())},
        {"params": scales[1:], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, weight_decay=0.1, fused=True)
    for step in range(6):
        x = torch.randn(4, 3, 8, 8).to(memory_format=layout)
        rate = 0.01 * (step + 1)
        optimizer.rate = rate
        for group in reference.param_groups:
            group["lr"] = rate
        for made, scale in zip((ours, theirs), scales, strict=True):
            y = made(x) * scale if step % 2 else made(x)  # a weight of no use has no gradient
            y.square().mean().backward()
        for one in (optimizer, reference):
            one.step()
            one.zero_grad()
        pairs = zip([*ours.parameters(), scales[0]], [*theirs.parameters(), scales[1]], strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(scales[0], torch.tensor([0.5, 2.0]))


def test_a_parameter_without_a_gradient_stays_as_it_is() -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = AdamW([parameter], [], rate=0.1, decay=0.1)
    optimizer.step()
    assert torch.equal(parameter, torch.ones(3))
    assert all(not kept.any() for kept in optimizer.state)


def test_some_parameters_may_have_another_rate() -> None:
    def pair() -> list[nn.Parameter]:
        return [nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2)]

    ours, theirs = pair(), pair()
    optimizer = AdamW(ours, [], 0.1, 0.2, {id(ours[0])}, 0.5)
    groups = [{"params": theirs[:1], "lr": 0.05}, {"params": theirs[1:], "lr": 0.1}]
    reference = torch.optim.AdamW(groups, weight_decay=0.2, fused=True)
    for _ in range(3):
        for each in (ours, theirs):
            torch.stack([*each]).square().sum().backward()
        for one in (optimizer, reference):
            one.step()
            one.zero_grad()
    assert all(map(torch.equal, ours, theirs))
