"""Ask the app, before trials run, whether they can run and what disk and time they need."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

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
    chosen = params[:: max(1, len(params) // SAMPLE)][:SAMPLE]
    values = [one.values for one in chosen] or [next(composer.space.grid())]
    costs = [Cost(*estimate(composer.compose(one))) for one in values]
    running, ended = max(one.running for one in costs), max(one.ended for one in costs)
    seconds = [one.seconds for one in costs if one.seconds is not None]
    return Cost(running, ended, sum(seconds) / len(seconds) if seconds else None)
