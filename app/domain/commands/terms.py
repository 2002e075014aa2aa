"""The terms on which lines are placed: with or without an end, and what happens where no batch can hold them."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app.domain.fields import LEFT_OUT, HoldFor, IfUnavailable, drop_default


class PlacementTerms(BaseModel):
    """What a caller says about how lines are placed. A hold never waits in the queue, so a caller cannot ask for it."""

    # The rule is not in the JSON Schema: linters and generators of clients do not support `dependentSchemas` here.
    model_config = ConfigDict(frozen=True, extra="forbid")

    if_unavailable: IfUnavailable = "backorder"
    hold_for: HoldFor = Field(default=LEFT_OUT, json_schema_extra=drop_default)

    @property
    def hold_seconds(self) -> int | None:
        """How long the stock is held; None: the lines are firm."""
        return self.hold_for

    @model_validator(mode="after")
    def _refuse_backorder_of_hold(self) -> Self:
        if {"hold_for", "if_unavailable"} <= self.model_fields_set and self.if_unavailable == "backorder":
            raise PydanticCustomError("hold_never_waits", 'hold_for does not go with if_unavailable: "backorder"')
        return self
