"""What an app is asked before trials run: whether they can run, and what they will take."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from hydra_plugins.hydra_study_sweeper._composer import Composer
from hydra_plugins.hydra_study_sweeper._space import TrialParams
from hydra_plugins.hydra_study_sweeper.config import StudySweeperConf, load

SAMPLE = 8  # trials that are looked at


def check_before(
    settings: StudySweeperConf, composer: Composer, trials: Iterable[Mapping[str, str]]
) -> None:
    """Ask the app whether trials can run, for each combination of group choices; it raises if not.

    Args:
        settings: The sweeper's.
        composer: Makes the trials' configs.
        trials: The values of their axes; none for a search, of which the first trial counts.
    """
    if (check := load(settings.before)) is None:
        return
    values = list(trials) or [next(composer.space.grid())]
    groups = {tuple(one.get(key, "") for key in composer.groups): one for one in values}
    for one in groups.values():
        check(composer.compose(one))


class Cost(NamedTuple):
    """What a trial takes: bytes while it runs and after its end, and seconds if they are known."""

    running: float
    ended: float
    seconds: float | None


def estimate_cost(
    settings: StudySweeperConf, composer: Composer, params: Sequence[TrialParams]
) -> Cost | None:
    """Return the mean cost of the trials of a grid, from some of them; None if the app has no rule.

    The app's function takes the composed config of a trial, and returns its bytes while it runs,
    its bytes after its end, and its seconds or None.

    Args:
        settings: The sweeper's.
        composer: Makes the trials' configs.
        params: Of the trials; empty for a search, of which the first trial of its choices counts.
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
