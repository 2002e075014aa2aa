"""The terms on which lines are placed."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app.domain.choice import ANY_BATCH, DEFAULT_PRIORITY, Requirements
from app.domain.fields import LEFT_OUT, GoodUntil, HoldFor, IfUnavailable, Locations, Priority, drop_default


class PlacementTerms(BaseModel):
    """How lines are placed: whether a line has an end, and what happens where no batch can hold it."""

    # The rule is not in the JSON Schema: linters and generators of clients do not support `dependentSchemas` here.
    model_config = ConfigDict(frozen=True, extra="forbid")

    if_unavailable: IfUnavailable = "backorder"
    hold_for: HoldFor = Field(default=LEFT_OUT, json_schema_extra=drop_default)

    @property
    def hold_seconds(self) -> int | None:
        """How many seconds the stock is held; None: the lines are firm."""
        return self.hold_for

    @model_validator(mode="after")
    def _refuse_backorder_of_hold(self) -> Self:
        if {"hold_for", "if_unavailable"} <= self.model_fields_set and self.if_unavailable == "backorder":
            raise PydanticCustomError("hold_never_waits", 'hold_for does not go with if_unavailable: "backorder"')
        return self


class LineRequirements(BaseModel):
    """What a line requires of its batch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # `from` is a keyword of Python.
    from_locations: Locations = Field(default=LEFT_OUT, alias="from", json_schema_extra=drop_default)
    good_until: GoodUntil = Field(default=LEFT_OUT, json_schema_extra=drop_default)
    priority: Priority = Field(default=DEFAULT_PRIORITY, json_schema_extra=drop_default)

    @property
    def requirements(self) -> Requirements:
        """The same for the domain."""
        if not self.model_fields_set.isdisjoint(("from_locations", "good_until", "priority")):
            return Requirements.of(self.from_locations or (), self.good_until, self.priority)
        return ANY_BATCH
