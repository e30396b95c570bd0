"""One run: one arm of one pair at one seed, from data to record. Knows no files and no screens."""

import math
import statistics
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.budget import Axis, Budget, Ledger, Price
from bench.contracts import DataSource
from bench.data import Batch, Batches, fingerprint, fits, task_data
from bench.errors import UserError
from bench.evaluation import EvaluationSet, Scores, evaluate, evaluation_sets
from bench.pricing import Clock
from bench.provenance import code_fingerprint, machine, provenance
from bench.randomness import seeded, stream, stream_key
from bench.records import SCHEMA_VERSION, CurvePoint, Record, Score, Status
from bench.registry import Strategy, parse_strategy
from bench.spec import RunSpec, digest
from bench.tasks import TaskData
from bench.training import Lane

#: Steps of a run whose FLOPs are counted while they train.
_AUDITED = 5
#: Share of the training that looks at the tasks' gradients may cost; one look is taken in any case.
_PROBED = 0.01

#: Per-example scores of the test set, by task.
Examples = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Job:
    """A run that is ready to start: its price is known and frozen.

    `fault` says why its arm could not be priced; such a job fails without being tried.
    """

    spec: RunSpec
    price: Price
    key: str
    source: DataSource
    fault: str = ""

    @property
    def expected_seconds(self) -> float:
        """Device-seconds of its training steps."""
        return self.spec.steps * (self.price.seconds or 0.0)


def prepare(device: str) -> torch.device:
    """Set torch up for scored runs and return the device.

    One thread on a CPU: process time then means something, and the number of cores changes no bit.
    """
    if device == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
    else:
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
    return torch.device(device)


def arm_data(spec: RunSpec, source: DataSource) -> list[TaskData]:
    """Return the tasks that a run trains, scored ones marked, auxiliary ones attached."""
    strategy = parse_strategy(spec.strategy)
    own = [task_data(spec.dataset, name, source) for name in spec.tasks]
    if strategy.auxiliaries:
        target, *partners = own
        attached = [a.attach(target, partners) for a in strategy.auxiliaries]
        return [target, *(d for group in attached for d in group)]
    return [replace(d, task=replace(d.task, scored=d.task.name in spec.scored)) for d in own]


def run_key(spec: RunSpec, data: Sequence[TaskData]) -> str:
    """Return the hash of all that defines a run: spec, seed, data, code, and kind of machine."""
    code = code_fingerprint(parse_strategy(spec.strategy), spec.dataset)
    made = [SCHEMA_VERSION, machine(spec.device)]
    return digest(spec.model_dump(mode="json"), fingerprint(data), code, made)[:40]


def streams(spec: RunSpec, strategy: Strategy, data: Sequence[TaskData]) -> dict[str, int]:
    """Return the key of every stream that a run draws from, by role."""
    roles: list[tuple[str, ...]] = [
        ("init", "trunk"),
        ("init", "strategy"),
        ("strategy", strategy.name),
    ]
    roles += [("init", "head", d.task.name) for d in data]
    drawn = ["subset", "split", "order", "augmentation"] + ["probe"] * (len(data) > 1)
    for images in {d.images.name for d in data}:
        roles += [(role, images) for role in drawn]
    return {"/".join(role): stream_key(spec.seed, *role) for role in sorted(roles)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _scores(result: Scores) -> dict[str, Score]:
    metrics = result.task.kind.metrics
    return {
        metric.name: Score(
            value=_finite(result.metrics[metric.name]),
            unit=metric.unit,
            higher_is_better=metric.higher_is_better,
            primary=metric is metrics[0],
        )
        for metric in metrics
    }


def _compact(result: Scores) -> np.ndarray:
    """Return per-example scores in the smallest type that holds them."""
    examples: np.ndarray = result.examples.numpy()
    bits = bool(np.isin(examples, (0, 1)).all())
    return examples.astype(np.uint8 if bits else np.float32)


@dataclass(frozen=True)
class _Trained:
    """How training went.

    `taken` are the steps that were taken, `flops` what one of them cost on average: None where it
    ended before one was counted. `stall` is the share of the training's wall time that steps have
    waited for images.
    """

    status: Status
    reason: str
    curve: tuple[CurvePoint, ...]
    taken: int
    flops: float | None
    seconds: float
    evaluation_seconds: float
    stall: float


def _audited_steps(spec: RunSpec) -> set[int]:
    """Draw the steps, counted from 1, whose FLOPs are counted while they train.

    They are drawn, so that a method which works every k steps is billed for it on average.
    """
    order = torch.randperm(spec.steps, generator=stream(spec.seed, "audit"))
    return {int(step) + 1 for step in order[:_AUDITED]}


def _probed_points(spec: RunSpec, tasks: int, curve_at: Sequence[int]) -> set[int]:
    """Return the points of the curve at which a run looks at its tasks' gradients.

    A look costs at most as much as one step a task (a forward and a backward pass each), so a short
    run has few. Every seed begins at another point, so that seeds together cover the curve.
    """
    points = len(curve_at)
    looks = min(points, max(1, int(_PROBED * spec.steps / tasks)))
    return {curve_at[(spec.seed + points * look // looks) % points] for look in range(looks)}


def _gradients(
    lane: Lane, batch: Batch
) -> tuple[dict[str, float | None], dict[str, dict[str, float | None]]]:
    """Return the norms and cosines of a curve point."""
    products = lane.gramian(batch).double().cpu()
    lengths = products.diag().sqrt()
    table = (products / lengths.outer(lengths)).clamp(-1, 1).tolist()
    names = [task.name for task in lane.tasks]
    norms = {name: _finite(length) for name, length in zip(names, lengths.tolist(), strict=True)}
    cosines = {
        name: {other: _finite(row[j]) for j, other in enumerate(names) if j > i}
        for i, (name, row) in enumerate(zip(names[:-1], table, strict=False))
    }
    return norms, cosines


def _train(
    spec: RunSpec, lane: Lane, batches: Batches, validation: Sequence[EvaluationSet]
) -> _Trained:
    """Train a lane to the end of its steps, or until a loss stops being finite."""
    points, audited = spec.recipe.curve_points, _audited_steps(spec)
    curve_at = {max(1, round(spec.steps * k / points)) for k in range(1, points + 1)}
    pauses = sorted((curve_at | audited | {step - 1 for step in audited}) - {0})
    probe = batches.probe() if lane.shares else None
    probed = _probed_points(spec, len(lane.tasks), sorted(curve_at)) if lane.shares else set()
    clock, evaluation, wall = Clock(lane.device), 0.0, 0.0
    # Counting slows a step down, so counted steps are off the clock and priced as the others are.
    uncounted = spec.steps - len(audited)
    counts: list[float] = []
    losses: list[Tensor] = []
    curve: list[CurvePoint] = []
    training = lane.train(batches, spec.steps, pauses)
    for step in pauses:
        counted = step in audited
        counter = FlopCounterMode(display=False) if counted else nullcontext()
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
        means = dict(zip((t.name for t in lane.tasks), since.mean(0).tolist(), strict=True))
        results = evaluate(lane.network, lane.tasks, validation) if len(validation) else []
        norms, cosines = _gradients(lane, probe) if probe and step in probed else ({}, {})
        curve.append(
            CurvePoint(
                step=step,
                scores={r.task.name: _finite(r.primary) for r in results},
                losses={name: _finite(mean) for name, mean in means.items()},
                norms=norms,
                cosines=cosines,
            )
        )
        evaluation += time.perf_counter() - paused
        broken = [name for name, mean in means.items() if not math.isfinite(mean)]
        if broken:
            reason = f"the loss of {', '.join(broken)} was not finite by step {step}"
            break
    else:
        reason = ""
    timed = step - len({a for a in audited if a <= step}) if uncounted else step
    return _Trained(
        status="diverged" if reason else "ok",
        reason=reason,
        curve=tuple(curve),
        taken=step,
        flops=statistics.mean(counts) if counts else None,
        seconds=clock.seconds * step / max(1, timed),
        evaluation_seconds=evaluation,
        stall=batches.stalled / wall if wall else 0.0,
    )


def _validation(
    spec: RunSpec,
    scored: Sequence[TaskData],
    batches: Batches,
    device: torch.device,
    resident: bool,
) -> list[EvaluationSet]:
    """Return the validation split of each scored task, images shared where tasks share them."""
    if not spec.recipe.validation_size:
        return []
    held_out = [(d, d.images.train, d.train_labels, batches.split(d).validation) for d in scored]
    return evaluation_sets(held_out, device, resident)


def execute(job: Job) -> tuple[Record, Examples]:
    """Train and evaluate one run.

    The last, annealed state is what is scored. A run whose loss stops being finite ends there and
    is scored as it stands, with status `diverged`.
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
    batches = Batches(data, spec.recipe, spec.seed, device, resident)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    # A strategy that draws from torch's global generator draws from its own stream too.
    with seeded(spec.seed, "strategy", strategy.name):
        lane = Lane(strategy, data, spec.recipe, spec.width, spec.seed, device)
        validation = _validation(spec, scored, batches, device, resident)
        trained = _train(spec, lane, batches, validation)
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None

    paused = time.perf_counter()
    whole = [(d, d.images.test, d.test_labels, None) for d in scored]
    test = evaluation_sets(whole, device, resident)
    results = evaluate(lane.network, lane.tasks, test)
    tested = time.perf_counter() - paused

    used: dict[Axis, float] = {
        "flop": trained.taken * (job.price.flops if trained.flops is None else trained.flops),
        "samples": float(batches.samples_per_step * trained.taken),
        "steps": float(trained.taken),
        "s": trained.seconds,
    }
    record = Record(
        key=job.key,
        status=trained.status,
        reason=trained.reason,
        spec=spec,
        data_fingerprint=fingerprint(data),
        code_fingerprint=code_fingerprint(strategy, spec.dataset),
        streams=streams(spec, strategy, data),
        scores={r.task.name: _scores(r) for r in results},
        curve=trained.curve,
        ledger=Ledger(
            budget=budget,
            price=job.price,
            steps=spec.steps,
            used=used,
            evaluation_seconds=trained.evaluation_seconds + tested,
            measured_peak_bytes=peak,
            stall=trained.stall,
        ),
        provenance=provenance(spec.device) | {"threads": str(torch.get_num_threads())},
        seconds=time.perf_counter() - began,
    )
    return record, {r.task.name: _compact(r) for r in results}


_warmed: set[str] = set()


def _warm(spec: RunSpec, source: DataSource, device: torch.device) -> None:
    """Take a few steps of the arm on a network that is thrown away, once a process.

    The first steps of a process load kernels and fill caches, which no budget should pay for.
    """
    arm = spec.arm.model_dump_json()
    if arm in _warmed:
        return
    _warmed.add(arm)
    data = arm_data(spec, source)
    lane = Lane(parse_strategy(spec.strategy), data, spec.recipe, spec.width, 0, device)
    resident = fits(data, source, device)
    for batch in islice(Batches(data, spec.recipe, 0, device, resident), 3):
        lane.step(batch)


def failure(job: Job, reason: str, detail: str = "") -> Record:
    """Return the record of a run that did not end."""
    return Record(
        key=job.key,
        status="failed",
        reason=reason,
        detail=detail,
        spec=job.spec,
        data_fingerprint="",
        code_fingerprint="",
        provenance=provenance(job.spec.device),
    )


def attempt(job: Job) -> tuple[Record, Examples]:
    """Run a job; what it raises becomes the record's reason."""
    if job.fault:
        return failure(job, job.fault), {}
    try:
        return execute(job)
    except UserError as error:
        return failure(job, str(error)), {}
    except (MemoryError, torch.OutOfMemoryError):
        return failure(job, "out of memory: lower --batch-size, or run fewer --workers"), {}
    except Exception as error:
        return failure(job, f"{type(error).__name__}: {error}", traceback.format_exc()), {}
