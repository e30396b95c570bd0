"""The peak of table 3: what its loops compute, and when it is none."""

import shutil
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.speed import peak

SIDES = (16, 32)


def _names(precision: str) -> list[str]:
    return [each.name for each in peak.candidates(precision, SIDES)]  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_loop_of_torch_has_the_flops_that_torch_counts(precision: str) -> None:
    tried = [
        each
        for each in peak.candidates(precision, SIDES)  # type: ignore[arg-type]
        if each.name.startswith(("torch", "3 × 3"))
    ]
    assert len(tried) == 2 + 1 + 2
    for each in tried:
        take = each.loop(*each.arguments)
        with FlopCounterMode(display=False) as counter:
            take(2)
        assert counter.get_total_flops() == 2 * each.flops, each.name


def test_every_library_at_hand_is_tried() -> None:
    names = " ".join(_names("fp32"))
    assert all(name in names for name in ("torch.mm", "torch.bmm", "numpy", "convolution"))
    assert ("oneDNN" in names) == torch.backends.mkldnn.is_available()
    for each in peak.candidates("fp32", SIDES):
        each.loop(*each.arguments)(1)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is at hand")
def test_the_compiled_loop_computes_what_it_counts() -> None:
    compiled = peak._compiled()
    assert compiled is not None
    # Every lane of every chain ends at the fixed point of x / 2 + 1. Each lane is two FLOPs.
    assert compiled.multiply_adds(100, 0.5, 1.0) == pytest.approx(compiled.flops_a_round())
    assert compiled.cycles(1000, 3) == 16 * 1000 * 3
    assert _names("bf16")[-1] == "multiply-adds in C"


def test_without_a_compiler_the_clock_is_that_of_the_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    peak._compiled.cache_clear()
    monkeypatch.setattr(
        peak, "_cpuinfo", lambda: {"flags": "fma avx2 avx512f amx_bf16", "cpu MHz": "2000.0"}
    )
    found = peak.processor()
    assert "multiply-adds in C" not in _names("fp32")
    assert found.source == "as /proc/cpuinfo tells it"
    assert found.limit("fp32") == 64 * 2e9
    assert found.limit("bf16") == 1024 * 2e9
    monkeypatch.setattr(peak, "_cpuinfo", dict)
    assert peak.processor().limit("fp32") == 0
    with pytest.raises(OSError, match="no C compiler"):
        peak.multiply_adds(1)
    peak._compiled.cache_clear()


def test_a_processor_without_bfloat16_computes_it_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peak, "_cpuinfo", lambda: {"Features": "fp asimd", "cpu MHz": "1000"})
    found = peak.processor()
    assert found.flops == {"fp32": 32, "bf16": 32}


@pytest.mark.parametrize(
    ("highest", "limit", "fastest", "said"),
    [
        (90.0, 100.0, 60.0, ""),
        (104.0, 100.0, 60.0, ""),
        (90.0, 0.0, 60.0, "unknown"),
        (110.0, 100.0, 60.0, "passes what the processor can issue"),
        (40.0, 100.0, 30.0, "far below"),
        (90.0, 100.0, 91.0, "a training step passes it"),
    ],
)
def test_a_peak_that_a_step_passes_or_nothing_confirms_is_none(
    highest: float, limit: float, fastest: float, said: str
) -> None:
    fault = peak.fault(highest, limit, fastest)
    assert fault.startswith("no valid peak") == bool(said)
    assert said in fault


@pytest.mark.parametrize(
    ("flags", "native"),
    [
        ({"flags": "fma avx2"}, False),
        ({"flags": "fma avx512f avx512_bf16"}, True),
        ({"flags": "amx_bf16 avx512f"}, True),
        ({"Features": "fp asimd bf16"}, True),
        ({}, True),  # unknown
    ],
)
def test_bfloat16_is_measured_where_the_processor_computes_in_it(
    flags: dict[str, str], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peak, "_cpuinfo", lambda: flags)
    assert peak.computes("bf16") is native
    assert peak.computes("fp32")
