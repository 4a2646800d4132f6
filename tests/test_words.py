"""One word per thing: the private words that this project once had do not come back."""

import re
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# old word -> what is said now (CONTRIBUTING.md, Words)
WORDS = {
    "Flights?": "JobPool, Job",
    "Ledger|Entries": "TrialStore",
    "class Record": "Trial",
    "Cells?": "TrialParams; Condition in studies",
    "Judge|Judged": "resolve_status; ClaimResult",
    "Board": "ProgressReporter",
    "JobDied": "JobProcessError",
    "landed": "done",
    "abandoned|take_over": "stale_trials, reclaim",
    "show_life|knows_alive|LEASE_S": "heartbeat, is_alive, HEARTBEAT_TIMEOUT_S",
    "hasten": "optimize_for_device",
    "keep_big_blocks|give_back": "set_malloc_thresholds, malloc_trim",
    "said_in_short|in_short": "user_errors, format_error",
    "quieten(_libraries)?": "filter_warnings",
    "twins?|Twins?": "duplicates",
    "made_once|kept_split|notes_on": "create_once, load_or_create_split, data_warnings",
    "Finite|Symptoms|Interrupt|SeededSteps|ManyCrops|EpochLines": (
        "NaNGuard, TrainingHealthWarnings, GracefulStop, StepSeeding, MultiCropTest, EpochProgress"
    ),
    "named_run|sweep_facts": "runs.locate, runs.sweep_hooks",
    "deny_list": "the bounds in pyproject.toml",
    "Resampled": "GroupBootstrap",
    "whole_ones|Damaged": "iter_valid_checkpoints, CorruptedCheckpointError",
    "[Cc]onvlab|CONVLAB_\\w+": "alexlab",
    r"src\.(?!train\b)[a-z_]+": "alexlab.",
    r"src/(?!train\.py|alexlab|hydra_plugins|a\.py|new\.py)[a-z_]+\.py": "src/alexlab/...",
    "hydra/launcher=warm|hydra/sweeper=sweep": "process, study",
    "wobble": "epoch_std",
}
# settings that moved below `sweep.`, where users read them
SETTINGS = (
    r"(?<![\w.])(jobs|retries|prune|n_trials|sampler|keep_best|dry_run|rerun_failed|on_error"
    r"|timeout_s)="
)
# words that are still there, to be emptied: place -> patterns that are let through
STILL: dict[str, set[str]] = {}
UNCHECKED = (
    "docs/studies",
    "CHANGELOG.md",
    "tests/test_words.py",
)  # published; old names on purpose


def texts():
    """(path relative to the root, text) of code, configuration and documents."""
    folders = (ROOT / name for name in ("src", "conf", "tests", "benchmarks", "docs"))
    below = chain.from_iterable(folder.rglob("*") for folder in folders)
    for path in sorted(chain(below, ROOT.glob("*"), ROOT.glob(".ci/*"))):
        name = path.relative_to(ROOT).as_posix()
        known = path.suffix in (".py", ".md", ".yaml", ".toml") or path.name in (
            *("Makefile", "LICENSE", "run"),
        )
        if known and path.is_file() and not name.startswith(UNCHECKED):
            yield name, path.read_text("utf-8")


TEXTS = dict(texts())


def uses(pattern, names):
    return [
        f"{name}:{number}: {line.strip()}"
        for name in names
        for number, line in enumerate(TEXTS[name].splitlines(), 1)
        if re.search(pattern, line)
    ]


@pytest.mark.parametrize("words", WORDS)
def test_an_old_word_is_gone(words):
    still = tuple(place for place, old in STILL.items() if words in old)
    names = [name for name in TEXTS if not (still and name.startswith(still))]
    assert uses(rf"\b({words})\b", names) == [], f"say: {WORDS[words]}"


def test_what_is_let_through_is_still_there():
    for place, old in STILL.items():
        names = [name for name in TEXTS if name.startswith(place)]
        for words in old:
            assert uses(rf"\b({words})\b", names), f"take {words!r} of {place} out of STILL"


def test_documents_give_settings_their_new_names():
    names = [name for name in TEXTS if name.endswith((".md", ".yaml", "Makefile"))]
    assert uses(SETTINGS, names) == []


def test_the_words_are_in_the_text():
    """The test itself looks at something."""
    assert len(TEXTS) > 200
    assert uses(r"\bTrialReporter\b|\buser_errors\b", TEXTS)
