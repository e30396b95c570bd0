"""The commands that faults are tried on, each from a results folder in some state."""

import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

_TOY = """
pair = "toy:row+column"
strategy = "hard"
seeds = {seeds}
budget = "{budget}"
train-size = 60
validation-size = 30
curve-points = 2
batch-size = 16
device = "cpu"
"""


@dataclass(frozen=True)
class Scenario:
    """A command; what it is called for each state of its folder that it is tried on."""

    name: str
    arguments: Sequence[str]
    states: Sequence[str]
    drawn: bool = False
    """Whether plots are drawn, which takes most of the time of a small report."""
    marks: Sequence[tuple[str, str]] = ()
    """Stages that can be told from outside: the name, and the words that they begin with."""


_PRICES = ("prices", "timing a step")
_RUNS = ("training", "runs to train")
SCENARIOS = (
    Scenario("run", ("run", "toy.toml"), ("empty", "part", "whole"), marks=(_PRICES, _RUNS)),
    Scenario(
        "tune",
        ("run", "tuned.toml", "--tune", "2"),
        ("empty", "part"),
        marks=(("tuning", "trials to train"), _RUNS),
    ),
    Scenario(
        "looks",
        ("run", "looks.toml", "--until-decided", "--seeds", "2"),
        ("empty", "part"),
        marks=(_PRICES, _RUNS, ("looks", "analysis")),
    ),
    Scenario("report", ("report",), ("whole",)),
    Scenario("draw", ("report",), ("whole",), drawn=True),
    Scenario("images", ("run", "images.toml"), ("empty", "part")),
)


def write_experiments(folder: Path) -> None:
    """Write the experiments, and the images of one of them."""
    for name, seeds in (("toy", 1), ("tuned", 1), ("looks", 2)):
        (folder / f"{name}.toml").write_text(_TOY.format(seeds=seeds, budget="6steps"))
    pair = f"folder:{_write_images(folder / 'pictures')}:side+shade"
    text = _TOY.format(seeds=1, budget="6steps").replace("toy:row+column", pair)
    text = text.replace("-size = 60", "-size = 24").replace("-size = 30", "-size = 6")
    (folder / "images.toml").write_text(text)


def _write_images(folder: Path) -> Path:
    """Write some images of noise and a table of their labels; return its path."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = ["file,split,side,shade"]
    for number in range(48):
        Image.fromarray(rng.integers(0, 255, (16, 16), np.uint8)).save(folder / f"{number}.png")
        split = "test" if number % 3 == 0 else "train"
        rows.append(f"{number}.png,{split},{'ab'[number % 2]},{'cd'[number // 2 % 2]}")
    table = folder / "labels.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def set_up(state: str, whole: Path, results: Path, rng: random.Random) -> None:
    """Bring a results folder into a state: empty, whole, or with some of its runs and prices."""
    if state == "empty":
        return
    shutil.copytree(whole, results)
    if state == "part":
        for kind in ("runs/??/*", "prices/*"):
            for path in sorted(results.glob(kind)):
                if rng.random() < 0.4:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        if rng.random() < 0.5:
            shutil.rmtree(results / "reports")
