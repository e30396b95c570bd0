"""The report on groups as Markdown: the answer, two tables, and everything else folded away."""

from collections.abc import Mapping

from bench.clean import markdown as escape
from bench.clean import markdown_code as code
from bench.decide.groupings import GroupingResult
from bench.report.groups.sections import sections
from bench.report.groups.wording import (
    ANSWER,
    answer_of,
    braced,
    grouping_sentence,
    remarks,
)
from bench.report.text.table import PAGE, block_markdown, section_markdown
from bench.spec.experiment import Experiment

#: Sections that stand in sight; the others are folded away.
SHOWN = ("options", "tasks")


def grouping_markdown(
    result: GroupingResult,
    experiment: Experiment,
    plots: Mapping[str, str],
    margin: float,
    unverified_reason: str = "",
) -> str:
    """Return the report. `plots` are texts that stand for images, by file name."""
    verdict = result.verdict
    choice = (
        str(verdict.choice) if verdict else "proposal" if result.proposal.stable else "undecided"
    )
    found = sections(result, experiment)
    parts = [
        f"# Which tasks belong together: {escape(experiment.name)}",
        escape(experiment.description),
        f"**{choice}.** {escape(grouping_sentence(result, margin, unverified_reason))}",
        "\n".join(
            f"{number}. {code(braced(group))}" for number, group in enumerate(answer_of(result), 1)
        ),
        "\n".join(f"- {escape(line)}" for line in remarks(result, margin)),
        escape(ANSWER),
        f"[The page {PAGE}]({PAGE}) shows all of this.",
        *(
            part
            for section in found
            if section.name in SHOWN
            for part in (f"## {escape(section.title)}", *map(block_markdown, section.blocks))
        ),
        *(f"![{escape(text)}]({name})" for name, text in plots.items()),
        "## More",
        *(section_markdown(section) for section in found if section.name not in SHOWN),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
