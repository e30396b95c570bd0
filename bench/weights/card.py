"""The card of a saved network: a page of Markdown on what it is, how good, and how to load it."""

import statistics
from collections.abc import Iterator, Sequence

from bench.clean import markdown as escape
from bench.clean import markdown_code as code
from bench.report.text.wording import NOTHING, amount, metric_label, number
from bench.spec.budget import Budget
from bench.store.records import Record
from bench.task_types import TaskType
from bench.weights.file import Saved, SavedTask
from bench.weights.network import saved_task

_LOAD = """\
import sys

from bench.weights import load

network = load("{file}")
files = sys.argv[1:]
images = network.read(files)  # uint8 {shape}, of any number of files
answers = network(images)  # a dictionary by task
for file, words in zip(files, network.in_words(answers)):
    print(file, words)
"""


def card(saved: Saved, file: str, sentence: str, records: Sequence[Record]) -> str:
    """Return the card of a network. `file` is the name of its file, beside the card.

    `sentence` is the decision that recommends it. `records` are the runs of all seeds that are as
    its own, itself among them.
    """
    shape = f"[N, {', '.join(map(str, saved.image))}]"
    names = ", ".join(task.name for task in saved.scored)
    run = saved.run
    own = next((record for record in records if record.key == run.key), None)
    seeds = sorted(record.spec.seed for record in records if record.status == "ok")
    facts = {
        "data": code(run.data),
        "strategy": code(run.strategy),
        "network": code(saved.network) + (f", width {saved.width:g}" * (saved.width != 1)),
        "budget": amount(Budget.parse(run.budget)),
        "steps": " + ".join(f"{steps:,}" for steps in run.steps),
        "seed": f"{run.seed}, the first of {len(seeds)} that ended well; no score chose it",
        "images": f"{saved.image[1]} × {saved.image[2]} pixels, {_channels(saved.image[0])}",
        "precision": saved.precision,
        "run": code(run.key),
    }
    return "\n".join(
        [
            f"# {escape(names)}: a trained network",
            "",
            escape(sentence),
            "",
            *(f"- {what}: {fact}" for what, fact in facts.items()),
            *(f"- {escape(what)}: {escape(fact)}" for what, fact in sorted(saved.made.items())),
            "",
            "## To load it",
            "",
            *_needs(saved),
            "Save these lines as `use.py` in this folder, and run `python use.py photo.jpg`:",
            "",
            f"```python\n{_LOAD.format(file=file, shape=shape)}```",
            "",
            *_answers(saved.scored),
            "`network(images, tasks=[...])` answers some tasks only. `network.module` is the bare "
            "network of torch, to train it further.",
            "",
            "## What goes in",
            "",
            f"Images are uint8 `{shape}`. `network.read` turns files upright, makes them "
            f"{_channels(saved.image[0])}, and stretches them to {saved.image[1]} × "
            f"{saved.image[2]} pixels. `network` then standardises each channel: less the mean, "
            "divided by the deviation, of pixels from 0 to 255.",
            "",
            "| tasks | mean | deviation |\n|---|---|---|",
            *_standardised(saved),
            "",
            "## What comes out",
            "",
            "The order of the outputs is that of the classes here.",
            "",
            "| task | type | answers | classes, in order | unit, mean and deviation of the label |",
            "|---|---|---|---|---|",
            *(_task_line(task) for task in saved.scored),
            *_helpers(saved),
            "",
            "## Scores on the test set",
            "",
            f"This network, and the mean over {len(seeds)} seeds (lowest to highest). The decision "
            "is about the mean. The floor is what a predictor scores that sees no image.",
            "",
            "| task | metric | this network | mean over seeds | floor |\n|---|---|---|---|---|",
            *_scores(saved, own, records),
            "",
        ]
    )


def _channels(channels: int) -> str:
    return {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")


def _needs(saved: Saved) -> list[str]:
    """Return what has to be installed to load it."""
    lines = ["It takes this package with an extra: `pip install 'mtl-sharing-bench[weights]'`."]
    if saved.plugins:
        lines.append(
            f"It needs the plugins {escape(', '.join(saved.plugins))} too. The variable "
            "`BENCH_PLUGINS` has to name their folder."
        )
    return [*lines, ""]


def _answers(tasks: Sequence[SavedTask]) -> Iterator[str]:
    for task in tasks:
        yield f"- `answers[{task.name!r}]`: {saved_task(task).type.answered}".replace("\n", " ")
    yield ""


def _standardised(saved: Saved) -> Iterator[str]:
    for images in dict.fromkeys(task.images for task in saved.tasks):
        tasks = [task for task in saved.tasks if task.images == images]
        mean, deviation = (
            ", ".join(f"{value:.6g}" for value in values)
            for values in (tasks[0].mean, tasks[0].deviation)
        )
        yield f"| {escape(', '.join(task.name for task in tasks))} | {mean} | {deviation} |"


def _task_line(task: SavedTask) -> str:
    classes = ", ".join(f"{place} {escape(name)}" for place, name in enumerate(task.classes))
    label = [str(task.knobs[knob]) for knob in ("unit", "mean", "deviation") if knob in task.knobs]
    kind: TaskType = saved_task(task).type
    shown = classes or (f"{task.outputs}, without names" if task.outputs > 1 else NOTHING)
    moments = escape(", ".join(filter(None, label))) or NOTHING
    answered = kind.answered.replace("|", "\\|")
    return f"| {escape(task.name)} | {escape(kind.name)} | {answered} | {shown} | {moments} |"


def _helpers(saved: Saved) -> list[str]:
    names = [escape(task.name) for task in saved.tasks if not task.scored]
    if not names:
        return []
    return ["", f"The file also has the heads of {', '.join(names)}, which only helped to train."]


def _scores(saved: Saved, own: Record | None, records: Sequence[Record]) -> Iterator[str]:
    for task in saved.scored:
        for metric, value in saved.run.scores.get(task.name, {}).items():
            found = [r.scores[task.name][metric] for r in records if task.name in r.scores]
            values = [score.value for score in found if score.value is not None]
            unit = found[0].unit if found else ""
            floor = own.scores[task.name][metric].floor if own is not None else None
            over = NOTHING
            if values:
                ends = f"({number(min(values), unit)} to {number(max(values), unit)})"
                over = f"{number(statistics.mean(values), unit)} {ends}"
            shown = NOTHING if value is None else number(value, unit)
            least = NOTHING if floor is None else number(floor, unit)
            label = escape(metric_label(metric, unit))
            yield f"| {escape(task.name)} | {label} | {shown} | {over} | {least} |"
