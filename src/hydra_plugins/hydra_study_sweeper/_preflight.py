"""Ask the app, before trials run, whether they can run and what disk and time they need."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from hydra_plugins.hydra_study_sweeper._composer import Composer
from hydra_plugins.hydra_study_sweeper._space import TrialParams
from hydra_plugins.hydra_study_sweeper.config import StudySweeperConf, load

SAMPLE = 8  # trials that an estimate is made from


def check_before(
    settings: StudySweeperConf, composer: Composer, trials: Iterable[Mapping[str, str]]
) -> None:
    """Ask the app, once per combination of group choices, whether trials can run; it raises if not.

    Args:
        settings: The sweeper's.
        composer: Makes the trials' configs.
        trials: The values of their axes; none for a search: then one trial of its choices is asked.
    """
    if (check := load(settings.before)) is None:
        return
    values = list(trials) or [next(composer.space.grid())]
    groups = {tuple(one.get(key, "") for key in composer.groups): one for one in values}
    for one in groups.values():
        check(composer.compose(one))


def _sample(composer: Composer, params: Sequence[TrialParams]) -> list[dict[str, Any]]:
    """Return the configs of at most `SAMPLE` trials; for a search, that of one trial."""
    chosen = params[:: max(1, len(params) // SAMPLE)][:SAMPLE]
    values = [one.values for one in chosen] or [next(composer.space.grid())]
    return [composer.compose(one) for one in values]


def auto_jobs(
    settings: StudySweeperConf, composer: Composer, params: Sequence[TrialParams], trials: int
) -> int:
    """Return the number of trials at a time for n_jobs=auto without GPUs.

    This is the smallest number that the app's function `cpu_jobs` returns for a few of the trials,
    but at most the number of trials. It is 1 for a search, because a search uses the result of each
    trial to suggest the next one.

    Args:
        settings: The sweeper's.
        composer: Makes the trials' configs.
        params: Of the trials; empty for a search.
        trials: The number of trials to run.
    """
    ask = load(settings.cpu_jobs)
    if ask is None or not params:
        return 1
    allowed = [int(ask(config)) for config in _sample(composer, params)]
    return max(1, min(trials, *allowed))


class Cost(NamedTuple):
    """What a trial needs: bytes on disk while it runs and after its end; seconds if known."""

    running: float
    ended: float
    seconds: float | None


def estimate_cost(
    settings: StudySweeperConf, composer: Composer, params: Sequence[TrialParams]
) -> Cost | None:
    """Estimate the largest bytes and the mean seconds of a trial; None if the app cannot.

    The app's function `estimate` takes the composed config of a trial, and returns the three fields
    of `Cost`. It is called for a few of the trials.

    Args:
        settings: The sweeper's.
        composer: Makes the trials' configs.
        params: Of the trials; empty for a search: then one trial of its choices is asked for.
    """
    estimate = load(settings.estimate)
    if estimate is None:
        return None
    costs = [Cost(*estimate(config)) for config in _sample(composer, params)]
    running, ended = max(one.running for one in costs), max(one.ended for one in costs)
    seconds = [one.seconds for one in costs if one.seconds is not None]
    return Cost(running, ended, sum(seconds) / len(seconds) if seconds else None)
