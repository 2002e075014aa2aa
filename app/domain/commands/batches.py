"""Commands about a batch of stock."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app.domain.commands.base import Command
from app.domain.events import StockReason
from app.domain.fields import (
    LEFT_OUT,
    ONE_LINE_PATTERN,
    BatchEta,
    BatchQuantity,
    BatchRef,
    EntityTags,
    NewBatchQuantity,
    NewQuantity,
    Sku,
    drop_default,
)


class CreateBatch(Command):
    """Record a batch of stock that was purchased together."""

    ref: BatchRef
    sku: Sku
    qty: BatchQuantity
    eta: BatchEta = None

    @property
    def routing_key(self) -> str:
        """The SKU."""
        return self.sku


class CreateBatchIfMatch(CreateBatch):
    """Record a batch again, where it is as the caller has seen it. A batch that is new is refused."""

    if_match: EntityTags


class _NamedBatchCommand(Command):
    ref: BatchRef

    @property
    def routing_key(self) -> str:
        return self.ref


class WhyStockChanged(BaseModel):
    """What a person would write beside a corrected quantity. What is left out is None; null itself is refused."""

    reason: Annotated[
        StockReason, Field(description="The reason for the correction of the quantity.", examples=["damaged"])
    ] = Field(default=LEFT_OUT, json_schema_extra=drop_default)
    reference: Annotated[
        str,
        Field(
            strict=True,
            min_length=1,
            max_length=255,
            pattern=ONE_LINE_PATTERN,
            description=(
                "A reference to details, for example a report or a ticket. One line: no control characters, no line or "
                "paragraph separators, no characters that change the direction of text."
            ),
            examples=["report-17"],
        ),
    ] = Field(default=LEFT_OUT, json_schema_extra=drop_default)


class ChangeBatchQuantity(WhyStockChanged, _NamedBatchCommand):
    """Correct the purchased quantity of a batch: stock was found, lost or damaged."""

    qty: NewBatchQuantity


Reallocate = Annotated[
    bool,
    Field(
        strict=True,
        description="If the batch became late: move its lines to batches that serve them sooner, oldest line first.",
    ),
]


class ChangeBatchEta(_NamedBatchCommand):
    """Change the day a batch arrives; null says that it has arrived in the warehouse."""

    eta: BatchEta
    reallocate: Reallocate = False


class BatchChanges(WhyStockChanged):
    """Changes of a batch. Fields that are left out are unchanged; `qty` or `eta` is required.

    `reason`, `reference` and `expected_qty` require `qty`; `reallocate: true` requires `eta`.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            # Since all others go with one of the two, this says that `qty` or `eta` has to be there. Said with `anyOf`,
            # generators of clients would make no type of it.
            "minProperties": 1,
            "dependentRequired": {
                "reason": ["qty"],
                "reference": ["qty"],
                "expected_qty": ["qty"],
            },
            # The default may be sent without `eta`: generated clients send every default.
            "dependentSchemas": {
                "reallocate": {
                    "anyOf": [
                        {"required": ["eta"]},
                        {"required": ["qty"], "properties": {"reallocate": {"const": False}}},
                    ]
                }
            },
        },
    )

    # The defaults of `qty` and `eta` are never read: `model_fields_set` has the fields that were sent.
    qty: NewBatchQuantity = Field(default=0, json_schema_extra=drop_default)
    eta: BatchEta = Field(default=None, json_schema_extra=drop_default)
    expected_qty: Annotated[
        NewQuantity,
        Field(
            description="The expected current quantity. If it differs, the response is 409 and nothing changes.",
            examples=[100],
        ),
    ] = Field(default=LEFT_OUT, json_schema_extra=drop_default)
    reallocate: Reallocate = False

    @model_validator(mode="after")
    def _refuse_nothing(self) -> Self:
        given = self.model_fields_set
        if not given & {"qty", "eta"}:
            raise PydanticCustomError("nothing_to_change", "Input should have qty, eta or both")
        if "qty" not in given and given & {"reason", "reference", "expected_qty"}:
            raise PydanticCustomError("without_quantity", "reason, reference and expected_qty go with qty")
        if "eta" not in given and self.reallocate:
            raise PydanticCustomError("without_eta", "reallocate: true goes with eta")
        return self


class ChangeBatch(BatchChanges, _NamedBatchCommand):
    """Change the quantity and the ETA of a batch in one transaction; the new ETA counts for placing lines again.

    With `if_match` only where the batch has one of these tags.
    """

    if_match: EntityTags | None = None
