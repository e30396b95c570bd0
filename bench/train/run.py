"""One run: one arm of one pair at one seed, from data to record. It touches no file."""

import math
import statistics
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench import accelerator
from bench.contracts import DataSource
from bench.errors import UserError, message_of, readable
from bench.randomness import seeded, stream, stream_key
from bench.spec.budget import Axis, Budget, Ledger, Price
from bench.spec.experiment import RunSpec
from bench.spec.guarded import unforked
from bench.spec.registry import Strategy, parse_network, parse_strategy
from bench.store.provenance import code_fingerprint, package_versions, provenance
from bench.store.records import ClassScores, CurvePoint, Record, Score, Use
from bench.tasks import TaskData
from bench.train.batches import Batch
from bench.train.device import OUT_OF_MEMORY, execution, prepare, reason_of
from bench.train.evaluation import EvaluationSet, Scores, evaluate, evaluation_sets
from bench.train.flops import flop_counter
from bench.train.job import Job, arm_data
from bench.train.load import check_unchanged, fingerprint, task_data
from bench.train.loop import TrainingState, build_network
from bench.train.pricing import Clock
from bench.train.rows import fits
from bench.train.splits import draw_split
from bench.train.use import cost_of_use

#: Number of steps of a phase whose FLOPs are counted while they train.
_AUDITED = 5


#: Largest share of training spent on looks at the tasks' gradients; at least one look is taken.
_PROBED = 0.01


#: Per-example scores of the test set, by task.
Examples = Mapping[str, np.ndarray]


def streams(spec: RunSpec, strategy: Strategy, data: Sequence[TaskData]) -> dict[str, int]:
    """Return the key of every stream that a run draws from, by role."""
    roles: list[tuple[str, ...]] = [
        ("init", "trunk"),
        ("init", "strategy"),
        ("strategy", strategy.name),
    ]
    roles += [("init", "head", d.task.name) for d in data]
    drawn = ["subset", "split", "order", "augmentation"] + ["probe"] * (len(data) > 1)
    if strategy.weighting.second_batch is not None:
        drawn += ["second order", "second augmentation"]
    for images in {d.images.name for d in data}:
        roles += [(role, images) for role in drawn]
    return {"/".join(role): stream_key(spec.seed, *role) for role in sorted(roles)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _scores(result: Scores, floor: Mapping[str, float]) -> dict[str, Score]:
    metrics = result.task.metrics
    return {
        metric.name: Score(
            value=_finite(result.metrics[metric.name]),
            unit=metric.unit,
            higher_is_better=metric.higher_is_better,
            primary=metric is metrics[0],
            floor=_finite(floor.get(metric.name, math.nan)),
        )
        for metric in metrics
    }


def _class_scores(result: Scores) -> ClassScores | None:
    """Return the score of each class or label by name; by number where they have no names."""
    what, values = result.each
    if not values:
        return None
    names = result.task.classes or tuple(map(str, range(result.task.outputs)))
    filled = [*values, *[math.nan] * (len(names) - len(values))]
    found = {name: _finite(value) for name, value in zip(names, filled, strict=True)}
    return ClassScores(what=what, values=found)


def _compact(result: Scores) -> np.ndarray:
    """Return per-example scores in the smallest dtype that holds them."""
    examples: np.ndarray = result.examples.numpy()
    bits = bool(np.isin(examples, (0, 1)).all())
    return examples.astype(np.uint8 if bits else np.float32)


@dataclass(frozen=True)
class _Trained:
    """How the training of a phase went.

    `taken` is the number of steps taken. `flops` is the mean cost of one, or None where the phase
    ended before one was counted. `wall` is the time of the steps in seconds, of which `stalled`
    were spent waiting for images.
    """

    reason: str
    curve: tuple[CurvePoint, ...]
    taken: int
    samples: int
    flops: float | None
    seconds: float
    evaluation_seconds: float
    wall: float
    stalled: float


def _audited_steps(seed: int, phase: int, steps: int) -> set[int]:
    """Draw the steps of a phase, counted from 1, whose FLOPs are counted while they train.

    They are random, so that a method that works every k steps is billed for it on average.
    """
    order = torch.randperm(steps, generator=stream(seed, "audit", str(phase)))
    return {int(step) + 1 for step in order[:_AUDITED]}


def _probed_points(seed: int, steps: int, tasks: int, curve_at: Sequence[int]) -> set[int]:
    """Return the points of the curve at which a phase looks at its tasks' gradients.

    A look costs at most as much as one step per task (a forward and a backward pass each), so a
    short run has few. Every seed starts at another point, so that the seeds together cover the
    curve.
    """
    points = len(curve_at)
    looks = min(points, max(1, int(_PROBED * steps / tasks)))
    return {curve_at[(seed + points * look // looks) % points] for look in range(looks)}


def _gradients(
    state: TrainingState, batch: Batch
) -> tuple[dict[str, float | None], dict[str, dict[str, float | None]]]:
    """Return the norms and cosines of a curve point."""
    products = state.gramian(batch).cpu().double()  # some devices have no float64
    lengths = products.diag().sqrt()
    table = (products / lengths.outer(lengths)).clamp(-1, 1).tolist()
    names = [task.name for task in state.tasks]
    norms = {name: _finite(length) for name, length in zip(names, lengths.tolist(), strict=True)}
    cosines = {
        name: {other: _finite(row[j]) for j, other in enumerate(names) if j > i}
        for i, (name, row) in enumerate(zip(names[:-1], table, strict=False))
    }
    return norms, cosines


def _effects(state: TrainingState) -> dict[str, dict[str, float | None]]:
    """Return what steps for each task did to the losses of the others, where that is measured."""
    table, names = state.effects(), [d.task.name for d in state.trained]
    if table is None:
        return {}
    return {
        name: {other: _finite(value) for other, value in zip(names, row, strict=True)}
        for name, row in zip(names, table.tolist(), strict=True)
    }


def _curve_points(spec: RunSpec, phase: int) -> set[int]:
    """Return the steps of a phase, counted from its first, after which the run is evaluated.

    They are spread evenly over the steps of the run; the end of a phase is always one.
    """
    points, total = spec.recipe.curve_points, sum(spec.steps)
    steps, before = spec.steps[phase], sum(spec.steps[:phase])
    even = {max(1, round(total * k / points)) - before for k in range(1, points + 1)}
    return {step for step in even if 0 < step < steps} | {steps}


def _train(
    spec: RunSpec,
    state: TrainingState,
    phase: int,
    resident: bool,
    validation: Sequence[EvaluationSet],
) -> _Trained:
    """Train a state to the end of a phase, or until a loss stops being finite."""
    if phase:  # a state is made in its first
        state.enter(phase)
    batches = state.batches(resident)
    steps, before = spec.steps[phase], sum(spec.steps[:phase])
    audited, curve_at = _audited_steps(spec.seed, phase, steps), _curve_points(spec, phase)
    pauses = sorted((curve_at | audited | {step - 1 for step in audited}) - {0})
    names = [d.task.name for d in state.trained]
    probe = batches.probe() if state.shares else None
    probed = _probed_points(spec.seed, steps, len(names), sorted(curve_at)) if probe else set()
    clock, evaluation, wall = Clock(state.device), 0.0, 0.0
    # Counting slows a step down, so counted steps are untimed and priced like the others.
    uncounted = steps - len(audited)
    counts: list[float] = []
    losses: list[Tensor] = []
    curve: list[CurvePoint] = []
    training = state.train(batches, steps, pauses)
    for step in pauses:
        counted = step in audited
        counter = flop_counter() if counted else nullcontext()
        clock.start()
        began = time.perf_counter()
        with counter:
            losses.append(next(training))
        wall += time.perf_counter() - began
        if not counted or not uncounted:
            clock.stop()
        if isinstance(counter, FlopCounterMode):
            counts.append(float(counter.get_total_flops()))
        if step not in curve_at:
            continue
        paused = time.perf_counter()
        since = torch.cat(losses)
        losses.clear()
        means = dict(zip(names, since.mean(0).tolist(), strict=True))
        results = evaluate(state.network, state.tasks, validation, spec.recipe.precision)
        norms, cosines = _gradients(state, probe) if probe and step in probed else ({}, {})
        weights = state.task_weights.tolist() if state.task_weights is not None else []
        curve.append(
            CurvePoint(
                step=before + step,
                scores={r.task.name: _finite(r.primary) for r in results},
                losses={name: _finite(mean) for name, mean in means.items()},
                weights={n: _finite(w) for n, w in zip(names, weights, strict=False)},
                norms=norms,
                effects=_effects(state),
                cosines=cosines,
            )
        )
        evaluation += time.perf_counter() - paused
        broken = [name for name, mean in means.items() if not math.isfinite(mean)]
        if broken:
            reason = f"the loss of {', '.join(broken)} was not finite by step {before + step}"
            break
    else:
        reason = ""
    timed = step - len({a for a in audited if a <= step}) if uncounted else step
    return _Trained(
        reason=reason,
        curve=tuple(curve),
        taken=step,
        samples=step * batches.samples_per_step,
        flops=statistics.mean(counts) if counts else None,
        seconds=clock.seconds * step / max(1, timed),
        evaluation_seconds=evaluation,
        wall=wall,
        stalled=batches.stalled,
    )


def _validation(
    spec: RunSpec, scored: Sequence[TaskData], device: torch.device, resident: bool
) -> list[EvaluationSet]:
    """Return the validation split of each scored task, images shared where tasks share them."""
    recipe, seed = spec.recipe, spec.seed
    if not recipe.validation_size:
        return []
    splits = {id(d.images): draw_split(d.images, recipe, seed).validation for d in scored}
    held_out = [(d, d.images.train, d.train_labels, splits[id(d.images)]) for d in scored]
    expects = parse_network(recipe.network).normalisation
    return evaluation_sets(held_out, device, resident, expects)


def _used(trained: Sequence[_Trained], prices: Sequence[Price]) -> dict[Axis, float]:
    """Return the total use on every axis by the phases that were begun."""
    flops = [p.flops if t.flops is None else t.flops for t, p in zip(trained, prices, strict=False)]
    return {
        "flop": sum(t.taken * each for t, each in zip(trained, flops, strict=True)),
        "samples": float(sum(t.samples for t in trained)),
        "steps": float(sum(t.taken for t in trained)),
        "s": sum(t.seconds for t in trained),
    }


def _use(
    spec: RunSpec,
    strategy: Strategy,
    data: Sequence[TaskData],
    state: TrainingState,
    device: torch.device,
) -> Use:
    recipe = spec.recipe
    with torch.device("meta"):
        shadow = build_network(strategy, data, recipe.network, spec.width, 0, recipe.dense_head)
    return cost_of_use(state.network, shadow, data, recipe.precision, device)


def execute(job: Job) -> tuple[Record, Examples]:
    """Train and evaluate one run, as `trained` does, and let its network go."""
    return trained(job)[:2]


def trained(job: Job) -> tuple[Record, Examples, TrainingState]:
    """Train and evaluate one run; return its record, its scores of examples and its final state.

    The final, annealed state is scored on the test set. A trial of tuning is scored on the
    validation split instead, and leaves no scores of examples. A run whose loss stops being finite
    ends there and is scored as it stands, with status `diverged`.
    """
    spec, began = job.spec, time.perf_counter()
    device = prepare(spec.device)
    strategy = parse_strategy(spec.strategy)
    data = arm_data(spec, job.source)
    scored = [d for d in data if d.task.scored]
    budget = Budget.parse(spec.budget)
    if budget.axis == "s":
        _warm(spec, job.source, device)
    resident = fits(data, job.source, device)
    accelerator.forget_peak(device)
    # A strategy that draws from torch's global generator thus uses its own stream.
    with (
        accelerator.unordered(device) as unordered,
        seeded(spec.seed, "strategy", strategy.name),
    ):
        state = TrainingState(strategy, data, spec.recipe, spec.width, spec.seed, device)
        validation = _validation(spec, scored, device, resident)
        ended = []
        for phase in range(len(state.phases)):
            ended.append(_train(spec, state, phase, resident, validation))
            if ended[-1].reason:
                break
    peak = accelerator.peak_bytes(device)

    paused = time.perf_counter()
    if spec.split == "test":
        whole = [(d, d.images.test, d.test_labels, None) for d in scored]
        expects = parse_network(spec.recipe.network).normalisation
        test = evaluation_sets(whole, device, resident, expects)
        results = evaluate(state.network, state.tasks, test, spec.recipe.precision)
        examples = {r.task.name: _compact(r) for r in results}
        floors = {n: task_data(spec.dataset, n, job.source).floor for n in examples}
    else:
        results = evaluate(state.network, state.tasks, validation, spec.recipe.precision)
        examples, floors = {}, {}
    # Once is enough: it depends on no seed.
    first = spec.split == "test" and spec.seed == 0
    use = _use(spec, strategy, data, state, device) if first else None
    tested = time.perf_counter() - paused
    check_unchanged()

    wall = sum(t.wall for t in ended)
    packages = package_versions([*strategy.components, parse_network(spec.recipe.network)])
    record = Record(
        key=job.key,
        status="diverged" if ended[-1].reason else "ok",
        reason=ended[-1].reason,
        spec=spec,
        data_fingerprint=fingerprint(data),
        code_fingerprint=code_fingerprint(strategy, spec.recipe.network, spec.dataset),
        streams=streams(spec, strategy, data),
        scores={r.task.name: _scores(r, floors.get(r.task.name, {})) for r in results},
        classes={r.task.name: found for r in results if (found := _class_scores(r))},
        curve=tuple(point for t in ended for point in t.curve),
        ledger=Ledger(
            budget=budget,
            prices=job.prices,
            steps=spec.steps,
            used=_used(ended, job.prices),
            evaluation_seconds=sum(t.evaluation_seconds for t in ended) + tested,
            measured_peak_bytes=peak,
            stall=sum(t.stalled for t in ended) / wall if wall else 0.0,
            tuning=job.tuning,
        ),
        use=use,
        provenance=provenance(spec.device) | packages | execution(device, unordered),
        seconds=time.perf_counter() - began,
    )
    return record, examples, state


_warmed: set[str] = set()


def _warm(spec: RunSpec, source: DataSource, device: torch.device) -> None:
    """Take a few steps of each phase of an arm on a throwaway network, once per process.

    The first steps of a process load kernels and fill caches, which no budget should pay for.
    """
    arm = spec.arm.model_dump_json()
    if arm in _warmed:
        return
    _warmed.add(arm)
    data = arm_data(spec, source)
    state = TrainingState(parse_strategy(spec.strategy), data, spec.recipe, spec.width, 0, device)
    resident = fits(data, source, device)
    for phase in range(len(state.phases)):
        state.enter(phase)
        for batch in islice(state.batches(resident), 3):
            state.step(batch)


def failure(job: Job, reason: str, detail: str = "") -> Record:
    """Return the record of a run that did not finish."""
    return Record(
        key=job.key,
        status="failed",
        reason=readable(reason),
        detail=readable(detail),
        spec=job.spec,
        data_fingerprint="",
        code_fingerprint="",
        provenance=provenance(job.spec.device),
    )


def attempt(job: Job) -> tuple[Record, Examples]:
    """Run a job; whatever it raises becomes the record's reason, even an exit.

    Where plugin code forks, the new process ends here and yields nothing. Raises only
    `KeyboardInterrupt`.
    """
    if job.fault:
        return failure(job, job.fault), {}
    with unforked():
        try:
            return execute(job)
        except KeyboardInterrupt:
            raise
        except UserError as error:
            return failure(job, message_of(error)), {}
        except BaseException as error:
            reason = reason_of(error)
            detail = "" if reason == OUT_OF_MEMORY else traceback.format_exc()
            return failure(job, reason, detail), {}
