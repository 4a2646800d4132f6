"""Messages go through `logging`, and users can filter, redirect and silence them."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from alexlab.messages import Console, Lines

ROOT = Path(__file__).parents[2]


@pytest.fixture
def train(image_folder, tmp_path):
    """train(*words) -> what a run of one epoch prints on standard output, on error, and its log."""

    def call(*words):
        folder = tmp_path / "run"
        command = [sys.executable, "-m", "src.train", "data=folder", "data.batch_size=3"]
        command += [f"data.root={image_folder}", f"cache_dir={tmp_path / 'cache'}"]
        command += [
            f"hydra.run.dir={folder}",
            "trainer.max_epochs=1",
            "logger=[]",
            "data.resolution=32",
            *words,
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr, (folder / "train.log").read_text()

    return call


NOTICE = "decoding the"


def test_a_notice_is_printed_beside_the_results_and_kept_in_the_log(train):
    printed, told, log = train()
    assert NOTICE in told
    assert NOTICE not in printed
    assert NOTICE in log


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    ["hydra.job_logging.loggers.alexlab.level=ERROR", "hydra/job_logging=disabled"],
)
def test_messages_can_be_filtered_and_silenced(train, setting):
    printed, told, log = train(setting)
    assert "epoch" in printed
    assert NOTICE not in printed + told + log


@pytest.mark.slow
def test_messages_can_have_the_time_and_the_module(train):
    """With Hydra's own form, which its documentation describes."""
    printed, *_ = train("hydra/job_logging=default")
    assert "[alexlab.data.cache][INFO] - decoding the" in printed


def test_a_message_has_its_level_unless_it_is_a_notice(capsys):
    logger, handler = logging.Logger("x"), Console()
    handler.setFormatter(Lines())
    logger.addHandler(handler)
    logger.info("decoded")
    logger.warning("constant outputs")
    assert capsys.readouterr().err == "decoded\nwarning: constant outputs\n"
