"""What every stored model is made of: strict pydantic, named types, and no number that is silently missing."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from results import names

Name = Annotated[str, StringConstraints(pattern=rf"\A{names.PATTERN}\z")]
TEXT_MAX: Final = 4000
Text = Annotated[str, StringConstraints(max_length=TEXT_MAX)]
Setting = str | int | float | bool
Count = Annotated[int, Field(ge=0)]
Number = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Explained(Strict):
    """A model in which every None among its numbers has its reason in `missing`."""

    missing: dict[str, Text] = {}

    @model_validator(mode="after")
    def _every_gap_is_explained(self) -> Explained:
        silent = [name for name, value in self if value is None and name not in self.missing]
        if silent:
            raise ValueError(f"{', '.join(silent)} is null without a reason in `missing`")
        return self
