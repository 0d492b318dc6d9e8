"""What every section of a sweep file has in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from galaxy_exp.config.kinds import refuse_other_kinds

__all__ = ["Section"]


class Section(BaseModel):
    """Frozen, and refuses keys that it does not know and values of another kind, such as text where a number belongs.

    A whole number written as a float, such as 20.0 or 1e3, is a whole number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _of_its_kind(cls, value: Any, info: ValidationInfo) -> Any:
        refuse_other_kinds(value, cls.model_fields[info.field_name or ""].annotation)
        return value
