"""What must not change unseen: the content of the real sets, and the code that makes it."""

from pathlib import Path

import pytest

from bench.contracts import DataSource
from bench.spec.registry import single_task
from bench.store import provenance
from bench.train.load import fingerprint, task_data

MODULES = sorted(path.stem for path in (Path(__file__).parents[2] / "datasets").glob("*.py"))


@pytest.mark.parametrize(
    ("dataset", "tasks", "digest"),
    [
        (
            "mnist",
            "digit+parity+slant",
            "ef1e678d548335bd57ebc4e416b83de940c531ea14d638944015fd57b6b53e26",
        ),
        (
            "multimnist",
            "left+right",
            "1d4b95fd8d971fe101160eb4ce79d0fca54c456d97d25792520b6dcda77bc2da",
        ),
    ],
)
def test_the_real_content_is_what_it_always_was(
    real: Path, dataset: str, tasks: str, digest: str
) -> None:
    # Content as at commit 0aabb8c with torch 2.15 on x86-64; what is hashed beside it has grown.
    data = [task_data(dataset, task, DataSource(real)) for task in tasks.split("+")]
    assert fingerprint(data) == digest


@pytest.mark.parametrize(
    ("dataset", "modules"),
    [
        ("mnist", {"mnist", "_idx", "_files", "_bins"}),
        ("fashion-mnist", {"fashion_mnist", "_idx", "_files", "_bins"}),
        ("multimnist", {"multimnist", "_overlay", "mnist", "_idx", "_files", "_bins"}),
        (
            "multi-fashion",
            {"multi_fashion", "_overlay", "fashion_mnist", "_idx", "_files", "_bins"},
        ),
        (
            "multi-mixed",
            {"multi_mixed", "_overlay", "mnist", "fashion_mnist", "_idx", "_files", "_bins"},
        ),
        ("cifar10", {"cifar10", "_cifar", "_files", "_bins"}),
        ("cifar100", {"cifar100", "_cifar", "_files", "_bins"}),
        ("cifar-both", {"cifar_both", "cifar10", "cifar100", "_cifar", "_files", "_bins"}),
        ("svhn", {"svhn", "_files", "_bins"}),
        ("digits", {"digits", "svhn", "mnist", "_idx", "_files", "_bins"}),
        ("pet", {"pet", "_files"}),
        ("celeba", {"celeba", "_files"}),
        ("voc", {"voc", "_files"}),
        ("nyuv2", {"nyuv2", "_maps", "_files"}),
        ("cityscapes", {"cityscapes", "_maps", "_files"}),
        ("blocks", {"blocks", "_teacher"}),
        ("creatures", {"creatures"}),
        ("linear", {"linear", "_teacher"}),
        ("teachers", {"teachers", "_teacher"}),
    ],
)
def test_a_run_is_new_when_a_module_its_data_are_made_with_changes(
    monkeypatch: pytest.MonkeyPatch, dataset: str, modules: set[str]
) -> None:
    before = provenance.code_fingerprint(single_task(), "lenet", dataset)
    original, found = provenance._source, set()
    for name in MODULES:

        def edited(path: str, file: str = f"{name}.py") -> str:
            return "edited" if Path(path).name == file else original(path)

        monkeypatch.setattr(provenance, "_source", edited)
        if provenance.code_fingerprint(single_task(), "lenet", dataset) != before:
            found.add(name)
    assert found == modules
