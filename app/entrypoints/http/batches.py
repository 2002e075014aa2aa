"""Batches of stock."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.domain.commands import (
    BatchChanges,
    ChangeBatch,
    ChangeBatchIfMatch,
    CreateBatch,
    CreateBatchIfMatch,
    Transfer,
    TransferBatch,
)
from app.domain.fields import LEFT_OUT, BatchRef
from app.entrypoints.http.answers import (
    ALLOCATION_PAGE,
    BATCH,
    BATCH_PAGE,
    CHANGED_BATCH,
    TRANSFER,
    Answer,
    ChangedBatch,
)
from app.entrypoints.http.conditional import CACHED, GUARDED, NOT_MODIFIED, TAGGED, if_match, show
from app.entrypoints.http.idempotent_write import KEYED, documented_write, write
from app.entrypoints.http.identity import needs
from app.entrypoints.http.problems import documented
from app.entrypoints.http.query import (
    DEFAULT_ITEMS,
    ArrivingBy,
    Cursor,
    Late,
    Limit,
    Shipped,
    SkuFilter,
    SortBatches,
    Unfit,
)
from app.entrypoints.http.route import ServiceRoute
from app.entrypoints.http.services import queries_of
from app.read_model.lists import AllocationPage, BatchPage
from app.service_layer.results import BatchChanged, BatchRecorded, BatchState, BatchTransferred

router = APIRouter(prefix="/v1/batches", tags=["batches"], route_class=ServiceRoute)

LOCATION = {"description": "The path of the batch.", "schema": {"type": "string"}}
Ref = Annotated[BatchRef, Path(description="The ref of the batch.")]


@router.post(
    "",
    operation_id="createBatch",
    summary="Record a batch of stock",
    status_code=201,
    response_model=BatchState,
    response_description="The batch was recorded, and backorders that it can hold were allocated to it.",
    responses={
        201: {"headers": {"Location": LOCATION, **TAGGED["headers"]}},
        200: {
            "model": BatchState,
            "description": "The batch was recorded before; this is its current state.",
            **TAGGED,
        },
        **documented_write(
            "malformed-body", "batch-conflict", "precondition-failed", "payload-too-large", "unsupported-media-type"
        ),
    },
    openapi_extra=KEYED,
)
@needs("stock:write")
async def create_batch(command: CreateBatch, request: Request) -> Response:
    """Records stock that was purchased together.

    Recording the same batch again changes nothing, so the request can be repeated safely. With the header `If-Match`
    the request succeeds only if the batch exists and has one of the tags; it never records a new batch. A batch that
    serves more than 2,000 waiting lines may take up to 60 seconds.
    """
    tags = if_match(request)
    if tags is not None:
        command = CreateBatchIfMatch.model_construct(**dict(command), if_match=tags)
    return await write(request, command, _recorded)


def _recorded(recorded: BatchRecorded) -> Response:
    headers = {"ETag": recorded.batch.tag}
    if recorded.created:
        headers["Location"] = f"/v1/batches/{recorded.batch.ref}"
    return Answer(BATCH.dump_json(recorded.batch), status_of_recorded(recorded), headers)


def status_of_recorded(recorded: BatchRecorded) -> int:
    """The HTTP status of an accepted batch: 201 if it was recorded, 200 if it existed before."""
    return 201 if recorded.created else 200


@router.get(
    "/{ref}",
    operation_id="getBatch",
    summary="Get a batch",
    response_model=BatchState,
    response_description="The current state of the batch.",
    responses={
        200: TAGGED,
        304: NOT_MODIFIED,
        **documented("batch-not-found", "precondition-failed", "invalid-request"),
    },
    openapi_extra=CACHED,
)
@needs("read")
async def get_batch(ref: Ref, request: Request) -> Response:
    """Returns the purchased, allocated, shipped and available quantity of the batch."""
    batch = await queries_of(request).batch(ref)
    return show(request, BATCH.dump_json(batch), batch.tag)


@router.get(
    "/{ref}/lines",
    operation_id="listBatchLines",
    summary="List the lines of a batch",
    response_model=AllocationPage,
    response_description="A page of lines.",
    responses=documented("batch-not-found", "invalid-request", "uri-too-long"),
)
@needs("read")
async def list_batch_lines(
    ref: Ref, request: Request, *, shipped: Shipped = False, limit: Limit = DEFAULT_ITEMS, cursor: Cursor = LEFT_OUT
) -> Response:
    """Lists the order lines that are allocated to the batch or held on it; with `shipped=true` those shipped from it.

    They are in the order in which they were allocated or shipped. If the batch is late, the lines that are not shipped
    are late with it. If it is recalled, the shipped ones name the orders that have goods of it.
    """
    queries = queries_of(request)
    await queries.batch(ref)
    page = await queries.lists.lines_of(ref, shipped=shipped, limit=limit, cursor=cursor)
    return Answer(ALLOCATION_PAGE.dump_json(page))


@router.patch(
    "/{ref}",
    operation_id="changeBatch",
    summary="Change a batch",
    response_model=ChangedBatch,
    response_description="The current state of the batch, and the lines that were moved off it.",
    responses={
        200: TAGGED,
        **documented_write(
            "malformed-body",
            "batch-not-found",
            "precondition-failed",
            "quantity-changed",
            "below-shipped",
            "quantity-too-large",
            "payload-too-large",
            "unsupported-media-type",
        ),
    },
    openapi_extra=GUARDED,
)
@needs("stock:write")
async def change_batch(ref: Ref, changes: BatchChanges, request: Request) -> Response:
    """Sets the fields that the request has. `eta: null` records that the batch has arrived.

    The quantity is either `qty`, the purchased pieces, or a count: `on_hand_qty` pieces in the warehouse, plus the
    shipped ones. Send `shipped_qty` with a count, if it is known: then shipments that are on their way to the service
    do not matter, and repeating the count changes nothing.

    Lines that no longer fit move to other batches or to the queue, the last allocated line first. If the request
    changes both, the new ETA decides where they move. With `reallocate`, the lines of a batch that became late move to
    batches that serve them sooner, oldest request first. Nothing is allocated from a batch that is `blocked` or whose
    `best_before` has passed; its lines stay on it, unless `blocked: true` comes with `reallocate`. `expected_qty` makes
    the change of the quantity conditional on the current quantity, `If-Match` the whole change on the `ETag`. Repeating
    the request changes nothing, unless a count without `shipped_qty` is repeated after a shipment.
    A change that moves more than 600 lines may take up to 60 seconds.
    """
    tags, given = if_match(request), changes.model_dump(exclude_unset=True)
    command = ChangeBatch(ref=ref, **given) if tags is None else ChangeBatchIfMatch(ref=ref, if_match=tags, **given)
    return await write(request, command, _changed)


def _changed(done: BatchChanged) -> Response:
    return Answer(CHANGED_BATCH.dump_json(ChangedBatch.after(done)), headers={"ETag": done.batch.tag})


@router.post(
    "/{ref}/transfer",
    operation_id="transferBatch",
    summary="Transfer pieces of a batch to another location",
    status_code=201,
    response_model=BatchTransferred,
    response_description="The new batch was recorded, and the other one has fewer pieces.",
    responses={
        201: {"headers": {"Location": LOCATION}},
        200: {"model": BatchTransferred, "description": "The same transfer was made before. Nothing has changed."},
        **documented_write(
            "malformed-body",
            "batch-not-found",
            "batch-conflict",
            "below-shipped",
            "payload-too-large",
            "unsupported-media-type",
        ),
    },
    openapi_extra=KEYED,
)
@needs("stock:write")
async def transfer_batch(ref: Ref, transfer: Transfer, request: Request) -> Response:
    """Takes the pieces from the batch and records them as a new batch, in one transaction.

    The new batch has the best-before day and the blocking of the other one. Free pieces are taken first. Lines that no
    longer fit on the batch, the last allocated line first, go to the new batch, unless another batch serves them
    earlier. Repeating the request changes nothing.
    """
    values = transfer.model_dump()
    return await write(request, TransferBatch(source_ref=ref, **values), _transferred)


def _transferred(done: BatchTransferred) -> Response:
    headers = {"Location": f"/v1/batches/{done.batch.ref}"} if done.created else {}
    return Answer(TRANSFER.dump_json(done), 201 if done.created else 200, headers)


@router.get(
    "",
    operation_id="listBatches",
    summary="List batches",
    response_model=BatchPage,
    response_description="A page of batches.",
    responses=documented("invalid-request", "uri-too-long"),
)
@needs("read")
async def list_batches(
    request: Request,
    sku: SkuFilter = LEFT_OUT,
    arriving_by: ArrivingBy = LEFT_OUT,
    *,
    late: Late = False,
    unfit: Unfit = False,
    sort: SortBatches = "sku",
    limit: Limit = DEFAULT_ITEMS,
    cursor: Cursor = LEFT_OUT,
) -> Response:
    """Lists all batches, the batches of one product, those that arrive by a day, or those that are late.

    With `unfit=true` batches that are blocked or have expired and have lines that are not shipped.
    """
    page = await queries_of(request).lists.batches(
        sku=sku, arriving_by=arriving_by, late=late, unfit=unfit, sort=sort, limit=limit, cursor=cursor
    )
    return Answer(BATCH_PAGE.dump_json(page))
