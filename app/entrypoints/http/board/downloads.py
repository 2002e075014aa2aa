"""The lists of the board as CSV files."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.domain.fields import LEFT_OUT, BatchRef, Sku
from app.entrypoints.http.board.csv_files import ReadPage, whole_list
from app.entrypoints.http.board.route import HOME, BoardRoute
from app.entrypoints.http.identity import needs
from app.entrypoints.http.query import Backordered, Late, LowStock, Shipped, SkuFilter, SoldOut, Unfit
from app.entrypoints.http.services import queries_of, services_of
from app.read_model.history import HistoryEntry
from app.read_model.lists import Backorder, BatchOrder, BatchSummary, ProductSummary
from app.read_model.pagination import COUNT_LIMIT, MOST_ITEMS
from app.service_layer.results import AllocationState

router = APIRouter(prefix=HOME, route_class=BoardRoute, include_in_schema=False)


async def _sent(request: Request, name: str, item: type, read: ReadPage) -> Response:
    # The first page is read before the response begins, so its errors have a status.
    return whole_list(name, item, await read(MOST_ITEMS, None), read, services_of(request.scope).zone)


@router.get("/products.csv")
@needs("read")
async def get_products_file(
    request: Request, *, low_stock: LowStock = False, sold_out: SoldOut = False, backordered: Backordered = False
) -> Response:
    """Products."""
    lists = queries_of(request).lists
    return await _sent(
        request,
        "products",
        ProductSummary,
        lambda limit, cursor: lists.products(
            low_stock=low_stock, sold_out=sold_out, backordered=backordered, limit=limit, cursor=cursor
        ),
    )


@router.get("/shortages.csv")
@needs("read")
async def get_shortages_file(request: Request) -> Response:
    """What to buy first."""
    lists = queries_of(request).lists
    # The list has one page; this is all that its statement compares.
    return await _sent(
        request, "shortages", ProductSummary, lambda _limit, _cursor: lists.shortages(limit=2 * COUNT_LIMIT)
    )


@router.get("/batches/{ref}/allocations.csv")
@needs("read")
async def get_batch_file(
    ref: Annotated[BatchRef, Path(description="The ref.")], request: Request, *, shipped: Shipped = False
) -> Response:
    """The lines that wait for a batch, or were shipped from it."""
    queries = queries_of(request)
    await queries.batch(ref)
    return await _sent(
        request,
        f"batch-{ref}{'-shipped' * shipped}".replace(":", "_"),
        AllocationState,
        lambda limit, cursor: queries.lists.lines_of(ref, shipped=shipped, limit=limit, cursor=cursor),
    )


@router.get("/backorders.csv")
@needs("read")
async def get_backorders_file(request: Request, sku: SkuFilter = LEFT_OUT) -> Response:
    """Backorders, oldest first."""
    lists = queries_of(request).lists
    return await _sent(
        request,
        "backorders",
        Backorder,
        lambda limit, cursor: lists.backorders(sku=sku, sort="placed_at", limit=limit, cursor=cursor),
    )


@router.get("/batches.csv")
@needs("read")
async def get_batches_file(request: Request, *, late: Late = False, unfit: Unfit = False) -> Response:
    """The batches of `pages.get_batches` as a file."""
    lists = queries_of(request).lists
    sort: BatchOrder = "sku" if unfit else "eta"
    return await _sent(
        request,
        "batches",
        BatchSummary,
        lambda limit, cursor: lists.batches(late=late, unfit=unfit, sort=sort, limit=limit, cursor=cursor),
    )


@router.get("/products/{sku}/history.csv")
@needs("read")
async def get_history_file(sku: Annotated[Sku, Path(description="The SKU.")], request: Request) -> Response:
    """The history of a product, newest first."""
    history = queries_of(request).history
    return await _sent(
        request,
        f"history-{sku}".replace(":", "_"),
        HistoryEntry,
        lambda limit, cursor: history.page(sku, limit=limit, cursor=cursor),
    )
