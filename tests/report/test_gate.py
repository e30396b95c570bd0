"""What the gate shows: whole at every width, escaped everywhere, and short where CI is."""

import io
from xml.etree import ElementTree

import pytest
from rich.console import Console

from bench.gate.judge import Finding, Status, exit_code
from bench.report import annotations, gate_markdown, gate_table, junit
from bench.stats.tests import paired

NAME = "hard+reconstruction on creatures:species+kin → species"


def quality(status: Status, name: str = NAME, **fields: object) -> Finding:
    change = paired([-12.5, -11.5, -13.25, -12.25], margin=1.0)
    finding = Finding(name, "score", status, "worse by 12.4 points", "%", 58.8, 46.4, change=change)
    return finding if not fields else Finding(**{**vars(finding), **fields})


def counted(sentence: str = "the same", status: Status = "PASS") -> Finding:
    return Finding("hard on creatures:species+kin", "FLOPs", status, sentence, "", 7e7, 8e7)


def printed(findings: list[Finding], width: int) -> str:
    file = io.StringIO()
    Console(file=file, width=width, markup=False, emoji=False).print(gate_table(findings))
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_table_is_whole_at_every_width(width: int) -> None:
    text = printed([quality("FAIL"), quality("PASS", remark="EQUIVALENT"), counted()], width)
    assert max(map(len, text.splitlines())) <= width
    for whole in ("58.80", "46.40", "-12.38 [-13.52, -11.23]", "PASS · EQUIVALENT", NAME):
        assert whole in text
    assert "score: worse by 12.4 points" in text
    assert "FLOPs of a step are the same (1 networks, 1 counts)" in text.replace("\n", " ")
    assert text.rstrip().endswith("1 FAIL, 2 PASS")


def test_names_of_a_user_cannot_draw_in_the_table_or_in_markdown() -> None:
    rude = quality("FAIL", name="hard on a:[red]x[/red]|`<img>`+y → x")
    assert "[red]x[/red]" in printed([rude], 120)
    (line,) = [t for t in gate_markdown("a", [rude], []).splitlines() if "red" in t]
    assert "\\[red\\]x\\[/red\\]\\|\\`\\<img\\>\\`" in line


def test_a_baseline_of_somebody_elses_cannot_move_the_cursor() -> None:
    rude = quality("ERROR", name="hard on a:\x1b[2Jx", sentence="\x1b]0;title\x07")
    assert not set(printed([rude], 80)) & {"\x1b", "\x07"}


def test_the_gravest_comes_first_in_markdown_and_statuses_are_explained() -> None:
    text = gate_markdown("ci", [quality("PASS"), quality("FAIL"), counted()], ["a note"])
    assert text.startswith("## Gate of ci: 1 FAIL, 2 PASS\n")
    assert text.index("**FAIL**") < text.index("**PASS**")
    assert "\n- a note\n" in text
    assert "FAIL: worse than the baseline" in text
    assert "MISSING:" not in text


def test_annotations_are_at_most_ten_and_errors_come_first() -> None:
    findings = [quality("INCONCLUSIVE")] * 6 + [quality("FAIL")] * 8 + [quality("PASS")] * 5
    lines = annotations(findings)
    assert len(lines) == 10
    assert all(line.startswith("::error ") for line in lines[:9])
    lines = annotations(findings, inconclusive_fails=False)
    assert all(line.startswith("::error ") for line in lines[:8])
    assert lines[8].startswith("::warning ")
    assert lines[9] == "::warning title=bench check::and 5 more: see check.json"
    assert len(annotations([quality("FAIL")] * 10)) == 10


def test_an_annotation_is_one_line_that_a_name_cannot_end() -> None:
    (line,) = annotations([quality("FAIL", name="50%\n::error::mine", quantity="a,b:c")])
    assert line == "::error title=FAIL%3A a%2Cb%3Ac::50%25%0A::error::mine: worse by 12.4 points"


def test_what_does_not_bind_is_a_warning_and_is_skipped() -> None:
    advisory = quality("FAIL", binding=False)
    assert annotations([advisory])[0].startswith("::warning title=FAIL (advisory)")
    suite = ElementTree.fromstring(junit("ci", [advisory]))
    assert (suite.get("failures"), suite.get("skipped")) == ("0", "1")


def test_junit_is_xml_whatever_a_name_holds() -> None:
    findings = [
        quality("FAIL", name='a"<b>&\x1b[31m'),
        quality("ERROR"),
        quality("INCONCLUSIVE"),
        quality("PASS"),
        quality("MISSING"),
    ]
    suite = ElementTree.fromstring(junit("ci", findings))
    assert [suite.get(k) for k in ("tests", "failures", "errors", "skipped")] == list("5220")
    assert suite[0].get("classname") == 'a"<b>&�[31m'
    assert [[child.tag for child in case] for case in suite] == [
        ["failure"],
        ["error"],
        ["error"],
        [],
        ["failure"],
    ]


STATUSES: list[Status] = ["FAIL", "ERROR", "MISSING", "INCONCLUSIVE", "NEW", "PASS"]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("inconclusive_fails", [True, False])
def test_a_case_fails_exactly_where_its_cell_makes_the_command_fail(
    status: Status, inconclusive_fails: bool
) -> None:
    suite = ElementTree.fromstring(junit("ci", [quality(status)], inconclusive_fails))
    red = int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
    assert red == (exit_code([quality(status)], inconclusive_fails) != 0)
    skipped = status == "NEW" or (status == "INCONCLUSIVE" and not inconclusive_fails)
    assert suite.get("skipped") == str(int(skipped))
