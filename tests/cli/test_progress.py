"""What is shown while runs are trained."""

import pytest

from bench.cli.progress import Display


def test_a_reason_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(1, 1.0, "runs") as display:
        display.say("failed: [red]a[/red]\x1b[2J\nand more")
    assert capsys.readouterr().err == "failed: [red]a[/red]�[2J and more\n"
