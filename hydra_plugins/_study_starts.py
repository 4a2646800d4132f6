"""What is launched next: a waiting cell, or one that a search asks its sampler for."""

from collections.abc import Mapping

from optuna.distributions import BaseDistribution

from hydra_plugins import _study_folder as folders
from hydra_plugins import _study_search as searches
from hydra_plugins._study_composer import Composer
from hydra_plugins._study_ends import Ends
from hydra_plugins._study_record import Record
from hydra_plugins._study_settings import StudySweeperConf
from hydra_plugins._study_space import quoted


class Starts:
    """The starts of a sweep's runs.

    Args:
        settings: The sweeper's.
        url: The storage, as a run is told it.
        composer: Makes a search's cells, and every run's command line.
        search: The space of a search; None for a grid.
        ends: Takes a cell that needs no run; its ledger, queue and flights are those used here.
    """

    def __init__(
        self,
        settings: StudySweeperConf,
        url: str,
        composer: Composer,
        search: Mapping[str, BaseDistribution] | None,
        ends: Ends,
    ) -> None:
        self.settings, self.url, self.composer, self.search = settings, url, composer, search
        self.ledger, self.queue, self.flights = ends.ledger, ends.queue, ends.flights
        self.folder, self.ends = ends.ledger.folder, ends

    def next(self) -> bool:
        """Claim a cell and launch it; False when there is none to be had now."""
        if self.flights.stopping:
            return False
        record = self.queue.claim()
        if record is None and self.queue.unasked() > 0:
            record = self._ask()
        if record is not None:
            self.begin(record)
        return record is not None

    def _ask(self) -> Record:
        """A new cell from the sampler."""
        assert self.search is not None
        settings = self.settings
        number = len(self.ledger.records)
        sampler = searches.sampler(settings.sampler, settings.sampler_seed, number)
        trial = self.ledger.ask(sampler, self.search)
        values = {key: searches.as_override(value) for key, value in trial.params.items()}
        return self.ledger.name_asked(trial, self.composer.cell(values))

    def begin(self, record: Record) -> None:
        """Launch a claimed cell, unless its result is known, or will be."""
        twin = self.ledger.twin(record)
        if twin is not None:
            if twin.ended:
                self.ends.finish(record, twin.result)
            return  # else it gets the result of the earlier suggestion, when that has one
        end = self.ends.judge.settled(record)
        if end is not None and end["status"] != "failed":
            self.ends.finish(record, end)
            return
        anew = record.trial.user_attrs.get("anew", False)
        folders.make_ready(self.folder / record.folder, anew=anew)
        self.flights.start(record, self._overrides(record))
        self.ends.see()

    def _overrides(self, record: Record) -> list[str]:
        """The run's command line."""
        self.composer.space.check(record.values)
        place = [
            f"hydra.sweep.dir={quoted(str(self.folder))}",
            f"hydra.sweep.subdir={quoted(record.folder)}",
        ]
        if self.settings.prune != "none":
            told = f"storage:{quoted(self.url)},study:{quoted(self.folder.name)}"
            told += f",number:{record.trial.number},prune:{self.settings.prune}"
            place.append(f"++{self.settings.trial_key}={{{told}}}")
        return [*self.composer.space.overrides(record.values), *place]
