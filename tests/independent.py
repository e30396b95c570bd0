"""Recompute a report from its raw records, with nothing of `bench`: a second opinion.

    python tests/independent.py RESULTS NAME

reads the declaration and the records of an experiment, works out gains, tests, corrections, the
parts of each gain, the words and the decisions, and compares them with `gains.json`. It knows
experiments with up to 16 seeds, no interim analyses, and metrics in per cent. The mathematics are
written out: t distributions through the incomplete beta function, sign flips in whole numbers.
"""

import itertools
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

CLOSE = 1e-9
Json = dict[str, Any]


def t_tail(t: float, df: int) -> float:
    """Return P(T > t) of Student's distribution."""
    half = special.betainc(df / 2, 0.5, df / (df + t * t)) / 2
    return float(half if t >= 0 else 1 - half)


def t_statistic(gains: Sequence[float], shift: float = 0.0) -> float:
    """Return the t statistic of a mean against `shift`; infinite where nothing varies."""
    n, mean = len(gains), math.fsum(gains) / len(gains)
    spread = math.sqrt(math.fsum((g - mean) ** 2 for g in gains) / (n - 1))
    if max(gains) - min(gains) <= 1e-12 * max(map(abs, gains)):
        return 0.0 if mean == shift else math.copysign(math.inf, mean - shift)
    return (mean - shift) / (spread / math.sqrt(n))


def p_above(gains: Sequence[float], shift: float) -> float:
    """Return the p-value of a one-sided t test that the mean lies above `shift`."""
    t = t_statistic(gains, shift)
    if math.isinf(t) or max(gains) == min(gains):
        return 0.0 if math.fsum(gains) / len(gains) > shift else 1.0
    return t_tail(t, len(gains) - 1)


def p_t(gains: Sequence[float]) -> float:
    """Return the two-sided p-value of a t test against zero."""
    t = t_statistic(gains)
    if math.isinf(t):
        return 0.0
    return 1.0 if t == 0 and max(gains) == min(gains) else 2 * t_tail(abs(t), len(gains) - 1)


def p_sign_flip(gains: Sequence[float]) -> float:
    """Return the exact two-sided p-value over all signs, in whole numbers, so that ties tie."""
    exact = [Fraction(gain).limit_denominator(10**6) for gain in gains]
    scale = math.lcm(*(each.denominator for each in exact))
    whole = [int(each * scale) for each in exact]
    seen = abs(sum(whole))
    flips = itertools.product((1, -1), repeat=len(whole))
    found = [abs(sum(s * w for s, w in zip(signs, whole, strict=True))) >= seen for signs in flips]
    return sum(found) / len(found)


def interval(gains: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean."""
    n, mean = len(gains), math.fsum(gains) / len(gains)
    spread = math.sqrt(math.fsum((g - mean) ** 2 for g in gains) / (n - 1))
    half = float(special.stdtrit(n - 1, 0.975)) * spread / math.sqrt(n)
    return mean - half, mean + half


def holm(p: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values."""
    adjusted = [0.0] * len(p)
    worst = 0.0
    for rank, index in enumerate(np.argsort(p, kind="stable")):
        worst = max(worst, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = worst
    return adjusted


class Experiment:
    """A declaration with its records."""

    def __init__(self, results: Path, name: str) -> None:
        self.results = results
        self.declared: Json = json.loads((results / "experiments" / f"{name}.json").read_text())
        self.report: Json = json.loads((results / "reports" / name / "gains.json").read_text())
        self.margin: float = self.declared["experiment"]["margin"]
        self._records: dict[str, Json] = {}

    def record(self, key: str) -> Json:
        """Return the record of a run."""
        if key not in self._records:
            path = self.results / "runs" / key[:2] / key / "run.json"
            self._records[key] = json.loads(path.read_text())
        return self._records[key]

    def score(self, key: str, task: str) -> float:
        """Return the primary score of a task, higher being better."""
        (found,) = (s for s in self.record(key)["scores"][task].values() if s["primary"])
        value: float = found["value"]
        return value if found["higher_is_better"] else -value

    def gains(self, row: Json, anchor: str) -> dict[int, float]:
        """Return the gains of a row over an anchor, by seed."""
        target = row["target"]
        return {
            seed["seed"]: self.score(seed["strategy"], target)
            - self.score(seed["anchors"][anchor][target], target)
            for seed in row["seeds"]
        }

    def steps(self, row: Json, anchor: str) -> tuple[int, int]:
        """Return the steps of a row on its target, and those of the anchor's network."""
        seed = row["seeds"][0]
        own = self.record(seed["strategy"])["spec"]["steps"]
        phases = row.get("target_phases") or range(len(own))
        theirs = self.record(seed["anchors"][anchor][row["target"]])["spec"]["steps"]
        return sum(own[phase] for phase in phases), sum(theirs)

    def flops_apart(self, row: Json, anchor: str) -> float:
        """Return the largest relative difference of the FLOPs that both sides used."""
        found: list[float] = []
        for seed in row["seeds"]:
            own = self.record(seed["strategy"])["ledger"]["used"]["flop"]
            keys = seed["anchors"][anchor].values()
            theirs = sum(self.record(key)["ledger"]["used"]["flop"] for key in keys)
            found.append(abs(own / theirs - 1))
        return max(found)


def word(mean: float, p: float, q: float) -> str:
    """Return the outcome of a test of difference (p) and one of equivalence (q), both adjusted."""
    significant = p <= 0.05
    if q <= 0.05:
        slight = ", slightly better" if mean > 0 else ", slightly worse"
        return "equivalent" + (slight if significant else "")
    if not significant:
        return "inconclusive"
    return "better" if mean > 0 else "worse"


def recomputed(experiment: Experiment) -> list[dict[str, Any]]:
    """Return every row's comparisons, parts and words."""
    rows = [{"declared": row, "against": {}} for row in experiment.declared["rows"]]
    for row in rows:
        declared: Json = row["declared"]
        for anchor in declared["seeds"][0]["anchors"]:
            gains = experiment.gains(declared, anchor)
            values = list(gains.values())
            margin = experiment.margin
            low, high = interval(values)
            row["against"][anchor] = {
                "gains": gains,
                "mean": math.fsum(values) / len(values),
                "low": low,
                "high": high,
                "p_t": p_t(values),
                "p_sign_flip": p_sign_flip(values),
                "p_equivalence": max(
                    p_above(values, -margin), p_above([-v for v in values], -margin)
                ),
                "steps": experiment.steps(declared, anchor),
            }
    for anchor in ("full", "same-steps", "split", "slim"):
        members = [row for row in rows if anchor in row["against"]]
        family = [row for row in members if not row["declared"]["placebo"]]
        alone = [[row] for row in members if row["declared"]["placebo"]]
        for group in [family, *alone]:
            mine = [row["against"][anchor] for row in group]
            p = holm([max(each["p_t"], each["p_sign_flip"]) for each in mine])
            q = holm([each["p_equivalence"] for each in mine])
            for each, p_holm, q_holm in zip(mine, p, q, strict=True):
                each |= {"p_holm": p_holm, "p_equivalence_holm": q_holm}
    for row in rows:
        full, same = row["against"]["full"], row["against"]["same-steps"]
        one_run = full["steps"] == same["steps"]
        if one_run:
            for key in ("p_holm", "p_equivalence_holm"):
                full[key] = same[key] = max(full[key], same[key])
            row["price"] = None
        else:
            row["price"] = full["mean"] - same["mean"]
        for half, comparison in (("pay_off", full), ("transfer", same)):
            row[half] = word(
                comparison["mean"], comparison["p_holm"], comparison["p_equivalence_holm"]
            )
        if experiment.flops_apart(row["declared"], "full") > 0.005:
            row["pay_off"] = "unequal budgets"
    return rows


def decided(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what is decided for each pair that one network was trained to serve."""
    pairs: dict[str, list[list[Mapping[str, Any]]]] = {}
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        declared = row["declared"]
        if not declared["placebo"]:
            groups.setdefault((declared["pair"], declared["strategy"]), []).append(row)
    for (pair, _), members in groups.items():
        runs = {tuple(s["strategy"] for s in row["declared"]["seeds"]) for row in members}
        if len(members) > 1 and len(runs) == 1:
            pairs.setdefault(pair, []).append(members)
    found = {}
    margin = experiment.margin

    def tests(members: Sequence[Mapping[str, Any]], sign: int, shift: float) -> list[float]:
        p = []
        for row in members:
            gains = [sign * g for g in row["against"]["full"]["gains"].values()]
            unequal = experiment.flops_apart(row["declared"], "full") > 0.005
            p.append(1.0 if unequal or len(gains) < 8 else p_above(gains, shift))
        return p

    for pair, candidates in pairs.items():
        keeps = holm([max(tests(members, 1, -margin)) for members in candidates])
        loses = [min(holm(tests(members, -1, margin))) for members in candidates]
        wins = holm([min(holm(tests(members, 1, margin))) for members in candidates])
        saves = [_saves(experiment, members) for members in candidates]
        if any(p <= 0.05 and saving for p, saving in zip(keeps, saves, strict=True)):
            found[pair] = "share"
        elif max(loses) > 0.05:
            found[pair] = "undecided"
        else:
            found[pair] = "trade" if min(wins) <= 0.05 else "separate"
    return found


def _saves(experiment: Experiment, members: Sequence[Mapping[str, Any]]) -> bool:
    def parameters(key: str) -> int:
        count: int = experiment.record(key)["ledger"]["prices"][0]["parameters"]
        return count

    def flops(key: str) -> float:
        used: float = experiment.record(key)["ledger"]["used"]["flop"]
        return used

    seeds = members[0]["declared"]["seeds"]
    apart = [
        [seed["anchors"]["full"][row["declared"]["target"]] for seed in row["declared"]["seeds"]]
        for row in members
    ]
    fewer = parameters(seeds[0]["strategy"]) < sum(parameters(keys[0]) for keys in apart)
    own = sum(flops(seed["strategy"]) for seed in seeds)
    return fewer or own < sum(flops(key) for keys in apart for key in keys)


def differences(experiment: Experiment) -> Iterator[str]:
    """Yield each figure or word in which the report differs."""
    rows = recomputed(experiment)
    for row, told in zip(rows, experiment.report["rows"], strict=True):
        declared = row["declared"]
        where = f"{declared['pair']} → {declared['target']}, {declared['strategy']}"
        for anchor, mine in row["against"].items():
            theirs = told["against"].get(anchor) or told["references"][anchor]
            pairs = [
                (f"gain at seed {seed}", gain, theirs["gains_by_seed"][str(seed)])
                for seed, gain in mine["gains"].items()
            ]
            low, high = theirs["interval_95"]
            pairs += [("low", mine["low"], low), ("high", mine["high"], high)]
            names: tuple[str, ...] = ("mean", "p_t", "p_sign_flip", "p_equivalence")
            names += ("p_holm", "p_equivalence_holm") if anchor in told["against"] else ()
            pairs += [(name, mine[name], theirs[name]) for name in names]
            pairs += [("steps", a, b) for a, b in zip(mine["steps"], theirs["steps"], strict=True)]
            for name, a, b in pairs:
                if not math.isclose(a, b, rel_tol=CLOSE, abs_tol=CLOSE):
                    yield f"{where}, {anchor}, {name}: {a} here, {b} in the report"
        price = told["price"] and told["price"]["mean"]
        if (row["price"] is None) != (price is None) or (
            price is not None and not math.isclose(row["price"], price, abs_tol=CLOSE)
        ):
            yield f"{where}, price: {row['price']} here, {price} in the report"
        for half in ("transfer", "pay_off"):
            if row[half] != told["verdict"][half]:
                yield f"{where}, {half}: {row[half]} here, {told['verdict'][half]} in the report"
    choices = {each["pair"]: each["choice"] for each in experiment.report["decisions"]["sets"]}
    if (found := decided(experiment, rows)) != choices:
        yield f"decisions: {found} here, {choices} in the report"


def main(say: Callable[[str], None] = print) -> int:
    """Compare a report with its records; return 1 if anything differs."""
    experiment = Experiment(Path(sys.argv[1]), sys.argv[2])
    found = list(differences(experiment))
    for line in found:
        say(line)
    say(f"{len(experiment.declared['rows'])} rows, {len(found)} differences")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
