"""The path of a table stands for the data set that reads tables."""

import pytest

from bench.errors import UserError
from bench.spec.experiment import load_experiment
from bench.spec.shorthand import spelled_out


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("labels.csv:a+b", "folder:labels.csv:a+b"),
        ("./x/Labels.CSV", "folder:./x/Labels.CSV"),
        ("/x/labels.parquet:a~none+b", "folder:/x/labels.parquet:a~none+b"),
        ("labels.tsv@size=64,missing=age=-1:a+b", "folder@size=64,missing=age=-1:labels.tsv:a+b"),
        ("labels.csv@size=64", "folder@size=64:labels.csv"),
        ("a.csv,b.csv:x+y", "folder:a.csv,b.csv:x+y"),
        ("folder@size=64:labels.csv:a", "folder@size=64:labels.csv:a"),
        ("creatures@side=20:species+kin", "creatures@side=20:species+kin"),
        ("mnist", "mnist"),
    ],
)
def test_the_path_of_a_table_is_spelled_out(typed: str, meant: str) -> None:
    assert spelled_out(typed) == meant


def test_a_table_in_place_of_an_experiment_is_the_default_on_ones_own_images() -> None:
    asked = load_experiment("labels.csv:a+b", {"seeds": 8})
    assert asked == load_experiment("default", {"seeds": 8, "pair": ("folder:labels.csv:a+b",)})
    assert (asked.budget, asked.train_size, asked.also) == ("converged", None, ())
    with pytest.raises(UserError, match="not both"):
        load_experiment("labels.csv", {"pair": ("mnist",)})
