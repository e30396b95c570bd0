"""Runs packs as tasks of Ray. They end with the command; what is finished is kept."""

import logging
import math
import os
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bench.errors import UserError, message_of, missing_package
from bench.files import read_document
from bench.launch import Finished
from bench.launch.cluster import Cluster, Standing, name_of
from bench.launch.packs import (
    MOST,
    Answer,
    Pack,
    Question,
    answer_path,
    answered,
    carried_out,
    execute,
    unfit,
    write_document,
)
from bench.store.records import Record
from bench.train.job import Job
from bench.train.run import Examples

#: A run's memory on a GPU besides the tensors of a step, and what it keeps for each byte of one.
_CONTEXT_BYTES, _KEPT = 2**30, 2
#: The most runs that share a GPU.
_MOST_SHARING = 8
#: Variables that say where code and plugins lie.
_HANDED_ON = ("BENCH_PLUGINS", "PYTHONPATH")

Results = list[tuple[Record, Examples]]


@dataclass
class Ray(Cluster):
    """Tasks of a Ray cluster at an `address`; `local` starts one on this machine.

    Each gets `cpus` and `gpus`, which may be a part of one. With 0 a run on a GPU gets the part of
    it that the memory of its price asks for.
    """

    name = "ray"
    summary = "tasks of Ray, on a results folder that all nodes share, or handed back"

    address: str = "auto"
    cpus: float = 0.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.cpus, self.gpus) < 0:
            raise ValueError("cpus and gpus are 0 or more")
        self._waiting = deque[tuple[Callable[[str], None], Path]]()
        self._tasks: dict[str, Any] = {}
        self._ended: dict[str, Standing] = {}
        self._returned: dict[str, Results] = {}
        self._most, self._part, self._started = 1, self.gpus, False

    def _ray(self) -> Any:
        try:
            import ray
        except ImportError:
            raise missing_package("launcher 'ray'", "ray") from None
        if not ray.is_initialized():
            options: dict[str, Any] = {}
            if self.address == "local":
                options["include_dashboard"] = False
            else:  # on other machines
                given = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
                options["runtime_env"] = {"env_vars": given}
            try:
                ray.init(self.address, log_to_driver=False, logging_level=logging.ERROR, **options)
            except ConnectionError as error:
                raise UserError(
                    f"launcher 'ray' finds no cluster at '{self.address}': begin one with "
                    f"`ray start --head`, or give ray@address=local ({message_of(error)})"
                ) from None
            self._started = True
        return ray

    def start(self, call: Callable[[str], None], paths: Sequence[Path], at_once: int) -> None:
        """Queue tasks; so many run at once as `at_once` and the cluster's resources allow."""
        self._most = at_once
        self._waiting.extend((call, path) for path in paths)
        self._go_on()

    def _go_on(self) -> None:
        while self._waiting and len(self._tasks) < self._most:
            ray = self._ray()
            call, path = self._waiting.popleft()
            runs = call is execute
            gpus = self._part if runs else self._whole(ray)
            task = ray.remote(
                num_cpus=self.cpus or (self.together if runs else 1), num_gpus=gpus, max_retries=0
            )(_work)
            sent = read_document(path, Pack if runs else Question, MOST)
            self._tasks[name_of(path)] = task.remote(call, str(path), sent)

    def _whole(self, ray: Any) -> float:
        """Return the GPUs of a question: a whole one where there are some, so that it is alone."""
        return self.gpus or float(ray.cluster_resources().get("GPU", 0) >= 1)

    def suited(self, jobs: Sequence[Job]) -> None:
        """Let runs share a GPU as far as their memory allows."""
        peaks = [price.peak_bytes for job in jobs for price in job.prices]
        if self.gpus or self.host is None or not (self.host.memory and peaks):
            return
        fitting = self.host.memory // (_KEPT * max(peaks) + _CONTEXT_BYTES)
        self._part = self.together / max(1, min(fitting, _MOST_SHARING))
        if self._part > 1:  # Ray gives parts of one GPU, or whole ones
            self._part = math.ceil(self._part)

    def standings(self, batches: Collection[str]) -> dict[str, Standing]:
        """Return the state of the tasks of this command, and take what those that ended return."""
        for name, task in self._done():
            ray = self._ray()
            try:
                self._take(name, ray.get(task))
                self._ended[name] = Standing(False, "its task ended")
            except ray.exceptions.OutOfMemoryError:
                word = "its node ran out of memory: lower together, or give more cpus to each task"
                self._ended[name] = Standing(False, word)
            except ray.exceptions.RayError as error:
                first = message_of(error).strip().partition("\n")[0]
                word = f"its task was lost ({type(error).__name__}: {first})"
                self._ended[name] = Standing(False, word)
        self._go_on()
        live = {name_of(path): Standing(True, "pending") for _, path in self._waiting}
        live |= {name: Standing(True, "running") for name in self._tasks}
        found = self._ended | live
        return {name: s for name, s in found.items() if name.partition("/")[0] in batches}

    def _done(self) -> list[tuple[str, Any]]:
        """Return the tasks that have ended since, and count them no longer."""
        if not self._tasks:
            return []
        tasks = list(self._tasks.values())
        ended, _ = self._ray().wait(tasks, num_returns=len(tasks), timeout=0)
        found = [(name, task) for name, task in self._tasks.items() if task in ended]
        for name, _ in found:
            del self._tasks[name]
        return found

    def _take(self, name: str, returned: Any) -> None:
        if isinstance(returned, Answer):
            write_document(answer_path(self.root / "launch" / f"{name}.json"), returned)
        elif returned is not None:
            self._returned[name] = returned

    def handed_back(self, pack: str) -> Results:
        """Return the results of a pack whose worker did not see the results folder, once."""
        return self._returned.pop(pack, [])

    def end(self, batches: Collection[str]) -> None:
        """End the tasks of this command; those of another one see that they are cancelled."""
        self._waiting.clear()
        for task in self._tasks.values():
            self._ray().cancel(task, force=True)

    def close(self) -> None:
        """Leave the cluster, or end it where it was begun for this command."""
        if self._started:
            self._ray().shutdown()


def _work(call: Callable[[str], None], path: str, sent: BaseModel) -> Results | Answer | None:
    """Do the work at a path where the results folder is seen; else return what it results in."""
    if Path(path).is_file():
        call(path)
        return None
    if isinstance(sent, Question):
        return answered(sent)
    assert isinstance(sent, Pack)
    if why := unfit(sent.jobs):
        raise UserError(why)
    return [
        (event.record, event.examples)
        for event in carried_out(sent, sent.jobs)
        if isinstance(event, Finished)
    ]
