"""Paths in what commands print: links on a terminal, plain text elsewhere."""

import sys
from pathlib import Path

import pytest

from alexlab.reporting.console import path_link


@pytest.fixture
def on_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)


def test_a_path_is_a_link_on_a_terminal(on_terminal):
    """OSC 8 as specified: ESC ] 8 ; params ; URI ST text ESC ] 8 ; ; ST."""
    link = path_link(Path("/tmp/a b/\x1b[31m.html"))
    assert link == (
        "\x1b]8;;file:///tmp/a%20b/%1B%5B31m.html\x1b\\/tmp/a b/\\x1b[31m.html\x1b]8;;\x1b\\"
    )


def test_the_link_of_a_relative_path_is_absolute(on_terminal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"file://{tmp_path}/x/report.html" in path_link(Path("x/report.html"))


def test_a_path_is_plain_text_in_a_pipe(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    assert path_link(Path("x/report.html")) == "x/report.html"


def test_a_path_is_plain_text_on_a_terminal_that_knows_no_escapes(on_terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert path_link(Path("x/report.html")) == "x/report.html"
