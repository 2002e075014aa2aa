"""Who gets mail about what, and what a mail server that is down delays."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import pytest

from app.adapters.postgresql.notifier_memory import NotifierMemory
from app.adapters.smtp import LogMailer, SmtpMailer
from app.domain.errors import OutOfStockError
from app.domain.product import Product
from app.domain.stock import OrderLine
from app.entrypoints.kafka.notifier import Notifier
from app.integration.product_messages import (
    AllocationFailedV1,
    BatchCreatedV1,
    BatchQuantityChangedV1,
    HoldReleasedV1,
    LineAllocatedV1,
    LineBackorderedV1,
    LineHeldV1,
    LowStockV1,
    OutOfStockV1,
    ProductMessage,
)
from app.service_layer.notifications import Addresses, Mail, MailRefusedError, NotifiedProduct, handled_events, react
from app.service_layer.ports import TemporarilyUnavailableError
from tests.support.messages import Pauses
from tests.support.records import message, record

SKU = "CHAIR"
BUYERS = Addresses(stock="stock@made.com", warehouse=None)
ALL_ADDRESSES = Addresses(stock="stock@made.com", warehouse="warehouse@made.com")
RUN_OUT = OutOfStockV1(sku=SKU, order_id="order-1", qty=3)
LOW = LowStockV1(sku=SKU, available_qty=4, reorder_point=5, backordered_qty=0, incoming_qty=2)
ALLOCATED = LineAllocatedV1(sku=SKU, order_id="order-1", qty=3, batch_ref="batch-1")


def batch(qty: int, ref: str = "batch-1") -> BatchCreatedV1:
    return BatchCreatedV1(sku=SKU, ref=ref, qty=qty, eta=None)


def changed(qty: int, ref: str = "batch-1") -> BatchQuantityChangedV1:
    return BatchQuantityChangedV1(sku=SKU, ref=ref, qty=qty, eta=None)


def mails(*messages: ProductMessage, addresses: Addresses = BUYERS) -> list[str]:
    """The bodies of the mails that the events call for, one after another."""
    product, batches = NotifiedProduct(SKU, 0, out_of_stock=False), dict[str, int]()
    sent = (react(each, product, batches, addresses) for each in messages)
    return [mail.body for mail in sent if mail is not None]


def test_mails_the_buyers_when_a_sku_is_out_of_stock() -> None:
    mail = react(RUN_OUT, NotifiedProduct(SKU, 0, out_of_stock=False), {}, BUYERS)

    assert mail == Mail("stock@made.com", "Out of stock: CHAIR", "Out of stock for CHAIR")


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        ([], 1),
        ([batch(5, "batch-2")], 2),
        ([changed(11)], 2),
        ([changed(9)], 1),
        ([changed(10)], 1),
        ([changed(5), changed(7)], 2),
        ([changed(5), changed(4)], 1),
        ([changed(1, "never-read-of")], 2),
        ([ALLOCATED, LineBackorderedV1(sku=SKU, order_id="order-2", qty=1)], 1),
    ],
)
def test_mails_out_of_stock_once_until_the_sku_is_restocked(between: list[ProductMessage], expected: int) -> None:
    assert mails(batch(10), RUN_OUT, RUN_OUT, *between, RUN_OUT) == ["Out of stock for CHAIR"] * expected


def test_mails_the_buyers_each_time_stock_becomes_low() -> None:
    mail = react(LOW, NotifiedProduct(SKU, 0, out_of_stock=False), {}, BUYERS)

    assert mail == Mail("stock@made.com", "Low stock for CHAIR: 4 left", "Low stock for CHAIR: 4 left")
    assert mails(RUN_OUT, LOW, LOW) == ["Out of stock for CHAIR", *["Low stock for CHAIR: 4 left"] * 2]


def test_mails_the_warehouse_where_it_has_an_address() -> None:
    assert mails(ALLOCATED, addresses=ALL_ADDRESSES) == ["Order order-1 allocated to batch-1"]
    assert mails(ALLOCATED, addresses=BUYERS) == []


class FakeMemory(NotifierMemory):
    """Remembers in memory what was saved; what was only loaded is a copy."""

    def __init__(self) -> None:
        self.products: dict[str, tuple[int, bool]] = {}
        self.batches: dict[str, int] = {}

    async def load(
        self, skus: Collection[str], refs: Collection[str]
    ) -> tuple[dict[str, NotifiedProduct], dict[str, int]]:
        known = {sku: self.products.get(sku, (0, False)) for sku in skus}
        products = {sku: NotifiedProduct(sku, sequence, out) for sku, (sequence, out) in known.items()}
        return products, {ref: self.batches[ref] for ref in refs if ref in self.batches}

    async def save(self, products: Collection[NotifiedProduct], batches: Mapping[str, int]) -> None:
        self.products |= {product.sku: (product.sequence, product.out_of_stock) for product in products}
        self.batches |= batches


class FakeMailer:
    """`faults` are raised by the sends to come, in turn."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.sent: list[str] = []

    async def send(self, mail: Mail) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.sent.append(mail.body)


class Post:
    """A notifier over fakes."""

    def __init__(self, *faults: Exception, memory: FakeMemory | None = None) -> None:
        self.mailer = FakeMailer(*faults)
        self.memory = memory or FakeMemory()
        self.pauses = Pauses()
        self._notifier = Notifier(self.memory, self.mailer, ALL_ADDRESSES, consumer_group="notifier", sleep=self.pauses)

    async def read(self, *events: tuple[int, ProductMessage]) -> None:
        await self._notifier.handle(
            [
                message(
                    each.ce_type,
                    f"event-{sequence}",
                    headers=[("ce_sequence", str(sequence).encode())],
                    **each.model_dump(mode="json"),
                )
                for sequence, each in events
            ]
        )


async def test_sends_what_the_events_call_for_in_order() -> None:
    post = Post()

    await post.read((1, batch(10)), (2, ALLOCATED), (3, RUN_OUT), (4, RUN_OUT))

    assert post.mailer.sent == ["Order order-1 allocated to batch-1", "Out of stock for CHAIR"]
    assert post.memory.products == {SKU: (4, True)}
    assert post.memory.batches == {"batch-1": 10}


async def test_an_event_that_comes_again_mails_nothing() -> None:
    post = Post()
    await post.read((1, batch(10)), (2, ALLOCATED))
    await post.read((1, batch(10)), (2, ALLOCATED), (3, RUN_OUT), (4, LOW))
    after = Post(memory=post.memory)
    await after.read((3, RUN_OUT), (4, LOW))

    expected = ["Order order-1 allocated to batch-1", "Out of stock for CHAIR", "Low stock for CHAIR: 4 left"]
    assert (post.mailer.sent, after.mailer.sent) == (expected, [])


async def test_remembers_over_a_restart_that_the_buyers_know() -> None:
    before = Post()
    await before.read((1, RUN_OUT))
    after = Post(memory=before.memory)
    await after.read((2, RUN_OUT))

    assert (before.mailer.sent, after.mailer.sent) == (["Out of stock for CHAIR"], [])


async def test_a_mail_server_that_is_down_delays_the_mail() -> None:
    post = Post(*[TemporarilyUnavailableError("connection refused")] * 8)

    await post.read((1, RUN_OUT), (2, ALLOCATED))

    assert post.mailer.sent == ["Out of stock for CHAIR", "Order order-1 allocated to batch-1"]
    assert len(post.pauses.seconds) == 8
    assert post.pauses.seconds == sorted(post.pauses.seconds)
    assert post.pauses.seconds[-1] <= 5


async def test_a_mail_that_is_refused_for_good_holds_up_nothing() -> None:
    post = Post(MailRefusedError("no such address"))

    await post.read((1, RUN_OUT), (2, ALLOCATED))

    assert post.mailer.sent == ["Order order-1 allocated to batch-1"]
    assert post.memory.products == {SKU: (2, True)}


async def test_what_is_no_event_of_ours_is_passed_over() -> None:
    post = Post()
    odd = [
        record([], b"?"),
        record([("ce_id", b"1"), ("ce_type", b"out_of_stock.v1")], b'{"sku": "CHAIR", "order_id": "o", "qty": 1}'),
        message("out_of_stock.v1", headers=[("ce_sequence", b"one")], sku=SKU, order_id="o", qty=1),
        message("out_of_stock.v1", headers=[("ce_sequence", b"1")], sku=SKU),
        message("something_new.v9", headers=[("ce_sequence", b"1")], sku=SKU),
        record([("ce_id", b"1"), ("ce_type", b"out_of_stock.v1"), ("ce_type", b"something_new.v9")], b"{}"),
    ]

    await post._notifier.handle(odd)

    assert post.mailer.sent == []
    assert post.memory.products == {}


async def test_without_a_mail_server_the_mail_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        await LogMailer().send(Mail("stock@made.com", "s", "Out of stock for CHAIR"))

    assert "mail to stock@made.com: Out of stock for CHAIR" in caplog.text


@pytest.mark.parametrize("url", ["http://localhost:25", "smtp://", "localhost:25"])
def test_a_url_that_is_no_mail_server_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(ValueError, match="is not a mail server"):
        SmtpMailer(url, "allocations@example.com")


async def test_holds_cause_no_mail() -> None:
    post = Post()
    held_until = datetime(2030, 1, 1, tzinfo=UTC)
    held = LineHeldV1(sku=SKU, order_id="order-1", qty=3, batch_ref="batch-1", held_until=held_until)
    released = HoldReleasedV1(sku=SKU, order_id="order-1", qty=3, batch_ref="batch-1", reason="expired")
    refused = AllocationFailedV1(sku=SKU, order_id="order-2", qty=9, reason="out_of_stock")

    await post.read((1, batch(3)), (2, held), (3, refused), (4, released), (5, held))
    assert post.mailer.sent == []

    await post.read((6, ALLOCATED))
    assert post.mailer.sent == ["Order order-1 allocated to batch-1"]


async def test_a_refused_hold_raises_no_event_that_causes_mail() -> None:
    shop = Product("CHAIR")
    shop.create_batch("batch-1", 3, None)
    shop.take_events()
    with pytest.raises(OutOfStockError):
        shop.allocate(OrderLine("order-1", "CHAIR", 4), "reject", held_until=datetime(2030, 1, 1, tzinfo=UTC))

    assert [type(event).__name__ for event in shop.take_events()] == ["AllocationFailed"]
    assert "allocation_failed.v1" not in handled_events(Addresses("buyers@example.com", "warehouse@example.com"))


def test_allocations_are_handled_only_if_the_warehouse_has_an_address() -> None:
    assert "line_allocated.v1" not in handled_events(Addresses("buyers@example.com", None))
    assert "line_allocated.v1" in handled_events(Addresses("buyers@example.com", "warehouse@example.com"))
