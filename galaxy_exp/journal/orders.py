"""Orders to a running sweep: what they ask for, and the files by which they reach the process that runs it.

Whoever gives an order writes a file into the sweep's folder; the driver renames it, journals its answer and removes it.
So an order can be withdrawn until the driver has renamed it, needs no network, and survives a killed driver.
"""

from __future__ import annotations

import os
import stat
import time
import uuid
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from galaxy_exp.config.differences import BUDGET
from galaxy_exp.config.sweep import MOST_WORKERS
from galaxy_exp.errors import storable
from galaxy_exp.folders import write_atomically
from galaxy_exp.records import Decision, HyperparameterValue
from galaxy_exp.wording import did_you_mean, short_value

__all__ = [
    "LIMITS",
    "ChangeLimits",
    "ChangeWorkers",
    "EndTrial",
    "FinishSearch",
    "Order",
    "OrderFolder",
    "ReceivedOrder",
    "TryConfiguration",
    "first_problem",
    "parse_order",
]

LIMITS = tuple(key.removeprefix("search.") for key in BUDGET if key.startswith("search."))
"""Names of the limits that an order may change, without `search.`."""

_TAKEN = ".taken"
_MOST_BYTES = 2**20


class _Order(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EndTrial(_Order):
    """A trial ends after its current epoch; one that is paused may continue later."""

    order: Literal["stop", "pause"]
    trial: int = Field(ge=0, strict=True)

    @property
    def decision(self) -> Decision:
        """The driver's answer to the report of that epoch."""
        return Decision(self.order)

    def __str__(self) -> str:
        return f"{self.order} {self.trial}"


class TryConfiguration(_Order):
    """A configuration is the next trial."""

    order: Literal["try"] = "try"
    values: dict[str, HyperparameterValue] = Field(min_length=1)
    """All active hyperparameters."""

    @field_validator("values")
    @classmethod
    def _storable(cls, values: dict[str, HyperparameterValue]) -> dict[str, HyperparameterValue]:
        for text in (*values, *filter(lambda value: isinstance(value, str), values.values())):
            if storable(str(text)) != text:
                raise ValueError(f"{storable(str(text))}: text with a character that no file can hold")
        return values

    def __str__(self) -> str:
        return " ".join(["try", *(f"{name}={short_value(value)}" for name, value in self.values.items())])


class ChangeLimits(_Order):
    """Limits of the search from now on."""

    order: Literal["limits"] = "limits"
    limits: dict[str, int | float | None] = Field(min_length=1)
    """By name in `LIMITS`; None: no such limit."""

    @field_validator("limits")
    @classmethod
    def _known(cls, limits: dict[str, int | float | None]) -> dict[str, int | float | None]:
        for name in limits:
            if name not in LIMITS:
                raise ValueError(f"{name}: unknown limit; {did_you_mean(name, LIMITS)}")
        return limits

    def __str__(self) -> str:
        named = {flag_of(name): "none" if value is None else value for name, value in self.limits.items()}
        return " ".join(["limits", *(f"{flag} {value}" for flag, value in named.items())])


class ChangeWorkers(_Order):
    """The number of workers from now on."""

    order: Literal["workers"] = "workers"
    workers: int = Field(ge=1, le=MOST_WORKERS, strict=True)

    def __str__(self) -> str:
        return f"workers {self.workers}"


class FinishSearch(_Order):
    """No further trial begins, and the running ones end after their current epoch."""

    order: Literal["finish"] = "finish"

    def __str__(self) -> str:
        return "finish"


Order = Annotated[
    EndTrial | TryConfiguration | ChangeLimits | ChangeWorkers | FinishSearch, Field(discriminator="order")
]

_ADAPTER: TypeAdapter[Order] = TypeAdapter(Order)


def parse_order(content: object) -> Order:
    """An order from JSON text, or from a mapping of its keys.

    Raises:
        ValueError: it is not an order; one line that names the key.
    """
    try:
        if isinstance(content, bytes | str):
            return _ADAPTER.validate_json(content)
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None


def first_problem(error: ValidationError) -> str:
    """The first mistake that pydantic found, in one line that names the key."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    # a number that is not finite is no text either, which comes first and helps nobody
    first = next((each for each in found if each["type"] == "finite_number"), found[0])
    key = ".".join(map(str, first["loc"]))
    return f"{key}: {first['msg']}" if key else first["msg"]


def flag_of(name: str) -> str:
    """The option of the command line for a limit, such as `--max-trials`."""
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True, slots=True)
class ReceivedOrder:
    """A file that the driver has taken out of the folder's queue."""

    name: str
    """Of the file, as it was given."""
    path: Path
    """Where the file is until `remove`."""
    order: Order | None
    """None if it is none."""
    problem: str = ""
    """Why it is none."""

    def remove(self) -> None:
        """Removes the file, after its answer was journaled."""
        _remove(self.path)


@dataclass(frozen=True, slots=True)
class OrderFolder:
    """The folder of a sweep through which orders are given; it may not exist."""

    path: Path

    @staticmethod
    def new_name() -> str:
        """A name for the file of an order; names are in the order of their time."""
        return f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json"

    def give(self, name: str, order: Order) -> None:
        """Writes an order atomically."""
        write_atomically(self.path / name, lambda file: file.write_text(order.model_dump_json(), encoding="utf-8"))

    def withdraw(self, name: str) -> bool:
        """Removes an order; False if the driver has taken it before."""
        try:
            (self.path / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def clear(self, name: str) -> None:
        """Removes whatever is left of an order that was answered, or that no process can answer."""
        self.withdraw(name)
        _remove(self.path / f"{name}{_TAKEN}")

    def receive(self, answered: Container[str]) -> Iterator[ReceivedOrder]:
        """Takes the files that are waiting, in the order of their names; also those that a killed driver had taken.

        Those with a name in `answered` have an answer in the journal, and are only removed.
        """
        for name in self._waiting():
            given = name.removesuffix(_TAKEN)
            taken = self.path / f"{given}{_TAKEN}"
            given = storable(given)
            if given in answered:
                _remove(self.path / name)
                continue
            try:
                (self.path / name).rename(taken)
            except FileNotFoundError:  # withdrawn
                continue
            except OSError as error:
                yield ReceivedOrder(given, self.path / name, None, f"cannot be taken: {error.strerror}")
                continue
            yield _read(given, taken)

    def _waiting(self) -> list[str]:
        try:
            with os.scandir(self.path) as entries:
                return sorted(
                    entry.name
                    for entry in entries
                    if not entry.name.startswith(".") and not entry.is_dir(follow_symlinks=False)
                )
        except OSError:  # it does not exist, or another user made it and keeps it closed: whoever gives orders waits
            return []


def _read(name: str, path: Path) -> ReceivedOrder:
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            return ReceivedOrder(name, path, None, "is not an order: not a regular file of at most 1 MiB")
        return ReceivedOrder(name, path, parse_order(path.read_bytes()))
    except OSError as error:
        return ReceivedOrder(name, path, None, f"cannot be read: {error.strerror}")
    except ValueError as error:
        return ReceivedOrder(name, path, None, f"is not an order: {error}")


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # someone else's folder: a file whose answer is journaled is passed over from then on
        return
