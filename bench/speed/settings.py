"""What `bench speed` measures, read from a file: names of plugins are data here, not code."""

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from bench.spec.experiment import Precision


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Network(_Settings):
    """A network, the images it reads, and its goals."""

    label: str
    name: str
    width: float
    image: tuple[int, int, int]
    peer_goals: dict[Precision, float] = {}
    """How many times the step of LibMTL it is to be."""
    peak_goals: dict[Precision, float] = {}
    """What share of the machine's peak it is to reach."""


class Method(_Settings):
    """A strategy, and its name in other libraries."""

    label: str
    strategy: str
    peers: dict[str, str]
    """By library, the name of the class in it."""


class Matrix(_Settings):
    """A whole experiment that is run here and, run by run, with LibMTL."""

    goal: float
    experiment: dict[str, Any]


class Verdict(_Settings):
    """A question whose answer is priced: what it asks, and the gain that is to be found."""

    goal: float
    gain: float
    """In points of the metric."""
    seeds: int
    """Those that the spread between seeds is measured by."""
    peers: dict[str, str] = {}
    """By strategy, LibMTL's class for those that `methods` do not name."""
    experiment: dict[str, Any]


class Photographs(_Settings):
    """Drawn photographs that are decoded to a side, and a run that reads them batch by batch."""

    count: int
    sizes: tuple[tuple[int, int], ...]
    """Width and height in pixels; the last one's are trained on."""
    quality: int
    """Of their JPEGs."""
    side: int
    goal: float
    """How many times as long torchvision is to take."""
    dataset: str
    network: str
    strategy: str
    batch_size: int
    steps: int
    stall_goal: float
    """The share of training that may be spent waiting for images."""


class Growth(_Settings):
    """Something that grows, and how far.

    `seeds` and `pairs` run the command line with `arguments`, and `seeds, planned` only plans so.
    `pairs, reported` reports synthetic records. `images` and `width` run the parts of one run on
    drawn images.
    """

    what: Literal["seeds", "pairs", "seeds, planned", "pairs, reported", "images", "width"]
    sizes: tuple[float, ...]
    arguments: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    filled: tuple[int, int] = (34, 14)
    """Strategies and seeds of the synthetic records."""
    network: str = ""
    image: tuple[int, int, int] = (3, 32, 32)


class Settings(_Settings):
    """Everything that is measured, and for how long."""

    batch_size: int
    pool: int
    """Drawn images that the loops of tables 1 to 3 train on."""
    precisions: tuple[Precision, ...]
    networks: tuple[Network, ...]
    methods: tuple[Method, ...]
    """The first one is plain training, which tables 1 and 3 measure."""
    block_seconds: float
    row_seconds: float
    """About how long the turns for one row of a table go on."""
    step_goal: float
    product_sides: tuple[int, ...]
    """Sides of the square matrices whose products are tried for the machine's peak. Convolutions
    have a quarter of the smaller two as channels."""
    matrix: Matrix
    verdict: Verdict
    photographs: Photographs
    growth: tuple[Growth, ...]
    growth_rounds: int
    overhead_goal: float


def load(name: str) -> Settings:
    """Return the settings called `full` or `quick`, whose files lie next to this one."""
    path = Path(__file__).parent / f"{name}.toml"
    return Settings.model_validate(tomllib.loads(path.read_text("utf-8")))
