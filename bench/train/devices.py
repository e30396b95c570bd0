"""What a device is and can: its memory, its precisions, and which operators keep to an order.

All of it is tried, not read from a data sheet: small operators, forwards and backwards.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bench import accelerator
from bench.randomness import stream
from bench.store.provenance import provenance
from bench.train.device import prepare, reason_of

#: Rounding errors of a product of two matrices, relative to its size, up to which it is float32's.
_FLOAT32 = 1e-5
_SIDE = 256


@dataclass(frozen=True)
class DeviceFacts:
    """A device as it was found. `count` is the number of its kind, all as the first.

    `free` and `total` are bytes of memory, None where the backend does not tell. `precisions` has
    what a recipe may ask for, and how far a product is off, or why there is none. `unordered` are
    the operators that gave other bits the second time, or for which torch has no fixed order.
    `waits` says whether torch can tell of each wait for the device.
    """

    device: str
    name: str
    count: int
    free: int | None
    total: int | None
    precisions: Mapping[str, str]
    unordered: tuple[str, ...]
    waits: bool


def _drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=stream(0, "device", str(shape)))


def _image(device: torch.device) -> Tensor:
    return _drawn(4, 8, 16, 16).to(device).requires_grad_()


def _classes(device: torch.device) -> Tensor:
    return (torch.arange(64) % 7).to(device)


#: The operators that networks are made of. Each takes a leaf and a device.
_OPERATORS: Mapping[str, Callable[[Tensor, torch.device], Tensor]] = {
    "convolution": lambda x, d: F.conv2d(x, _drawn(8, 8, 3, 3).to(d), padding=1),
    "matrix product": lambda x, d: x.flatten(1) @ _drawn(2048, 10).to(d),
    "group normalisation": lambda x, d: F.group_norm(x, 1),
    "max pooling": lambda x, d: F.max_pool2d(x, 3, 2),
    "average pooling": lambda x, d: F.adaptive_avg_pool2d(x, 3),
    "bilinear resizing": lambda x, d: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
    "nearest resizing": lambda x, d: F.interpolate(x, scale_factor=2.0),
    "cross entropy": lambda x, d: F.cross_entropy(x.reshape(64, -1), _classes(d)),
    "indexing": lambda x, d: x.flatten(0, 2)[_classes(d)],
}


def _unordered(device: torch.device) -> tuple[str, ...]:
    """Return the operators whose result or gradient is in no fixed order, or is not there."""
    found = []
    for name, operator in _OPERATORS.items():
        with accelerator.unordered(device) as told:
            try:
                results = [_passed(operator, device) for _ in range(2)]
            except RuntimeError as error:
                found.append(f"{name} ({reason_of(error)})")
                continue
        same = all(torch.equal(a, b) for a, b in zip(*results, strict=True))
        if told or not same:
            found.append(name)
    return tuple(found)


def _passed(
    operator: Callable[[Tensor, torch.device], Tensor], device: torch.device
) -> tuple[Tensor, Tensor]:
    x = _image(device)
    out = operator(x, device)
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    return out.detach().cpu(), gradient.cpu()


def _precisions(device: torch.device) -> dict[str, str]:
    a, b = _drawn(_SIDE, _SIDE), _drawn(_SIDE, _SIDE)
    exact = a.double() @ b.double()
    found = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        try:
            product = (a.to(device, dtype) @ b.to(device, dtype)).float().cpu().double()
        except RuntimeError as error:
            found[name] = f"no: {reason_of(error)}"
            continue
        off = float((product - exact).norm() / exact.norm())
        rounded = ", rounded to fewer bits" if dtype == torch.float32 and off > _FLOAT32 else ""
        found[name] = f"off by {off:.1e}{rounded}"
    return found


def facts_of(device: str) -> DeviceFacts:
    """Try a device, and return what was found. Raises whatever it raises."""
    own = prepare(device)
    free, total = accelerator.memory(device) or (None, None)
    on_host = accelerator.on_host(device)
    with accelerator.never_waiting(device) as waits:
        pass
    return DeviceFacts(
        device=device,
        name=provenance(device)["processor"] if on_host else accelerator.name(device),
        count=1 if on_host else accelerator.count(),
        free=free,
        total=total,
        precisions=_precisions(own),
        unordered=_unordered(own),
        waits=waits,
    )
