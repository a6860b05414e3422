"""The SQLite file of a study: open it, and say in one line what is wrong with it."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dssm_lightning.utils.errors import UserError

if TYPE_CHECKING:
    import optuna

NAME = "tune"


def open_file(
    path: Path, mode: str, pruner: optuna.pruners.BasePruner
) -> tuple[optuna.Study, optuna.storages.RDBStorage]:
    """Open or make the study of a file. Call it under the lock of the file."""
    import optuna
    from sqlalchemy import event

    with closing(sqlite3.connect(path, timeout=60)) as database:
        database.execute("pragma journal_mode = wal")  # else each of twenty writes of a trial waits for the disk
    url = f"sqlite:///{path.absolute()}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
        event.listen(storage.engine, "connect", lambda connection, _: connection.execute("pragma synchronous = normal"))
        storage.engine.dispose()  # the connections that made the tables
        direction: Any = "maximize" if mode == "max" else "minimize"
        sampler = optuna.samplers.RandomSampler()
        how = {"direction": direction, "sampler": sampler, "pruner": pruner}
        return optuna.create_study(storage=storage, study_name=NAME, load_if_exists=True, **how), storage


def require_no_other_data(path: Path) -> None:
    """Refuse a database of something else: Optuna would add its tables.

    Raises:
        UserError: such a file.
    """
    if not path.is_file():
        return
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        names = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
    if names and not {"studies", "trials", "alembic_version"} <= names:
        raise UserError(f"--study {path} is no study of tune: it has the tables {', '.join(sorted(names)[:5])}")


@contextmanager
def as_user_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and SQLAlchemy say of a file that is none of theirs into one line."""
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, OptunaError, sqlite3.Error, RuntimeError) as error:
        line = " ".join(str(error).split())[:200]
        raise UserError(f"--study {path} is no study of tune that can be read: {line}; name another file") from error
