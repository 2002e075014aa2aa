"""The pages of the board."""

from datetime import date
from itertools import groupby
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from app.domain.fields import LEFT_OUT, BatchRef, OrderId, Sku
from app.entrypoints.http.board.bars import drawing_of
from app.entrypoints.http.board.hours import series_of
from app.entrypoints.http.board.rendering import FOLDER, HEADERS, page, today_in
from app.entrypoints.http.board.route import HOME, BoardRoute
from app.entrypoints.http.events import open_stream
from app.entrypoints.http.identity import needs, open_to_all
from app.entrypoints.http.query import Backordered, Cursor, Late, LowStock, Shipped, SkuFilter, SoldOut, Unfit
from app.entrypoints.http.services import queries_of, services_of
from app.read_model.lists import BatchOrder, BatchSummary
from app.service_layer.feed import FeedFilter

router = APIRouter(prefix=HOME, route_class=BoardRoute, include_in_schema=False)

FILES = {file.name: file for file in (FOLDER / "static").iterdir()}
ON_THE_FIRST_PAGE = 10
ON_A_PAGE = 100
MOST_SHORTAGES = 1000
MOST_SEARCHED = 255

SearchText = Annotated[str, Query(description="The beginning of an order id, a SKU or a batch ref.")]


def _page(request: Request, template: str, **values: Any) -> Response:
    services = services_of(request.scope)
    return page(template, zone=services.zone, can_sign_out=services.gate.knows_callers, **values)


def _more(path: str, cursor: str | None, **filters: object) -> str | None:
    """The address of the next page of a list."""
    if cursor is None:
        return None
    return f"{path}?{urlencode({**_set(filters), 'cursor': cursor})}"


def _file(path: str, **filters: object) -> str:
    """The address of the whole list as CSV."""
    query = urlencode(_set(filters))
    return f"{path}.csv?{query}" if query else f"{path}.csv"


def _set(filters: dict[str, object]) -> dict[str, str]:
    named = {name: "true" if value is True else value for name, value in filters.items()}
    return {name: str(value) for name, value in named.items() if value}


@router.get("")
@needs("read")
async def get_board(request: Request) -> Response:
    """What needs action now."""
    queries = queries_of(request)
    zone = services_of(request.scope).zone
    overview = await queries.overview()
    shortages = await queries.lists.shortages(limit=ON_THE_FIRST_PAGE)
    backorders = await queries.lists.backorders(sort="placed_at", limit=ON_THE_FIRST_PAGE, cursor=None)
    arriving = await queries.lists.batches(sort="eta", limit=ON_A_PAGE, cursor=None)
    activity = await queries.activity()
    return _page(
        request,
        "overview.html",
        overview=overview,
        shortages=shortages,
        backorders=backorders,
        arriving=arriving,
        days=_by_day(arriving.items, today_in(zone), ON_THE_FIRST_PAGE),
        activity=activity,
        series=series_of(activity.hours, zone),
    )


@router.get("/shortages")
@needs("read")
async def get_shortages(request: Request) -> Response:
    """What to buy first."""
    found = await queries_of(request).lists.shortages(limit=MOST_SHORTAGES)
    return _page(request, "shortages.html", found=found, file=_file(f"{HOME}/shortages"))


@router.get("/products")
@needs("read")
async def get_products(
    request: Request,
    *,
    low_stock: LowStock = False,
    sold_out: SoldOut = False,
    backordered: Backordered = False,
    cursor: Cursor = LEFT_OUT,
) -> Response:
    """Products, with the filters of the API."""
    filters = {"low_stock": low_stock, "sold_out": sold_out, "backordered": backordered}
    found = await queries_of(request).lists.products(**filters, limit=ON_A_PAGE, cursor=cursor)
    path = f"{HOME}/products"
    more, file = _more(path, found.next_cursor, **filters), _file(path, **filters)
    return _page(request, "products.html", found=found, filters=filters, more=more, file=file)


@router.get("/backorders")
@needs("read")
async def get_backorders(request: Request, sku: SkuFilter = LEFT_OUT, cursor: Cursor = LEFT_OUT) -> Response:
    """Backorders, oldest first."""
    found = await queries_of(request).lists.backorders(sku=sku, sort="placed_at", limit=ON_A_PAGE, cursor=cursor)
    path = f"{HOME}/backorders"
    more, file = _more(path, found.next_cursor, sku=sku), _file(path, sku=sku)
    return _page(request, "backorders.html", found=found, sku=sku, more=more, file=file)


@router.get("/batches")
@needs("read")
async def get_batches(
    request: Request, *, late: Late = False, unfit: Unfit = False, cursor: Cursor = LEFT_OUT
) -> Response:
    """Batches on their way, by day, or the unfit ones with lines, by SKU."""
    filters = {"late": late, "unfit": unfit}
    # Unfit batches may be in the warehouse, which have no day.
    sort: BatchOrder = "sku" if unfit else "eta"
    lists = queries_of(request).lists
    found = await lists.batches(late=late, unfit=unfit, sort=sort, limit=ON_A_PAGE, cursor=cursor)
    path = f"{HOME}/batches"
    more, file = _more(path, found.next_cursor, **filters), _file(path, **filters)
    if unfit:
        return _page(request, "unfit.html", found=found, late=late, more=more, file=file)
    days = _by_day(found.items, today_in(services_of(request.scope).zone))
    return _page(request, "batches.html", found=found, late=late, days=days, more=more, file=file)


def _by_day(batches: list[BatchSummary], today: date, most: int = ON_A_PAGE) -> list[tuple[date, list[BatchSummary]]]:
    """The first batches by day of arrival. Of the late ones, those with waiting orders come first."""

    def place(batch: BatchSummary) -> tuple[bool, bool, date]:
        assert batch.eta is not None  # noqa: S101 - the list has batches on their way only
        is_late = batch.eta < today
        return not is_late, is_late and batch.allocated_lines == 0, batch.eta

    groups = groupby(sorted(batches, key=place)[:most], key=place)
    return [(day, list(group)) for (_, _, day), group in groups]


@router.get("/products/{sku}")
@needs("read")
async def get_product(
    sku: Annotated[Sku, Path(description="The SKU of the product.")], request: Request, cursor: Cursor = LEFT_OUT
) -> Response:
    """A product: its batches, its queue and its history. The cursor is that of the history."""
    queries = queries_of(request)
    product = await queries.product(sku)
    queue = await queries.lists.backorders(sku=sku, limit=ON_THE_FIRST_PAGE, cursor=None)
    history = await queries.history.page(sku, limit=ON_A_PAGE, cursor=cursor)
    open_batches = [batch for batch in product.batches if batch.shipped_qty < batch.qty]
    incoming_qty = sum(batch.qty - batch.shipped_qty for batch in open_batches if batch.eta is not None)
    path = f"{HOME}/products/{quote(sku)}"
    return _page(
        request,
        "product.html",
        product=product,
        incoming_qty=incoming_qty,
        # Free pieces of batches that are blocked or have expired: neither available nor of a line.
        unfit_qty=product.on_hand_qty + incoming_qty - product.available_qty - product.allocated_qty,
        batches=open_batches[:ON_A_PAGE],
        left_out=len(open_batches[ON_A_PAGE:]),
        used_up=len(product.batches) - len(open_batches),
        drawing=drawing_of(open_batches, today_in(services_of(request.scope).zone)),
        queue=queue,
        history=history,
        more=_more(path, history.next_cursor),
        file=f"{path}/history.csv",
    )


@router.get("/orders/{order_id}")
@needs("read")
async def get_order(
    order_id: Annotated[OrderId, Path(description="The id of the order.")], request: Request
) -> Response:
    """An order: its lines, and the events that put them where they are."""
    queries = queries_of(request)
    order = await queries.order(order_id)
    return _page(
        request,
        "order.html",
        order=order,
        events=await queries.history.of_order(order_id),
        archived_before=await queries.history.archived_before(),
    )


@router.get("/batches/{ref}")
@needs("read")
async def get_batch(
    ref: Annotated[BatchRef, Path(description="The ref of the batch.")],
    request: Request,
    *,
    shipped: Shipped = False,
    cursor: Cursor = LEFT_OUT,
) -> Response:
    """A batch: the orders that wait for it or got pieces of it, and its changes. The cursor is that of the orders."""
    queries = queries_of(request)
    batch = await queries.batch(ref)
    found = await queries.lists.lines_of(ref, shipped=shipped, limit=ON_A_PAGE, cursor=cursor)
    path = f"{HOME}/batches/{quote(ref)}"
    return _page(
        request,
        "batch.html",
        batch=batch,
        found=found,
        shipped=shipped,
        path=path,
        changes=await queries.history.of_batch(batch.sku, ref),
        archived_before=await queries.history.archived_before(),
        more=_more(path, found.next_cursor, shipped=shipped),
        file=_file(f"{path}/allocations", shipped=shipped),
    )


@router.get("/search")
@needs("read")
async def search(request: Request, q: SearchText = "") -> Response:
    """Orders, products and batches whose name begins with the text."""
    text = q.strip()[:MOST_SEARCHED]
    return _page(request, "search.html", text=text, found=await queries_of(request).search(text))


@router.get("/stream")
@needs("read")
async def get_stream(request: Request) -> Response:
    """The published events from now on, for the script of the board: the cookie is not sent to `/v1/events/stream`."""
    return await open_stream(request, None, FeedFilter())


@router.get("/static/{name}")
@open_to_all
async def get_file(name: str) -> Response:
    """The style sheet and the script of the board."""
    if name not in FILES:
        raise HTTPException(404)
    # The policy of a shared worker is that of its file.
    return FileResponse(FILES[name], headers=HEADERS)
