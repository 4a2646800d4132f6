"""Optuna's own suite for storages, on the journal."""

import pytest
from optuna.testing.pytest_storages import StorageTestCase

from hydra_plugins.hydra_study_sweeper._storage import open_storage


class TestJournal(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path):
        return open_storage(str(tmp_path / "study.journal"))
