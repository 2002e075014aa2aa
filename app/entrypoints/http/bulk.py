"""Bulk requests: many order lines or batches, each with a result of its own.

The valid items run as one command in one unit of work. An invalid or refused item does not affect the others.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Generic, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from app.domain.commands import MOST_ITEMS, Allocate, AllocateMany, Command, CreateBatch, CreateBatches
from app.domain.errors import DomainError
from app.entrypoints.http.allocations import status_of_accepted
from app.entrypoints.http.answers import Answer
from app.entrypoints.http.batches import status_of_recorded
from app.entrypoints.http.examples import LINES_BODY, LINES_HELD
from app.entrypoints.http.idempotent_write import KEYED, documented_write, write
from app.entrypoints.http.identity import needs
from app.entrypoints.http.parameters import faults_of, invalid
from app.entrypoints.http.problems import Problem, ProblemError, members_of, path_of
from app.entrypoints.http.route import BulkRoute, as_problem
from app.service_layer.results import AllocationState, BatchRecorded, BatchState, LineAccepted

router = APIRouter(prefix="/v1", route_class=BulkRoute)

Item = TypeVar("Item", bound=Command)


def _or_problem(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """The command, or its problem: an invalid item must not make the other items fail."""
    try:
        return handler(value)
    except ValidationError as error:
        return invalid(faults_of(error, "item"))


class Items(BaseModel, Generic[Item]):
    """Commands of one kind. An invalid item fails alone; the request as a whole stays valid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: Annotated[
        list[Annotated[Item, WrapValidator(_or_problem)]],
        Field(
            min_length=1,
            max_length=MOST_ITEMS,
            description="The items, each with the fields of the single request. They run in this order.",
        ),
    ]

    def commands(self) -> tuple[Item, ...]:
        """The valid items."""
        found: list[Any] = self.items
        return tuple(item for item in found if not isinstance(item, ProblemError))

    def outcomes(self, results: Sequence[Any]) -> Iterator[Any]:
        """The outcome of each item: the result of its command, or its problem."""
        found: list[Any] = self.items
        remaining = iter(results)
        for item in found:
            yield item if isinstance(item, ProblemError) else next(remaining)


class AllocationItems(Items[Allocate]):
    """Order lines to allocate."""


class BatchItems(Items[CreateBatch]):
    """Batches to record."""


class ItemResult(BaseModel):
    """The result of an item."""

    status: Annotated[int, Field(description="The status that the single request would have.", examples=[201])]
    problem: Annotated[
        Problem | None,
        Field(description="The reason for which the item was refused.", exclude_if=lambda value: value is None),
    ] = None


class AllocationResult(ItemResult):
    """The result of an order line: its current state, or the problem."""

    allocation: Annotated[AllocationState | None, Field(exclude_if=lambda value: value is None)] = None


class BatchResult(ItemResult):
    """The result of a batch: its current state, or the problem."""

    batch: Annotated[BatchState | None, Field(exclude_if=lambda value: value is None)] = None


Result = TypeVar("Result", bound=ItemResult)


class Results(BaseModel, Generic[Result]):
    """A result for each item."""

    results: Annotated[list[Result], Field(description="The results, in the order of the items.")]


class AllocationResults(Results[AllocationResult]):
    """A result for each order line."""


class BatchResults(Results[BatchResult]):
    """A result for each batch."""


_PROBLEMS = documented_write("malformed-body", "payload-too-large", "unsupported-media-type")


@router.post(
    "/allocations/bulk",
    tags=["allocations"],
    operation_id="allocateMany",
    summary="Allocate many order lines",
    response_model=AllocationResults,
    response_description="A result for each line, in the order of the request.",
    responses={200: LINES_HELD, **_PROBLEMS},
    openapi_extra=KEYED | LINES_BODY,
)
@needs("orders:write")
async def allocate_many(body: AllocationItems, request: Request) -> Response:
    """Allocates up to 1,000 lines, each as the single request would. A refused line does not affect the others.

    An invalid item has the status 422 in its result. The accepted lines are stored in one transaction. Each line is
    allocated at most once, so the request can be repeated safely.
    """

    def accepted(line: LineAccepted) -> AllocationResult:
        return AllocationResult(status=status_of_accepted(line), allocation=line.allocation)

    return await _write_items(
        request, body, AllocateMany, accepted=accepted, refused=AllocationResult, results=AllocationResults
    )


@router.post(
    "/batches/bulk",
    tags=["batches"],
    operation_id="createBatches",
    summary="Record many batches of stock",
    response_model=BatchResults,
    response_description="A result for each batch, in the order of the request.",
    responses=_PROBLEMS,
    openapi_extra=KEYED,
)
@needs("stock:write")
async def create_batches(body: BatchItems, request: Request) -> Response:
    """Records up to 1,000 batches, each as the single request would. A refused batch does not affect the others.

    An invalid item has the status 422 in its result. The accepted batches are stored in one transaction. Recording a
    batch again changes nothing, so the request can be repeated safely.
    """

    def recorded(batch: BatchRecorded) -> BatchResult:
        return BatchResult(status=status_of_recorded(batch), batch=batch.batch)

    return await _write_items(
        request, body, CreateBatches, accepted=recorded, refused=BatchResult, results=BatchResults
    )


async def _write_items(
    request: Request,
    body: Items[Any],
    command: type[AllocateMany | CreateBatches],
    *,
    accepted: Callable[[Any], Result],
    refused: type[Result],
    results: type[Results[Result]],
) -> Response:
    """Run the valid items as one command. `accepted` makes the result of an item that was not refused."""

    def result_of(outcome: Any) -> Result:  # noqa: ANN401 - each command has a result type of its own
        problem = as_problem(outcome) if isinstance(outcome, DomainError | ProblemError) else None
        if problem is None:
            return accepted(outcome)
        members = members_of(path_of(request.scope), problem)
        return refused(status=problem.kind.status, problem=Problem(**members))

    def render(outcomes: Sequence[Any]) -> Response:
        items = [result_of(outcome) for outcome in body.outcomes(outcomes)]
        return Answer(results(results=items).model_dump_json().encode())

    commands = body.commands()
    return await write(request, command(items=commands), render) if commands else render(())
