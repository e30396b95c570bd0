"""What was found of groups as JSON-able data and as CSV. Numbers are whole, never rounded."""

import csv
import io
from dataclasses import asdict
from typing import Any

import numpy as np

from bench.clean import csv_cell, finite
from bench.decide.groupings import GroupingResult, Option, differences, named
from bench.decide.pairs import TargetGains, delta_m_by_seed
from bench.report.groups.wording import (
    ANSWER,
    BUDGET,
    OPTIONS,
    PROPOSAL,
    SCORED,
    TASKS,
    budget_lines,
    budget_standings,
    compared_lines,
    grouping_sentence,
    standings,
)
from bench.report.text.decision import candidate_json
from bench.spec.experiment import Experiment
from bench.stats.affinities import Affinities
from bench.stats.partitions import Predicted
from bench.stats.tests import PairedResult, paired
from bench.store.records import SCHEMA_VERSION

_COLUMNS = (
    "option",
    "networks",
    "group",
    "task",
    "seeds",
    "gain_mean",
    "gain_low",
    "gain_high",
    "margin",
    "reference",
    "relative_gain",
    "p_keeps",
    "p_loses",
    "p_gains",
    "word",
    "excluded",
)


def grouping_json(
    result: GroupingResult, experiment: Experiment, margin: float, unverified_reason: str = ""
) -> dict[str, Any]:
    """Return everything that was found. What is not a finite number is None."""
    verdict = result.verdict
    document = {
        "schema_version": SCHEMA_VERSION,
        "how_to_read": {
            "answer": ANSWER,
            "options": OPTIONS,
            "budget": BUDGET,
            "tasks": TASKS,
            "proposal": PROPOSAL,
            "scored": SCORED,
        },
        "experiment": experiment.model_dump(mode="json"),
        "tasks": list(result.tasks),
        "margin": margin,
        "sentence": grouping_sentence(result, margin, unverified_reason),
        "unverified_reason": unverified_reason,
        "verdict": verdict
        and {
            "choice": str(verdict.choice),
            "option": verdict.option and str(verdict.option.name),
            "p": verdict.p,
            "p_higher_delta_m": verdict.better,
            "seeds_needed": verdict.seeds,
        },
        "budget": _budget(result, margin),
        "options": [_option(option) for option in result.options],
        "comparisons": {
            "sentences": compared_lines(result),
            "delta_m": [
                {
                    "option": str(one.name),
                    "minus": str(other.name),
                    **_result(paired(differences(one, other))),
                }
                for at, one in enumerate(result.options)
                for other in result.options[at + 1 :]
            ],
        },
        "proposal": {
            "chosen": _predicted(result.proposal.chosen, result),
            "stable": result.proposal.stable,
            "frequency": result.proposal.frequency,
            "best": [_predicted(each, result) for each in result.proposal.best],
            "at_stake": finite(result.proposal.at_stake),
            "little": finite(result.proposal.little),
            "frequencies": [
                {"groups": _groups(named(partition, result.tasks)), "share": share}
                for partition, share in result.proposal.frequencies
            ],
        },
        "affinities": [_affinities(each) for each in result.affinities],
        "scored": [
            {
                "method": each.method,
                "rho": each.rho,
                "interval_95": [each.low, each.high],
                "groups": each.groups,
                "cases": [
                    {
                        "group": list(group),
                        "task": task,
                        "predicted": predicted,
                        "trained": trained,
                    }
                    for (group, task), predicted, trained in zip(
                        each.cases, each.predicted, each.trained, strict=True
                    )
                ],
            }
            for each in result.scored
        ],
        "costs_flops": dict(result.costs),
    }
    whole: dict[str, Any] = finite(document)
    return whole


def _groups(grouping: tuple[tuple[str, ...], ...]) -> list[list[str]]:
    return [list(group) for group in grouping]


def _result(found: PairedResult) -> dict[str, Any]:
    return {**asdict(found), "p": found.p}


def _budget(result: GroupingResult, margin: float) -> dict[str, Any] | None:
    """Return what all ways to serve the tasks had, and what half of it costs each task."""
    if (apart := result.apart) is None:
        return None
    words = budget_standings(apart.halved) if apart.halved else {}
    return {
        "total": apart.total.text,
        "sentences": budget_lines(result, margin),
        "steps_apart": list(apart.steps),
        "half": apart.halved
        and [_target(target, words[target.target]) for target in apart.halved.targets],
    }


def _target(target: TargetGains, word: str) -> dict[str, Any]:
    return {
        "task": target.target,
        "gains_by_seed": _by_seed(target.gains),
        "gain": _result(paired(list(target.gains.values()), target.margin)),
        "margin": target.margin,
        "reference": target.reference,
        "relative_gain": target.relative,
        "p_keeps": target.keeps,
        "p_loses": target.loses,
        "p_gains": target.wins,
        "word": word,
        "excluded": target.excluded,
    }


def _option(option: Option) -> dict[str, Any]:
    candidate, words = option.candidate, standings(option.candidate)
    return {
        "name": str(option.name),
        "groups": _groups(option.grouping),
        "networks": option.networks,
        "delta_m": {
            **_result(option.delta_m),
            "by_seed": _by_seed(delta_m_by_seed(candidate.targets)),
        },
        **candidate_json(candidate),
        "inference_flops_saved": option.saved,
        "steps": list(option.steps),
        "tasks": [_target(target, str(words[target.target])) for target in candidate.targets],
    }


def _by_seed(values: Any) -> dict[str, float]:
    return {str(seed): value for seed, value in values.items()}


def _predicted(each: Predicted, result: GroupingResult) -> dict[str, Any]:
    return {
        "groups": _groups(named(each.partition, result.tasks)),
        "networks": each.networks,
        "total": each.mean,
        "total_by_seed": list(each.totals),
    }


def _affinities(each: Affinities) -> dict[str, Any]:
    """Return affinities: row i, column j is what task i gets from task j."""
    return {
        "method": each.method,
        "unit": each.unit,
        "tasks": list(each.tasks),
        "flops": each.flops,
        "mean": np.asarray(each.mean, dtype=float).tolist(),
        "by_seed": np.asarray(each.values, dtype=float).tolist(),
    }


def grouping_csv(result: GroupingResult) -> str:
    """Return a row for each option and task; none where nothing was verified."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for option in result.options:
        words = standings(option.candidate)
        for target in option.candidate.targets:
            found = paired(list(target.gains.values()))
            group = next((g for g in option.grouping if target.target in g), ())
            cells = (
                str(option.name),
                option.networks,
                "+".join(group),
                target.target,
                found.n,
                *map(_whole, (found.mean, found.low, found.high, target.margin)),
                *map(_whole, (target.reference, target.relative)),
                *map(_whole, (target.keeps, target.loses, target.wins)),
                str(words[target.target]),
                target.excluded,
            )
            writer.writerow(map(csv_cell, cells))
    return buffer.getvalue()


def _whole(value: float) -> float | None:
    """Return a number, or None, which CSV leaves blank."""
    return value if np.isfinite(value) else None
