"""Many order lines, or many batches, in one request: each has an answer of its own, and none fails another.

What can be read runs as one command in one unit of work; what cannot is answered for itself.
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
from app.entrypoints.http.idempotent_write import KEYED, documented_write, write
from app.entrypoints.http.identity import needs
from app.entrypoints.http.parameters import faults_of, invalid
from app.entrypoints.http.problems import Problem, ProblemError, members_of, path_of
from app.entrypoints.http.route import BulkRoute, as_problem
from app.service_layer.results import AllocationState, BatchRecorded, BatchState, LineAccepted

router = APIRouter(prefix="/v1", route_class=BulkRoute)

Item = TypeVar("Item", bound=Command)


def _or_problem(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """The command, or the problem that says what is wrong with it: others must not be refused for it."""
    try:
        return handler(value)
    except ValidationError as error:
        return invalid(faults_of(error, "item"))


class Items(BaseModel, Generic[Item]):
    """Commands of one kind. An item that is no such command does not make the request invalid, only its own result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: Annotated[
        list[Annotated[Item, WrapValidator(_or_problem)]],
        Field(min_length=1, max_length=MOST_ITEMS, description="Each as the single call takes it, run in this order."),
    ]

    def commands(self) -> tuple[Item, ...]:
        """Those that are what they should be."""
        found: list[Any] = self.items
        return tuple(item for item in found if not isinstance(item, ProblemError))

    def answers(self, results: Sequence[Any]) -> Iterator[Any]:
        """The answer to each item: what the bus has answered to its command, or its problem."""
        found: list[Any] = self.items
        remaining = iter(results)
        for item in found:
            yield item if isinstance(item, ProblemError) else next(remaining)


class AllocationItems(Items[Allocate]):
    """Order lines to allocate."""


class BatchItems(Items[CreateBatch]):
    """Batches to record."""


class ItemResult(BaseModel):
    """What became of an item."""

    status: Annotated[int, Field(description="The status that the single call would have had.", examples=[201])]
    problem: Annotated[
        Problem | None, Field(description="Why the item was refused.", exclude_if=lambda value: value is None)
    ] = None


class AllocationResult(ItemResult):
    """What became of an order line: the line as it is now, or the problem."""

    allocation: Annotated[AllocationState | None, Field(exclude_if=lambda value: value is None)] = None


class BatchResult(ItemResult):
    """What became of a batch: the batch as it is now, or the problem."""

    batch: Annotated[BatchState | None, Field(exclude_if=lambda value: value is None)] = None


Result = TypeVar("Result", bound=ItemResult)


class Results(BaseModel, Generic[Result]):
    """A result for each item."""

    results: Annotated[list[Result], Field(description="In the order of the items.")]


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
    response_description="A result for each line, in their order.",
    responses=_PROBLEMS,
    openapi_extra=KEYED,
)
@needs("orders:write")
async def allocate_many(body: AllocationItems, request: Request) -> Response:
    """Allocates up to 1,000 lines, each as the single call would: one that is refused does not touch the others.

    An item of a wrong form is refused in its own result, with 422. All that take effect do so in one transaction. Lines
    are allocated at most once, so the request can be sent again safely.
    """

    def result(accepted: LineAccepted) -> AllocationResult:
        return AllocationResult(status=status_of_accepted(accepted), allocation=accepted.allocation)

    def answer(answers: Sequence[Any]) -> Response:
        results = [_result(each, request, AllocationResult, result) for each in body.answers(answers)]
        return Answer(AllocationResults(results=results).model_dump_json())

    commands = body.commands()
    return await write(request, AllocateMany(items=commands), answer) if commands else answer(())


@router.post(
    "/batches/bulk",
    tags=["batches"],
    operation_id="createBatches",
    summary="Record many batches of stock",
    response_model=BatchResults,
    response_description="A result for each batch, in their order.",
    responses=_PROBLEMS,
    openapi_extra=KEYED,
)
@needs("stock:write")
async def create_batches(body: BatchItems, request: Request) -> Response:
    """Records up to 1,000 batches, each as the single call would: one that is refused does not touch the others.

    An item of a wrong form is refused in its own result, with 422. All that take effect do so in one transaction.
    Recording a batch again changes nothing, so the request can be sent again safely.
    """

    def result(recorded: BatchRecorded) -> BatchResult:
        return BatchResult(status=status_of_recorded(recorded), batch=recorded.batch)

    def answer(answers: Sequence[Any]) -> Response:
        results = [_result(each, request, BatchResult, result) for each in body.answers(answers)]
        return Answer(BatchResults(results=results).model_dump_json())

    commands = body.commands()
    return await write(request, CreateBatches(items=commands), answer) if commands else answer(())


def _result(
    answer: Any,  # noqa: ANN401 - each command has a result type of its own
    request: Request,
    refused: type[Result],
    done: Callable[[Any], Result],
) -> Result:
    problem = as_problem(answer) if isinstance(answer, DomainError | ProblemError) else None
    if problem is None:
        return done(answer)
    members = members_of(path_of(request.scope), problem)
    return refused(status=problem.kind.status, problem=Problem(**members))
