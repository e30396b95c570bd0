"""The most that one thread can do: the best of several real loops, checked against the processor.

One kernel is no reference: where a library's products are slow, a convolution passes them. So the
peak is the fastest of products by each library at hand, and of convolutions. Where a C compiler is
at hand, it is compared with multiply-adds on registers alone. No loop can pass what the processor
issues: its clock, which a chain of additions measures, times the operations of a cycle.
"""

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bench.spec.experiment import Precision
from bench.speed.loops import Steps
from bench.train.device import prepare

#: FLOPs that a core issues a cycle at most, by a flag of its vector units.
_FLOAT32: Mapping[str, int] = {"avx512f": 64, "fma": 32, "asimd": 32, "sse2": 16}
_BFLOAT16: Mapping[str, int] = {"amx_bf16": 1024, "avx512_bf16": 128, "bf16": 128}
#: How far above the processor's limit a rate may lie by the clocks' noise, and how far below it the
#: best loop may stay: some processors have half of the units that their flags allow.
_NOISE, _LEAST = 1.05, 0.45
#: Sides of the images of a convolution, and how many there are.
_SIDE, _IMAGES = 28, 8
#: Matrices of a batched product.
_BATCHED = 8


@dataclass(frozen=True)
class Candidate:
    """A loop that may be the machine's fastest: its name, its maker, and the FLOPs of a step."""

    name: str
    loop: Callable[..., Steps]
    arguments: tuple[object, ...]
    flops: float


def candidates(precision: Precision, sides: Sequence[int]) -> list[Candidate]:
    """Return all loops at hand that compute in a precision. What is in bf16 may be in float32."""
    libraries = ["torch.mm"]
    if precision == "fp32":
        libraries.append("numpy")
        if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            libraries.append("oneDNN")
    found = [
        Candidate(f"{name} of side {side}", products, (name, side, precision), 2 * side**3)
        for name in libraries
        for side in sides
    ]
    name, side = "torch.bmm", min(sides)
    found.append(
        Candidate(
            f"{name} of side {side}", products, (name, side, precision), 2 * _BATCHED * side**3
        )
    )
    found += [
        Candidate(
            f"3 × 3 convolution of {channels} channels",
            convolutions,
            (channels, precision),
            2 * _IMAGES * _SIDE**2 * channels**2 * 9,
        )
        for channels in sorted(side // 4 for side in sides)[:2]
    ]
    if (compiled := _compiled()) is not None:
        rounds = 100_000
        flops = rounds * int(compiled.flops_a_round())
        found.append(Candidate("multiply-adds in C", multiply_adds, (rounds,), flops))
    return found


def _repeated(step: Callable[[], object]) -> Steps:
    def take(count: int) -> None:
        with torch.inference_mode():
            for _ in range(count):
                step()

    return take


def products(name: str, side: int, precision: Precision) -> Steps:
    """Return a loop of products of square matrices by one library, on one thread."""
    prepare("cpu")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if name == "torch.bmm":
        a, b = torch.randn(2, _BATCHED, side, side).to(dtype).unbind()
        out = torch.empty_like(a)
        return _repeated(lambda: torch.bmm(a, b, out=out))
    a, b = torch.randn(2, side, side).to(dtype).unbind()
    out = torch.empty_like(a)
    if name == "numpy":
        return _repeated(lambda: np.matmul(a.numpy(), b.numpy(), out=out.numpy()))
    if name == "oneDNN":
        left, right = a.to_mkldnn(), b.to_mkldnn()
        return _repeated(lambda: F.linear(left, right))
    return _repeated(lambda: torch.mm(a, b, out=out))


def convolutions(channels: int, precision: Precision) -> Steps:
    """Return a loop of a 3 × 3 convolution that keeps the number of channels, on one thread."""
    prepare("cpu")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last)

    images, kernel = drawn(_IMAGES, channels, _SIDE, _SIDE), drawn(channels, channels, 3, 3)
    return _repeated(lambda: F.conv2d(images, kernel, padding=1))


def multiply_adds(rounds: int) -> Steps:
    """Return a loop of multiply-adds in registers, in float32. Raises `OSError` without it."""
    compiled = _compiled()
    if compiled is None:
        raise OSError("no C compiler has made the loop")
    return _repeated(lambda: compiled.multiply_adds(rounds, 0.5, 1.0))


@cache
def _compiled() -> ctypes.CDLL | None:
    """Return `fma.c` as compiled for this processor; None where that is not possible."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    source = Path(__file__).with_name("fma.c")
    options = ("-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC")
    with tempfile.TemporaryDirectory() as scratch:
        library = Path(scratch) / "fma.so"
        line = [compiler, *options, "-o", str(library), str(source)]
        try:
            subprocess.run(line, check=True, capture_output=True, timeout=60)
            # Once loaded, its file is needed no more.
            found = ctypes.CDLL(str(library))
        except (OSError, subprocess.SubprocessError):
            return None
    integer = ctypes.c_int64
    found.flops_a_round.restype = found.cycles.restype = integer
    found.cycles.argtypes = [integer, integer]
    found.multiply_adds.restype = ctypes.c_float
    found.multiply_adds.argtypes = [integer, ctypes.c_float, ctypes.c_float]
    return found


@dataclass(frozen=True)
class Processor:
    """What a core can issue: cycles a second, how that is known, and FLOPs a cycle by precision.

    What is unknown is 0 or missing.
    """

    clock: float
    source: str
    flops: Mapping[Precision, int] = field(default_factory=dict)

    def limit(self, precision: Precision) -> float:
        """The most FLOPs a second; 0 where it is unknown."""
        return self.clock * self.flops.get(precision, 0)


def _flags(lines: Mapping[str, str]) -> set[str]:
    return set(lines.get("flags", lines.get("Features", "")).split())


def computes(precision: Precision) -> bool:
    """Return whether this processor has instructions for a precision, as far as is known.

    Without them bfloat16 is emulated, and a step takes many times as long as in float32.
    """
    flags = _flags(_cpuinfo())
    return precision == "fp32" or not flags or not flags.isdisjoint(_BFLOAT16)


def processor() -> Processor:
    """Return what this processor can issue."""
    lines = _cpuinfo()
    flags = _flags(lines)
    single = next((flops for flag, flops in _FLOAT32.items() if flag in flags), 0)
    half = next((flops for flag, flops in _BFLOAT16.items() if flag in flags), 0)
    flops: dict[Precision, int] = {"fp32": single, "bf16": max(single, half)} if single else {}
    if (compiled := _compiled()) is not None:
        return Processor(max(_cycles(compiled) for _ in range(20)), "measured", flops)
    told = float(lines.get("cpu MHz", 0)) * 1e6
    return Processor(told, "as /proc/cpuinfo tells it" if told else "unknown", flops)


def _cpuinfo() -> dict[str, str]:
    """Return what the system says of the first core; nothing where it has no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition(2 * os.linesep)[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _cycles(compiled: ctypes.CDLL, rounds: int = 1_000_000) -> float:
    """Return the cycles a second, from additions of which each takes one."""
    began = time.process_time()
    compiled.cycles(rounds, 1)
    return 16 * rounds / (time.process_time() - began)


#: What is said of a share of a peak that is no reference.
INVALID = "no valid peak"


def fault(peak: float, limit: float, fastest: float) -> str:
    """Return why a peak is no reference, or an empty text.

    `limit` is what the processor can issue, 0 if unknown, and `fastest` the rate of the fastest
    step that is compared with the peak. All are FLOPs a second.
    """
    if not limit:
        return f"{INVALID}: what the processor can issue is unknown"
    if peak > _NOISE * limit:
        return f"{INVALID}: the best loop passes what the processor can issue"
    if peak < _LEAST * limit:
        return f"{INVALID}: the best loop is far below what the processor can issue"
    if fastest > peak:
        return f"{INVALID}: a training step passes it"
    return ""
