from __future__ import annotations

import io
import json
import sys

import pytest

from nas_budget.cli.console.output import ENDLESS, folded, log, logger, out_json, show, table, terminal_width, writes


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_are_broken_between_words_and_go_on_below_the_first() -> None:
    assert folded("search   one two three", 16) == "search   one two\n         three"
    assert folded("         one two three", 16) == "         one two\n         three"
    assert folded("one two three", 7) == "one two\nthree"
    assert folded("a\n\nb", 80) == "a\n\nb"
    assert folded("/a/path-without/any/space", 10) == "/a/path-without/any/space"


def test_talk_is_broken_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    for stream in Terminal(), io.StringIO():
        monkeypatch.setattr(sys, "stderr", stream)
        log("NOTE: " + "word " * 20)
        assert (max(map(len, stream.getvalue().splitlines())) <= 40) == stream.isatty()


def test_a_quiet_command_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    logger(quiet=True)("something")
    logger(quiet=False)("something else")
    assert capsys.readouterr().err == "something else\n"


def test_a_table_is_as_wide_as_it_needs_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("1", "word " * 100)]
    monkeypatch.setenv("COLUMNS", "40")
    show(table(("n", "words"), rows, left=(1,)))
    assert len(capsys.readouterr().out.splitlines()[-1]) > 400
    assert terminal_width() == ENDLESS
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    show(table(("n", "words"), rows, left=(1,)))
    out = capsys.readouterr().out
    assert out.count("word ") + out.count("word\n") >= 100
    assert "…" not in out


def test_what_stdout_cannot_write_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="cp1252"))
    assert writes("±")
    assert not writes("●")


def test_json_has_no_numbers_that_are_none(capfd: pytest.CaptureFixture[str]) -> None:
    out_json({"loss": float("nan"), "curve": (1.0, float("inf")), "name": "a"})
    written = json.loads(capfd.readouterr().out, parse_constant=pytest.fail)
    assert written == {"loss": None, "curve": [1.0, None], "name": "a"}
