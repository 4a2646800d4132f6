"""The first line of a command that takes seconds to start."""

import sys

import pytest

from alexlab.__main__ import say_starting


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "act=tanh"], "starting ...\n"),
        (["lr-find"], "starting ...\n"),
        (["train", "--help"], ""),
        (["train", "--cfg", "job"], ""),  # its output is YAML
        (["sweeps", "list"], ""),  # at once
        ([], ""),
    ],
)
def test_on_a_terminal_slow_commands_say_that_they_start(monkeypatch, capsys, words, said):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    say_starting(words)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", said)


def test_files_and_other_ranks_get_no_such_line(monkeypatch, capsys):
    say_starting(["train"])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    say_starting(["train"])
    assert capsys.readouterr().err == ""
