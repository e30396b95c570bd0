"""The documents that outlive a process: the record of a run and the declaration of an experiment.

Both are plain JSON with a schema version; nothing here imports torch, so they are quick to read.
What is read of a file is checked here: numbers are finite, and parts that name each other agree.
"""

from collections.abc import Callable, Iterator
from dataclasses import field
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from bench.spec.budget import Budget, Ledger
from bench.spec.experiment import Experiment, RunSpec

SCHEMA_VERSION = 1
Status = Literal["ok", "diverged", "failed"]
#: What a row is compared with: a single-task anchor, or one of `REFERENCES`.
AnchorName = Literal["full", "same-steps", "split", "slim", "reference", "wide", "same-size"]
#: Under so many seeds a table screens and reaches no verdict.
SCREEN_BELOW = 8
#: The single-task anchors. `full` has the whole budget, `same-steps` the row's number of steps; a
#: verdict rests on these two. `split` and `slim` share one budget over the tasks' own networks.
ANCHORS: tuple[AnchorName, ...] = ("full", "same-steps", "split", "slim")
#: One run with the whole budget that a row is compared with and that decides no verdict: the
#: experiment's reference strategy; the target's single-task network, so wide that its step costs
#: what the row's does; the default strategy, so wide that it has the row's parameters.
REFERENCES: tuple[AnchorName, ...] = ("reference", "wide", "same-size")
#: All that a row can be compared with.
RIVALS: tuple[AnchorName, ...] = (*ANCHORS, *REFERENCES)


class Outcome(StrEnum):
    """What the comparison of a row with an anchor or a reference comes to."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    SLIGHTLY_BETTER = "equivalent, slightly better"
    """Significantly better, and shown to lie inside the margin."""
    SLIGHTLY_WORSE = "equivalent, slightly worse"
    INCONCLUSIVE = "inconclusive"
    SCREEN = "screen"
    """There are too few seeds for a verdict."""
    NO_RESULT = "no result"
    UNEQUAL = "unequal budgets"
    UNLEARNED = "nothing learned"
    """Neither side was shown to be better than a predictor that sees no image."""
    CONSTANT = "no variation"
    """All runs of both sides have the very same score."""
    COLLAPSED = "collapsed"
    """Runs diverged and left no score."""

    @property
    def undecided(self) -> bool:
        """Whether more seeds may bring a verdict. What went wrong at a seed stays wrong."""
        return self in (Outcome.INCONCLUSIVE, Outcome.SCREEN)

    @property
    def equal(self) -> bool:
        """Whether the difference was shown to lie inside the margin."""
        return self in (Outcome.EQUIVALENT, Outcome.SLIGHTLY_BETTER, Outcome.SLIGHTLY_WORSE)

    @property
    def transfer(self) -> str:
        """The word for it at equal steps."""
        return {Outcome.BETTER: "transfer", Outcome.WORSE: "negative transfer"}.get(self, str(self))

    @property
    def pay_off(self) -> str:
        """The word for it at equal compute."""
        return {Outcome.BETTER: "pays", Outcome.WORSE: "does not pay"}.get(self, str(self))


#: What a hash that names a run looks like; it becomes part of a path, so nothing else may.
KEY_PATTERN = r"^[a-z0-9]{1,64}$"
Key = Annotated[str, Field(pattern=KEY_PATTERN)]
#: A measured number: finite, and small enough to be squared and summed.
Number = Annotated[float, Field(ge=-1e100, le=1e100)]
Amount = Annotated[float, Field(ge=0, le=1e100)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
#: Tuning seeds are negative.
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
#: No ledger has more of anything.
_MOST_USED = 1e30


#: For the parts that a record has many of: with slots they take less memory than a model.
_FINITE = ConfigDict(extra="forbid", allow_inf_nan=False)


class Document(BaseModel):
    """A part of a file that is read back: frozen, with known keys and finite numbers alone."""

    model_config = ConfigDict(frozen=True, **_FINITE)


@dataclass(frozen=True, slots=True, kw_only=True, config=_FINITE)
class Score:
    """One value of one metric. `value` is None where it is not a number (a diverged run)."""

    value: Number | None
    unit: str
    higher_is_better: bool
    primary: bool
    """Whether gains are computed in it."""
    floor: Number | None = None
    """What a predictor scores that knows the training labels and sees no image; None where there is
    none, or the record is older."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_FINITE)
class CurvePoint:
    """The state of a run after `step` steps, on the validation split."""

    step: Count
    scores: dict[str, Number | None]
    losses: dict[str, Number | None]
    """Mean training loss of every task, auxiliary ones included, since the last point."""
    weights: dict[str, Number | None] = field(default_factory=dict)
    """Weight of every task's loss in the mean that the last step descended; empty where gradients
    are aggregated."""
    norms: dict[str, Amount | None] = field(default_factory=dict)
    """Norm of the gradient of every task's own loss on the shared parameters, on one batch; empty
    where nobody looked."""
    effects: dict[str, dict[str, Number | None]] = field(default_factory=dict)
    """Share of the loss of the second task that a step for the first alone took away, the mean
    since the last point; empty where no method measures it."""
    cosines: dict[str, dict[str, Number | None]] = field(default_factory=dict)
    """Cosine of the gradients of two tasks, by the one and then by the other in the run's order;
    None where one of them is zero."""

    def cosine(self, task: str, other: str) -> float | None:
        """Return the cosine of the gradients of two tasks, in any order; None where unknown."""
        return self.cosines.get(task, {}).get(other, self.cosines.get(other, {}).get(task))

    def norm_ratio(self, task: str, other: str) -> float | None:
        """Return the norm of another task's gradient over that of `task`; None where unknown."""
        own, norm = self.norms.get(task), self.norms.get(other)
        return norm / own if own and norm else None


class ClassScores(Document):
    """One score of each class or label of a task, by its name. None where it does not occur."""

    what: str
    values: dict[str, Number | None]


class ExamplesFile(Document):
    """The compact file beside a record: per task, one score an example of the test set."""

    file: str
    sha256: str


class Use(Document):
    """What a trained network costs to use, for the tasks that it is scored on.

    `seconds_alone` are those of an image by itself, `seconds_in_batch` those per image of a batch
    of 64. `peak_bytes` are counted for such a batch, weights included.
    """

    parameters: Count
    flops_per_image: Amount
    seconds_alone: Amount
    seconds_in_batch: Amount
    peak_bytes: Count


class Record(Document):
    """One run: what it was, what came out, what it cost and where it was made."""

    schema_version: Literal[1] = 1
    key: Key
    status: Status
    reason: str = ""
    detail: str = ""
    """The traceback of what was raised, for who has to fix it."""
    spec: RunSpec
    data_fingerprint: str
    code_fingerprint: str
    streams: dict[str, int] = {}
    scores: dict[str, dict[str, Score]] = {}
    """By task, then by metric."""
    classes: dict[str, ClassScores] = {}
    """By task, where it has classes or labels."""
    curve: tuple[CurvePoint, ...] = ()
    examples: ExamplesFile | None = None
    ledger: Ledger | None = None
    use: Use | None = None
    """Measured at the first seed only."""
    provenance: dict[str, str] = {}
    seconds: Amount = 0.0
    """Wall time of the run, evaluation and set-up included."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.status == "failed":
            return self
        ledger = self.ledger
        if ledger is None or not {"flop", ledger.budget.axis} <= ledger.used.keys():
            raise ValueError("a finished run has a ledger with what it used")
        if ledger.budget.axis == "s" and any(price.seconds is None for price in ledger.prices):
            raise ValueError("a budget in seconds has a timed price")
        phases = len(ledger.prices) == len(ledger.steps) and ledger.steps == self.spec.steps
        if not phases or min(ledger.steps, default=0) < 1:
            raise ValueError("a ledger has a price and the run's steps for each phase")
        if not all(0 <= amount < _MOST_USED for amount in _amounts(ledger)):
            raise ValueError(f"what a ledger has lies between 0 and {_MOST_USED:g}")
        for task in {*self.spec.scored, *self.scores}:
            if sum(score.primary for score in self.scores.get(task, {}).values()) != 1:
                raise ValueError(f"a finished run has one primary score of '{task}'")
        return self

    def primary(self, task: str) -> Score:
        """Return the score that gains are computed in."""
        return next(score for score in self.scores[task].values() if score.primary)

    def value(self, task: str) -> float | None:
        """Return the primary score of a task, higher being better; None where there is none."""
        if task not in self.scores:
            return None
        score = self.primary(task)
        if score.value is None:
            return None
        return score.value if score.higher_is_better else -score.value

    def floor(self, task: str) -> float | None:
        """Return the floor of the primary score, with the sign of `value`; None if unknown."""
        score = self.primary(task)
        if score.floor is None:
            return None
        return score.floor if score.higher_is_better else -score.floor


def _amounts(ledger: Ledger) -> Iterator[float]:
    """Yield all numbers of a ledger."""
    yield from (ledger.budget.amount, ledger.evaluation_seconds, ledger.stall)
    yield from (*ledger.steps, *ledger.used.values(), ledger.measured_peak_bytes or 0)
    for price in ledger.prices:
        yield from (price.flops, price.samples, price.peak_bytes, price.parameters)
        yield price.seconds or 0.0
    if ledger.tuning is not None:
        yield from (ledger.tuning.runs, *ledger.tuning.used.values())


class SeedRuns(Document):
    """The keys of the runs that one seed of a row compares.

    An anchor holds the run of every task of the pair, because its budget is audited as a whole; a
    reference holds the one run that the target is scored in.
    """

    seed: Seed
    strategy: Key
    anchors: dict[AnchorName, dict[str, Key]]


class Row(Document):
    """One row of the result table: a pair, a strategy and a target task."""

    pair: str
    strategy: str
    target: str
    expect: Literal["positive", "none", "negative"] | None
    placebo: str = ""
    """How a partner was made to hold nothing (`shuffled`, `noise`); empty for real tasks alone."""
    same_as: str = ""
    """A strategy that has the same direction for two tasks; with that row this is one finding."""
    target_phases: tuple[Count, ...] = ()
    """The phases of the strategy's runs that train the target; all of them if empty."""
    seeds: tuple[SeedRuns, ...]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len({seed.seed for seed in self.seeds}) < len(self.seeds):
            raise ValueError("a row has each seed once")
        for seed in self.seeds:
            if "full" not in seed.anchors or seed.anchors.keys() != self.seeds[0].anchors.keys():
                raise ValueError("a row has the anchor full, and the same anchors at each seed")
            if not all(self.target in runs for runs in seed.anchors.values()):
                raise ValueError(f"a row's anchors have a run of its target, '{self.target}'")
        return self

    @property
    def anchor_keys(self) -> set[str]:
        """The keys of all runs of its anchors."""
        return {k for seed in self.seeds for a in seed.anchors.values() for k in a.values()}


class TuningTrial(Document):
    """One setting that was tried for an arm: a value a knob, and a run a tuning seed."""

    values: dict[str, Number | tuple[Number, ...]]
    runs: tuple[Key, ...]


class TunedArm(Document):
    """An arm with all its trials, the recipe first, and the one that was chosen.

    `label` and `budget` are what a person is shown of it. `ranges` are by knob. `borders` are the
    knobs whose chosen value lies at an end of its range, where more may lie beyond. `scored` are
    the runs, one a seed, that were then trained with the chosen trial.
    """

    label: str
    budget: str
    ranges: dict[str, tuple[Number, Number]]
    trials: tuple[TuningTrial, ...]
    chosen: Count
    borders: tuple[str, ...]
    scored: tuple[Key, ...]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        Budget.parse(self.budget)
        if self.chosen >= len(self.trials):
            raise ValueError("a tuned arm has the trial that it chose")
        if any(trial.values.keys() != self.trials[0].values.keys() for trial in self.trials):
            raise ValueError("all trials of an arm set the same knobs")
        return self


class PilotLevel(Document):
    """A budget that pilots were trained at: steps, runs and mean score of each network."""

    budget: str
    steps: dict[str, int]
    runs: dict[str, tuple[Key, ...]]
    """One run a pilot seed, none of which a row reads."""
    scores: dict[str, float]
    """On the validation split, higher being better."""
    margins: dict[str, float]
    """The margin of each network's score, in its unit."""


class Pilot(Document):
    """Single-task networks trained at doubled budgets, to find where they converge.

    `budget` is what was found. It has `converged` unless `at_most` or the number of epochs ended
    the search.
    """

    levels: tuple[PilotLevel, ...]
    budget: str
    converged: bool
    at_most: str | None

    @property
    def keys(self) -> set[str]:
        """The keys of all its runs."""
        return {key for level in self.levels for runs in level.runs.values() for key in runs}


class InterimRow(Document):
    """A row at one interim analysis: its planned seeds and its outcome.

    `bound` is the two-sided p-value that it would have to reach if it were alone. `p` is by rival:
    the larger of the two tests' p-values, uncorrected; None where there was none.
    """

    pair: str
    strategy: str
    target: str
    seeds: int
    bound: float
    p: dict[AnchorName, float | None]
    pay_off: Outcome | None
    transfer: Outcome | None

    @property
    def undecided(self) -> bool:
        """Whether more seeds may bring a verdict, at equal compute or at equal steps."""
        return any(half is not None and half.undecided for half in (self.pay_off, self.transfer))


class Leaver(Document):
    """A strategy that left the race of a pair: it was too unlikely to end best for any target.

    `chance` is the largest over targets. `leader` was ahead of it, by `behind` points, by target.
    """

    pair: str
    strategy: str
    seeds: int
    chance: float
    leader: dict[str, str]
    behind: dict[str, float]


class InterimAnalysis(Document):
    """An analysis that decided which pairs get more seeds: the rows that had new ones.

    In a race it decided which strategies do: those that `left` do not.
    """

    rows: tuple[InterimRow, ...]
    left: tuple[Leaver, ...] = ()


class Declaration(Document):
    """An experiment as declared before its first scored run: the family that Holm corrects over."""

    schema_version: Literal[2] = 2
    experiment: Experiment
    rows: tuple[Row, ...]
    data: tuple[str, ...] = ()
    """What the images and tasks are, in words: a description, which no verdict follows from."""
    tuning: tuple[TunedArm, ...] = ()
    """How each arm was tuned; empty where none was."""
    pilot: Pilot | None = None
    """How a converged budget was found."""
    interim_analyses: tuple[InterimAnalysis, ...] = ()
    """The analyses so far, of an experiment that goes on until it is decided."""
    changes: int = 0
    """How often this name held another family before, of enough seeds for verdicts."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for row in self.rows:
            if not row.seeds or ":" not in row.pair:
                raise ValueError("a row has seeds, and a pair with a data set and its tasks")
        return self

    @property
    def misfit(self) -> Callable[[Record], str]:
        """A function that says why a record is not the run that rows name; empty if it is."""
        read: dict[str, set[tuple[str, int]]] = {}
        for row in self.rows:
            last = max(row.target_phases, default=0)
            for seed in row.seeds:
                read.setdefault(seed.strategy, set()).add((row.target, last))
                for runs in seed.anchors.values():
                    for task, key in runs.items():
                        read.setdefault(key, set()).add((task, 0))
        strategies = {seed.strategy for row in self.rows for seed in row.seeds}
        axis = Budget.parse(self.experiment.budget).axis

        def why(record: Record) -> str:
            if record.status == "failed" or record.ledger is None:
                return ""
            for task, phase in read.get(record.key, ()):
                if task not in record.scores:
                    return f"the declaration has it for '{task}', which it is not scored on"
                if phase >= len(record.spec.steps):
                    return f"the declaration has it for phase {phase}, which it does not have"
            # An anchor of equal steps has a budget in steps; what it used is known all the same.
            other = record.key in strategies and record.ledger.budget.axis != axis
            if other or axis not in record.ledger.used:
                return f"the declaration has a budget in {axis}, and it has none"
            return ""

        return why

    @property
    def family(self) -> tuple[object, ...]:
        """What was asked, and on what terms: the rows, and all of the experiment but its words."""
        rows = sorted((row.pair, row.strategy, row.target) for row in self.rows)
        asked = self.experiment.model_dump(
            exclude={"name", "description", "pair", "strategy", "also", "at_most"}
        )
        return (*rows, *sorted(asked.items()))

    @property
    def gone(self) -> set[tuple[str, str]]:
        """The pairs and strategies that have left a race."""
        return {(g.pair, g.strategy) for looked in self.interim_analyses for g in looked.left}

    @property
    def keys(self) -> set[str]:
        """The keys of all runs that the rows read."""
        own = {seed.strategy for row in self.rows for seed in row.seeds}
        return own.union(*(row.anchor_keys for row in self.rows))

    @property
    def tuning_keys(self) -> set[str]:
        """The keys of all trials, none of which a row reads."""
        return {key for arm in self.tuning for trial in arm.trials for key in trial.runs}

    @property
    def pilot_keys(self) -> set[str]:
        """The keys of all pilot runs."""
        return self.pilot.keys if self.pilot else set()
