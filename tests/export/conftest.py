"""A finished experiment whose names are hostile in every medium, and its report, exported once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from bench.clean import printable
from bench.export import Exported, gather
from bench.report import write_report
from bench.store.records import ClassScores, Declaration, Record
from tests.report.conftest import make_world

#: A formula, markup, a template, a terminal's colour, LaTeX, and what leads up a path.
EVIL = "=cmd|<script>alert(1)</script>{{7*7}}\x1b[31m\\input{x}$&#%_^~/../"
#: As every medium gets it.
SHOWN = printable(EVIL)
NAME = "made-up"


@dataclass(frozen=True)
class Finished:
    """An experiment with its records and its `gains.json`, and how exporters get it."""

    declaration: Declaration
    records: Mapping[str, Record]
    gains: Mapping[str, Any]
    exported: Exported

    def gain_figures(self) -> dict[str, float]:
        """Return the means, bounds and p-values of `gains.json` by the name that exports give."""
        found = {}
        for row in self.gains["rows"]:
            asked = "/".join(printable(row[key]) for key in ("pair", "target", "strategy"))
            for anchor, comparison in {**row["against"], **row["references"]}.items():
                low, high = comparison["interval_95"]
                for name, value in (
                    ("mean", comparison["mean"]),
                    ("low_95", low),
                    ("high_95", high),
                    ("p_holm", comparison["p_holm"]),
                ):
                    if value is not None:
                        found[f"gain/{asked}/{anchor}/{name}"] = value
        return found

    def verdicts(self) -> dict[str, str]:
        """Return the verdicts of `gains.json` likewise."""
        return {
            "verdict/" + "/".join(printable(row[k]) for k in ("pair", "target", "strategy")): row[
                "verdict"
            ]["name"]
            for row in self.gains["rows"]
        }

    def finished_runs(self) -> list[Record]:
        """Return the records with a curve, in the order of the export."""
        records = [self.records[run.id] for run in self.exported.runs]
        return [record for record in records if record.curve]


@pytest.fixture(name="finished", scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    strategies = ("hard", "cross-stitch", "hard+pcgrad")
    plain = make_world(("creatures:species+kin", "multimnist:left+right"), strategies, seeds=3)

    def evil(text: str) -> str:
        for name in ("species", "cross-stitch"):
            text = text.replace(name, json.dumps(f"{EVIL}{name}")[1:-1])
        return text

    declaration = Declaration.model_validate_json(evil(plain.declaration.model_dump_json()))
    asked = declaration.experiment.model_copy(update={"name": NAME, "description": EVIL})
    declaration = declaration.model_copy(update={"experiment": asked})
    records = {}
    for key, made in plain.records.items():
        record = Record.model_validate_json(evil(made.model_dump_json()))
        classes = {
            task: ClassScores(what="recall", values={EVIL: 1 / 3, "cat": None})
            for task in record.scores
        }
        records[key] = record.model_copy(update={"classes": classes, "provenance": {EVIL: EVIL}})
    folder = tmp_path_factory.mktemp("exports") / "reports" / NAME
    report = write_report(declaration, records.get, folder)
    exported = gather(declaration, records.get, report)
    gains = json.loads(report.files["gains.json"].read_text("utf-8"))
    return Finished(declaration, records, gains, exported)
