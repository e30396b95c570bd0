"""A network is a plugin: found, named with knobs, tried, and part of what a run's key hashes."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import bench.networks
from bench.contracts import DataSource
from bench.errors import EXIT_RUNS_FAILED, UserError
from bench.plan.arms import ONE_WIDTH
from bench.plan.plan import Plan, make_plan
from bench.spec import registry
from bench.spec.experiment import Experiment
from bench.spec.registry import networks, parse_network, spelling, strategy_components
from bench.store.store import Store
from bench.train.loop import build_encoder
from bench.validation import validate
from bench.validation.networks import NETWORK_CHECKS, Tried
from tests.conftest import toy_jobs

WHOLE = """
from dataclasses import dataclass
from torch import nn
from bench.contracts import Network, Normalisation
from bench.networks import Encoder, Shape

@dataclass(frozen=True)
class Mine(Network):
    "One stage."
    name = "mine"
    summary = paper = "for a test"
    def build(self, image: Shape, width: float) -> Encoder:
        stage = {stage}
        return Encoder([stage], image)
"""
SOUND = "nn.Sequential(nn.Conv2d(image[0], max(1, round(4 * width)), 3, 2), nn.ReLU())"

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules of networks into a folder that is searched."""
    folder = tmp_path / "networks"
    folder.mkdir()
    monkeypatch.setattr(bench.networks, "__path__", [*bench.networks.__path__, str(folder)])

    def forget() -> None:
        for known in (networks, parse_network):
            known.cache_clear()
        registry._deadly.pop("bench.networks", None)
        for name in [n for n, m in sys.modules.items() if str(folder) in str(m)]:
            del sys.modules[name]

    def write(name: str, source: str) -> None:
        (folder / f"{name}.py").write_text(source)
        forget()

    yield write
    monkeypatch.undo()
    forget()


def test_networks_are_found_in_the_package_and_in_the_users_folder() -> None:
    assert {"linear", "mlp", "lenet", "resnet8", "resnet18", "patches"} <= networks().found.keys()


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("lenet", "lenet"),
        ("resnet8@norm=group", "resnet8"),
        ("resnet8@none", "resnet8@norm=none"),
        ("patches@5", "patches@kernel=5"),
        ("torchvision:resnet18", "torchvision:resnet18"),
    ],
)
def test_a_network_has_one_spelling_whatever_a_user_types(text: str, spelled: str) -> None:
    assert spelling(parse_network(text)) == spelled
    assert parse_network(spelled) == parse_network(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lenat", "did you mean 'lenet'"),
        ("lenet@3", "lenet has no knobs"),
        ("lenet:large", "lenet has no models"),
        ("resnet8@norm=batch", "norm is one of group, none, not batch"),
        ("resnet8@nrom=none", "did you mean 'norm'"),
        ("torchvision", "needs a model: torchvision:MODEL"),
    ],
)
def test_a_network_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_network(text)


def test_without_normalisation_a_residual_network_has_none() -> None:
    plain = build_encoder("resnet8@norm=none", (3, 16, 16))
    assert not any(isinstance(module, torch.nn.GroupNorm) for module in plain.modules())


def test_a_users_network_passes_every_check() -> None:
    (report,) = validate("patches@kernel=5", DataSource())
    assert (report.component, report.outcome, report.failed) == ("network", "ok", ())
    assert len(report.findings) == len(NETWORK_CHECKS)


SHARING = [
    name
    for name, plugin in strategy_components().found.items()
    if registry.component_of(plugin) == "sharing" and name != "faulty"
]


@pytest.mark.parametrize("strategy", [*SHARING, "branch@2", "hard+pcgrad", "hard+mgda-ub"])
def test_a_users_network_runs_through_all_sharing_strategies(tmp_path: Path, strategy: str) -> None:
    jobs = toy_jobs(tmp_path, strategy, "toy:row+column", network="patches")
    assert jobs
    assert not any(job.fault for job in jobs)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise ValueError('planted')", "ValueError: planted"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("import os; os._exit(3)", "its import ended with exit code 3"),
        (WHOLE.replace("summary = paper", "paper"), "TypeError: Mine has no 'summary'"),
        (WHOLE.replace("def build", "def make"), "TypeError: Mine has no 'build'"),
    ],
)
def test_a_faulty_file_is_listed_as_broken_and_costs_no_other(
    write: Write, source: str, reason: str
) -> None:
    write("mine", source.replace("{stage}", SOUND))
    assert networks().broken == {"mine": reason}
    assert parse_network("lenet").name == "lenet"
    with pytest.raises(UserError, match="network 'mine' is broken"):
        parse_network("mine")


@pytest.mark.parametrize(
    ("stage", "check", "words"),
    [
        (SOUND, "", ""),
        (f"nn.Sequential({SOUND}, nn.Flatten(2))", "stages", r"give \[N, C, h, w\]"),
        (f"nn.Sequential({SOUND}, nn.Dropout(0.5))", "evaluates", "something else"),
        (f"nn.Sequential({SOUND}, nn.BatchNorm2d(max(1, round(4 * width))))", "evaluates", "build"),
        ("nn.Conv2d(image[0], 4, 3)", "widths", "declare widths = False"),
        (
            f"nn.Sequential({SOUND}); stage.idle = nn.Linear(1, 1); "
            "stage.forward = stage[0].forward",
            "reaches",
            "no gradient reaches 'stages.0.idle",
        ),
    ],
)
def test_what_breaks_the_contract_is_told(write: Write, stage: str, check: str, words: str) -> None:
    write("mine", WHOLE.format(stage=stage))
    (report,) = validate("mine", DataSource())
    failed = {finding.check: finding.reason for finding in report.failed}
    if not check:
        assert not failed
    else:
        assert re.search(words, failed[check])


def test_a_network_that_mixes_images_says_so(write: Write) -> None:
    mixing = f"nn.Sequential({SOUND}, nn.InstanceNorm2d(max(1, round(4 * width))))"
    write("mine", WHOLE.format(stage=mixing))
    checks = {check.__name__: check for check in NETWORK_CHECKS}
    checks["separates"](Tried(parse_network("mine")))  # it normalises each image by itself
    source = WHOLE.format(stage="_Mean(); stage.layer = nn.Conv2d(image[0], round(4 * width), 3)")
    mean = "class _Mean(nn.Module):\n    def forward(self, x):\n        y = self.layer(x)\n"
    write("mine", source.replace("@data", f"{mean}        return y - y.mean(0)\n@data"))
    with pytest.raises(Exception, match="declare mixes_images = True"):
        checks["separates"](Tried(parse_network("mine")))


def _plan(folder: Path, **how: object) -> Plan:
    values: dict[str, object] = {
        "pair": "toy:row+column",
        "strategy": "hard",
        "seeds": 1,
        "budget": "24steps",
        "train_size": 100,
        "validation_size": 50,
        "also_against": ["wide", "same-size"],
        "device": "cpu",
    }
    return make_plan(
        Experiment.model_validate(values | how), DataSource(), Store(folder), lambda _: None
    )


def test_without_widths_there_is_no_anchor_of_another_width_and_the_plan_says_why(
    write: Write, tmp_path: Path
) -> None:
    source = WHOLE.format(stage=SOUND).replace("paper =", "paper =", 1)
    write("mine", source.replace("    name =", "    widths = False\n    name ="))
    plan = _plan(tmp_path, network="mine")
    assert {name for row in plan.declaration.rows for name in row.seeds[0].anchors} == {
        "full",
        "same-steps",
        "split",
    }
    assert f"network mine: {ONE_WIDTH}" in plan.declaration.data
    with pytest.raises(UserError, match="has one width"):
        build_encoder("mine", (3, 16, 16), 0.5)


def test_a_network_may_expect_other_images_than_the_training_pools(
    write: Write, tmp_path: Path
) -> None:
    from bench.tasks import ImageSet
    from bench.train.rows import Standardise

    source = WHOLE.format(stage=SOUND) + (
        "    @property\n    def normalisation(self):\n"
        "        return Normalisation((0.5, 0.4, 0.3), (0.1, 0.2, 0.4))\n"
    )
    write("mine", source)
    pixels = torch.randint(0, 256, (4, 3, 5, 6), dtype=torch.uint8)
    images, device = ImageSet("drawn", pixels, pixels), torch.device("cpu")
    expects = parse_network("mine").normalisation
    shown = Standardise(images, device, expects)(pixels.permute(0, 2, 3, 1))
    mean, deviation = (torch.tensor(v)[:, None, None] for v in ((0.5, 0.4, 0.3), (0.1, 0.2, 0.4)))
    torch.testing.assert_close(shown, (pixels / 255 - mean) / deviation)
    with pytest.raises(UserError, match="expects images of 3 channels"):
        _plan(tmp_path, network="mine")  # the toy's are grey


def _bench(tmp_path: Path, arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line with a folder of networks beside the tests' own plugins."""
    plugins = f"{os.environ['BENCH_PLUGINS']}{os.pathsep}{tmp_path}"
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments.split()],
        cwd=tmp_path,
        env={**os.environ, "BENCH_PLUGINS": plugins},
        capture_output=True,
        text=True,
        check=False,
    )


RUN = "run -p toy:row -s single --seeds 1 --budget 4steps --train-size 50 --validation-size 20"


def test_a_network_that_ends_its_process_costs_its_runs_and_not_the_command(
    tmp_path: Path,
) -> None:
    (tmp_path / "networks").mkdir()
    source = WHOLE.format(stage="__import__('os')._exit(4)")
    (tmp_path / "networks/mine.py").write_text(source)
    done = _bench(tmp_path, f"{RUN} --network mine")
    assert done.returncode == EXIT_RUNS_FAILED
    assert "its process ended with exit code 4 while it was priced" in done.stderr


def test_a_run_is_new_when_the_code_of_its_network_changes(tmp_path: Path) -> None:
    folder = tmp_path / "networks"
    folder.mkdir()
    # The number of channels stands in a module beside it.
    sibling = folder / "_size.py"
    sibling.write_text("CHANNELS = 4\n")
    source = WHOLE.format(stage=SOUND.replace("4 *", "CHANNELS *"))
    (folder / "mine.py").write_text(f"from ._size import CHANNELS\n{source}")

    def runs() -> set[str]:
        done = _bench(tmp_path, f"{RUN} --network mine --workers 0 --quiet")
        assert done.returncode == 0, done.stderr
        return {path.parent.name for path in tmp_path.glob("results/runs/*/*/run.json")}

    first = runs()
    assert first
    assert runs() == first  # finished already
    sibling.write_text("CHANNELS = 5\n")
    assert len(runs()) == 2 * len(first)
