"""The results as JSON-able data and as CSV, for programs. Numbers are whole, never rounded."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.clean import csv_cell, finite
from bench.decide.pairs import decisions
from bench.report.text.decision import DECISION, decision_json
from bench.report.text.levels import OVER_BUDGETS, OVER_SIZES, levels_json
from bench.report.text.pilot import PILOT, pilot_json
from bench.report.text.tuning import TUNING, Tuned, tuning_json
from bench.report.text.wording import (
    ACROSS,
    CONTRASTS,
    EXPECTATIONS,
    RANKING,
    RELATIVE,
    how_to_read,
)
from bench.spec.budget import TOLERANCE, Budget
from bench.stats.across import AcrossPairs, Contrast, across_pairs, contrasts, expectations
from bench.stats.comparison import Comparison, RowResult
from bench.stats.gains import Lookup
from bench.stats.levels import OverLevels
from bench.stats.ranking import rankings
from bench.stats.verdicts import standing
from bench.store.records import SCHEMA_VERSION, Declaration


def gains_json(
    declaration: Declaration,
    results: Sequence[RowResult],
    tuning: Sequence[Tuned] = (),
    over: Sequence[OverLevels] = (),
    find: Lookup = lambda _: None,
) -> dict[str, Any]:
    """Return everything that an experiment found. What is not a finite number is None.

    It is the same on every machine of one kind. What a clock measured is in `measured_json`; only
    a budget in seconds brings a clock into what was found. `find` returns the records of pilots.
    """
    pilot = declaration.pilot
    document = {
        "schema_version": SCHEMA_VERSION,
        "how_to_read": how_to_read(declaration.experiment),
        "experiment": declaration.experiment.model_dump(mode="json"),
        "data": list(declaration.data),
        "declaration_changes": declaration.changes,
        "interim_analyses": [
            analysis.model_dump(mode="json") for analysis in declaration.interim_analyses
        ],
        "decisions": {
            "how_to_read": DECISION,
            "sets": [
                decision_json(tasks, declaration.experiment)
                for tasks in decisions(declaration.rows, results)
            ],
        },
        "rows": [_row(result) for result in results],
        "over_budgets": {
            "how_to_read": OVER_BUDGETS,
            "rows": levels_json(row for row in over if isinstance(row.levels[0], Budget)),
        },
        "over_train_sizes": {
            "how_to_read": OVER_SIZES,
            "rows": levels_json(row for row in over if not isinstance(row.levels[0], Budget)),
        },
        "delta_m": {"how_to_read": RELATIVE, "rows": _delta_m(results)},
        "pilot": pilot and {"how_to_read": PILOT, **pilot_json(pilot, find)},
        "tuning": {"how_to_read": TUNING, "arms": [tuning_json(arm) for arm in tuning]},
        "expectations": {
            "how_to_read": EXPECTATIONS,
            "rows": [asdict(expectation) for expectation in expectations(results)],
        },
        "contrasts": {"how_to_read": CONTRASTS, "rows": [_contrast(c) for c in contrasts(results)]},
        "rankings": {
            "how_to_read": RANKING,
            "questions": [asdict(ranking) for ranking in rankings(results)],
        },
        "across_pairs": {
            "how_to_read": ACROSS,
            "rows": [_across(a) for a in across_pairs(results)],
        },
    }
    whole: dict[str, Any] = finite(document)
    return whole


def _row(result: RowResult) -> dict[str, Any]:
    return {
        "pair": result.pair,
        "strategy": result.strategy,
        "same_as": result.same_as,
        "target": result.target,
        "expect": result.expect,
        "metric": result.metric,
        "unit": result.unit,
        "higher_is_better": result.higher_is_better,
        "planned": result.planned,
        "seeds": result.seeds,
        "screening": result.screening,
        "score_mean": result.score_mean,
        "score_sd": result.score_sd,
        "steps": result.steps,
        "parameters": result.parameters,
        "collapsed": result.collapsed,
        "collapse_rate": result.collapsed / result.planned,
        "failed": result.failed,
        "reasons": list(result.reasons),
        "metrics_against_full": {
            name: {
                "unit": metric.unit,
                "higher_is_better": metric.higher_is_better,
                "score_mean": metric.score_mean,
                "anchor_mean": metric.anchor_mean,
                "n": metric.gains.n,
                "gain_mean": metric.gains.mean,
                "interval_95": [metric.gains.low, metric.gains.high],
                "p": metric.gains.p,
                "q": metric.q,
            }
            for name, metric in result.metrics.items()
        },
        "gradients": {
            other: {
                "n": gradient.cosine.n,
                "cosine_mean": gradient.cosine.mean,
                "interval_95": [gradient.cosine.low, gradient.cosine.high],
                "norm_ratio": gradient.norm_ratio,
            }
            for other, gradient in result.gradients.items()
        },
        "weights": {
            task: {
                "n": weight.last.n,
                "first_mean": weight.first.mean,
                "last_mean": weight.last.mean,
                "last_interval_95": [weight.last.low, weight.last.high],
                "range": list(weight.range),
            }
            for task, weight in result.weights.items()
        },
        "against": {name: _comparison(c) for name, c in result.against.items()},
        "references": {
            name: {
                "strategy": comparison.strategy,
                "width": comparison.width,
                "parameters": comparison.parameters,
                "standing": standing(comparison),
                **_comparison(comparison),
            }
            for name, comparison in result.references.items()
        },
        "price": result.price
        and {
            "n": result.price.n,
            "mean": result.price.mean,
            "interval_95": [result.price.low, result.price.high],
        },
        "short_budget": result.short
        and {
            "short": result.budget_is_short,
            "mean": result.short.mean,
            "interval_95": [result.short.low, result.short.high],
        },
        "verdict": {"name": result.verdict.name, **asdict(result.verdict)},
    }


def _contrast(contrast: Contrast) -> dict[str, Any]:
    result = contrast.result
    return {
        "strategy": contrast.strategy,
        "others": contrast.others,
        "targets": list(contrast.targets),
        "n": result.n,
        "mean": result.mean,
        "interval_95": [result.low, result.high],
        "p_t": result.p_t,
        "p_sign_flip": result.p_sign_flip,
        "p_holm": contrast.p_holm,
        "finding": contrast.finding,
    }


def _across(across: AcrossPairs) -> dict[str, Any]:
    return {
        "strategy": across.strategy,
        "questions": [list(question) for question in across.questions],
        "left_out": across.left_out,
        "n": len(across.gains),
        "interquartile_mean": asdict(across.interquartile_mean),
        "probability_of_improvement": asdict(across.improvement),
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    result = comparison.result
    return {
        "gains_by_seed": {str(seed): value for seed, value in comparison.gains.items()},
        "n": result.n,
        "mean": result.mean,
        "sd": result.sd,
        "interval_95": [result.low, result.high],
        "level": comparison.level,
        "hodges_lehmann": comparison.robust and asdict(comparison.robust),
        "outlying_seeds": list(comparison.outlying),
        "population": comparison.population and asdict(comparison.population),
        "p_t": result.p_t,
        "p_sign_flip": result.p_sign_flip,
        "family": comparison.family,
        "p_holm": comparison.p_holm,
        "p_equivalence": result.p_equivalence,
        "p_equivalence_holm": comparison.p_equivalence_holm,
        "steps": list(comparison.steps),
        "flops_ratio": comparison.flops,
        "minimum_detectable_gain": comparison.minimum_detectable_gain,
        "minimum_detectable_gain_in_family": comparison.family_detectable_gain,
        "margin": comparison.margin,
        "seeds_needed": None if comparison.decided else comparison.seeds_needed,
        "relative_gain": comparison.relative_gain,
        "anchor_mean": comparison.anchor_mean,
        "floor": comparison.floor,
        "nothing_learned": comparison.unlearned,
        "audit": {
            "passed": comparison.audited,
            "worst_deviation": comparison.deviation,
            "by_seed": {
                str(seed): {
                    "axis": audit.axis,
                    "tolerance": TOLERANCE[audit.axis],
                    "used": audit.used,
                    "reference": audit.reference,
                    "deviation": audit.deviation,
                    "passed": audit.passed,
                }
                for seed, audit in comparison.audits.items()
            },
        },
    }


def _delta_m(results: Sequence[RowResult]) -> list[dict[str, Any]]:
    """Return Δm of every pair and strategy; a target without a gain leaves it without a value."""
    groups: dict[tuple[str, str], list[RowResult]] = {}
    for result in results:
        groups.setdefault((result.pair, result.strategy), []).append(result)
    return [
        {
            "pair": pair,
            "strategy": strategy,
            "targets": [row.target for row in rows],
            "delta_m": sum(row.against["full"].relative_gain for row in rows) / len(rows),
        }
        for (pair, strategy), rows in groups.items()
    ]


def gains_csv(declaration: Declaration, results: Sequence[RowResult]) -> str:
    """Return one line a row and anchor. Gains are in points of the metric; a blank is no number."""
    lines = gain_rows(declaration, results)
    buffer = io.StringIO()
    names = list(lines[0]) if lines else ["experiment"]
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in line.items()} for line in lines)
    return buffer.getvalue()


def gain_rows(declaration: Declaration, results: Sequence[RowResult]) -> list[dict[str, Any]]:
    """Return a row for each row and anchor. What is not a finite number is None."""
    return [
        finite(_flat(declaration.experiment.name, result, comparison))
        for result in results
        for comparison in (*result.against.values(), *result.references.values())
    ]


def _flat(experiment: str, row: RowResult, comparison: Comparison) -> dict[str, Any]:
    result, population = comparison.result, comparison.population
    return {
        "experiment": experiment,
        "pair": row.pair,
        "strategy": row.strategy,
        "target": row.target,
        "expected": row.expect,
        "anchor": comparison.anchor,
        "anchor_strategy": comparison.strategy,
        "anchor_width": comparison.width,
        "anchor_parameters": comparison.parameters,
        "metric": row.metric,
        "unit": row.unit,
        "seeds": result.n,
        "score_mean_units": row.score_mean,
        "score_sd_units": row.score_sd,
        "anchor_mean_units": comparison.anchor_mean,
        "floor_units": comparison.floor,
        "gain_mean_points": result.mean,
        "gain_sd_points": result.sd,
        "gain_low95_points": result.low,
        "gain_high95_points": result.high,
        "relative_gain_percent": 100 * comparison.relative_gain,
        "p_t": result.p_t,
        "p_sign_flip": result.p_sign_flip,
        "p_holm": comparison.p_holm,
        "p_equivalence": result.p_equivalence,
        "p_equivalence_holm": comparison.p_equivalence_holm,
        "minimum_detectable_gain_points": comparison.minimum_detectable_gain,
        "minimum_detectable_gain_in_family_points": comparison.family_detectable_gain,
        "population_low95_points": population.low if population else None,
        "population_high95_points": population.high if population else None,
        "steps": row.steps,
        "parameters": row.parameters,
        "collapsed_runs": row.collapsed,
        "failed_runs": row.failed,
        "audit_passed": str(comparison.audited).lower(),
        "audit_deviation_percent": 100 * comparison.deviation,
        "row_verdict": row.verdict.name,
        "row_sentence": row.verdict.sentence,
        "reasons": "; ".join(row.reasons),
    }
