"""Where a study is kept: a journal file, a database, Redis, or a server that has one of them."""

import re
import time
import warnings
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalRedisBackend

from hydra_plugins._study_journal import Journal

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def open_storage(url: str) -> BaseStorage:
    """The storage at `url`: a journal's path, redis://, grpc://host:port, or a database's URL.

    Raises:
        ValueError: The storage cannot be reached, or its driver is not installed.
    """
    try:
        if "://" not in url:
            return JournalStorage(Journal(Path(url).absolute()))
        if url.startswith("redis"):
            return JournalStorage(JournalRedisBackend(url))
        if url.startswith("grpc://"):
            host, _, port = url.removeprefix("grpc://").partition(":")
            return optuna.storages.GrpcStorageProxy(host=host, port=int(port or 13000))
        return database(url)
    except OSError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"cannot open the storage {without_password(url)}: {reason}") from error


def database(url: str, attempts: int = 3) -> BaseStorage:
    """A database, tried again when another sweeper is making the tables at this moment."""
    for _ in range(attempts - 1):
        try:
            return optuna.storages.get_storage(url)
        except Exception:
            time.sleep(1.0)
    return optuna.storages.get_storage(url)


def without_password(url: str) -> str:
    """`url` as it may be shown and kept."""
    return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)
