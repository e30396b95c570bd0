"""One run: one arm of one pair at one seed, from data to record. Knows no files and no screens."""

import math
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from bench.budget import Axis, Budget, Ledger, Price
from bench.contracts import DataSource
from bench.data import Batches, fingerprint, task_data
from bench.errors import UserError
from bench.evaluation import Scores, evaluate, evaluation_sets
from bench.pricing import Clock, count_flops
from bench.provenance import code_fingerprint, provenance
from bench.randomness import stream_key
from bench.records import CurvePoint, Record, Score, Status
from bench.registry import Strategy, parse_strategy
from bench.spec import RunSpec, digest
from bench.tasks import TaskData
from bench.training import Lane

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
    """Return the hash of all that defines a run: spec, seed, data and code."""
    code = code_fingerprint(parse_strategy(spec.strategy), spec.dataset)
    return digest(spec.model_dump(mode="json"), fingerprint(data), code)[:40]


def streams(spec: RunSpec, strategy: Strategy, data: Sequence[TaskData]) -> dict[str, int]:
    """Return the key of every stream that a run draws from, by role."""
    roles: list[tuple[str, ...]] = [
        ("init", "trunk"),
        ("init", "strategy"),
        ("strategy", strategy.name),
    ]
    roles += [("init", "head", d.task.name) for d in data]
    for images in {d.images.name for d in data}:
        roles += [(role, images) for role in ("subset", "split", "order", "augmentation")]
    return {"/".join(role): stream_key(spec.seed, *role) for role in sorted(roles)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _scores(result: Scores) -> dict[str, Score]:
    metric = result.task.kind.metric
    return {
        metric.name: Score(
            value=_finite(result.score),
            unit=metric.unit,
            higher_is_better=metric.higher_is_better,
            primary=True,
        ),
        "loss": Score(
            value=_finite(result.loss), unit="nat", higher_is_better=False, primary=False
        ),
    }


def _compact(result: Scores) -> np.ndarray:
    """Return per-example scores in the smallest type that holds them."""
    examples: np.ndarray = result.examples.numpy()
    exact = np.array_equal(examples, examples.astype(np.uint8))
    return examples.astype(np.uint8 if exact else np.float32)


def execute(job: Job) -> tuple[Record, Examples]:
    """Train and evaluate one run.

    The last, annealed state is what is scored. A run whose loss stops being finite ends there and
    is scored as it stands, with status `diverged`.
    """
    spec, began = job.spec, time.perf_counter()
    device = prepare(spec.device)
    strategy = parse_strategy(spec.strategy)
    data = arm_data(spec, job.source)
    tasks = [d.task for d in data]
    scored = [d for d in data if d.task.scored]
    lane = Lane(strategy, data, spec.recipe, spec.width, spec.seed, device)
    batches = Batches(data, spec.recipe, spec.seed, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()

    held_out = [(d, batches.split(d).validation) for d in scored]
    pools = {id(d.images): d.images.train[index] for d, index in held_out}
    validation = evaluation_sets(
        [
            (d, pools[id(d.images)], None if d.train_labels is None else d.train_labels[index])
            for d, index in held_out
        ],
        device,
    )
    points = spec.recipe.curve_points
    pauses = sorted({max(1, round(spec.steps * k / points)) for k in range(1, points + 1)})

    clock, evaluation = Clock(device), 0.0
    status: Status = "ok"
    reason, curve, taken = "", [], 0
    clock.start()
    training = lane.train(batches, spec.steps, pauses)
    for step, losses in zip(pauses, training, strict=False):
        clock.stop()
        paused, taken = time.perf_counter(), step
        results = evaluate(lane.network, tasks, validation) if spec.recipe.validation_size else []
        means = losses.mean(0).tolist()
        curve.append(
            CurvePoint(
                step=step,
                scores={r.task.name: _finite(r.score) for r in results},
                losses={t.name: _finite(m) for t, m in zip(tasks, means, strict=True)},
            )
        )
        evaluation += time.perf_counter() - paused
        if not torch.isfinite(losses).all():
            broken = [t.name for t, m in zip(tasks, means, strict=True) if not math.isfinite(m)]
            status = "diverged"
            reason = f"the loss of {', '.join(broken)} was not finite by step {step}"
            break
        clock.start()

    paused = time.perf_counter()
    test = evaluation_sets([(d, d.images.test, d.test_labels) for d in scored], device)
    results = evaluate(lane.network, tasks, test)
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    flops = count_flops(lane, next(iter(batches)))
    evaluation += time.perf_counter() - paused

    used: dict[Axis, float] = {
        "flop": flops * taken,
        "samples": float(batches.samples_per_step * taken),
        "steps": float(taken),
        "s": clock.seconds,
    }
    record = Record(
        key=job.key,
        status=status,
        reason=reason,
        spec=spec,
        data_fingerprint=fingerprint(data),
        code_fingerprint=code_fingerprint(strategy, spec.dataset),
        streams=streams(spec, strategy, data),
        scores={r.task.name: _scores(r) for r in results},
        curve=tuple(curve),
        ledger=Ledger(
            budget=Budget.parse(spec.budget),
            price=job.price,
            steps=spec.steps,
            used=used,
            evaluation_seconds=evaluation,
            measured_peak_bytes=peak,
        ),
        provenance=provenance(spec.device),
        seconds=time.perf_counter() - began,
    )
    return record, {r.task.name: _compact(r) for r in results}


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
