"""MLflow databases of earlier releases."""

from __future__ import annotations

from pathlib import Path

OLD_SCHEMA = "acf3f17fdcc7"
"""Of MLflow 2: tables are missing, and MLflow makes them."""


def old_database(path: Path) -> str:
    """Makes an empty database that MLflow will migrate, and returns its address."""
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config, create_sqlalchemy_engine
    from mlflow.store.tracking.dbmodels.initial_models import Base

    uri = f"sqlite:///{path}"
    engine = create_sqlalchemy_engine(uri)
    Base.metadata.create_all(engine)
    config = _get_alembic_config(uri)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, OLD_SCHEMA)
    return uri
