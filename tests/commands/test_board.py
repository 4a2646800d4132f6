"""What `alexlab board` starts: TensorBoard with the right folder and options, and the index."""

import subprocess
import sys

import pytest


@pytest.fixture
def started(alexlab, monkeypatch, tmp_path):
    """started(*words) -> what TensorBoard is started with."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "multirun/rates").mkdir(parents=True)
    (tmp_path / "multirun/rates/trials.csv").touch()

    def call(*words):
        commands = []
        monkeypatch.setattr(subprocess, "call", lambda command: commands.append(command) or 0)
        with pytest.raises(SystemExit) as end:
            alexlab("board", *words)
        return end.value.code, commands

    return call


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([], ["--logdir", "multirun"]),
        (["--port", "6007"], ["--logdir", "multirun", "--port", "6007"]),
        (["multirun/rates", "--port=6007"], ["--logdir", "multirun/rates", "--port=6007"]),
        (["--reload_interval", "5"], ["--logdir", "multirun", "--reload_interval", "5"]),
    ],
)
def test_a_value_of_tensorboards_options_is_not_the_folder(started, words, given):
    index = [] if words[:1] == ["multirun/rates"] else ["--index-port", "0"]
    code, (command,) = started(*words, *index)
    assert code == 0
    assert command[:3] == [sys.executable, "-m", "tensorboard.main"]
    assert [word for word in command[3:] if word not in ("--window_title", "alexlab")] == given


def test_a_folder_that_is_not_there_is_said(started, capsys):
    assert started("elsewhere") == (1, [])
    assert "elsewhere: no such folder" in capsys.readouterr().err


def test_the_index_has_its_address_printed(started, capsys):
    started("--index-port", "0")
    assert "index of all sweeps: http://127.0.0.1:" in capsys.readouterr().out
