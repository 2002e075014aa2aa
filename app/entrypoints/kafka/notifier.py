"""The notifier: a subscriber of the published events that sends mail. An outage of the mail server delays only mail.

Mail is sent at least once: the notifier saves its state after each mail, so only a crash between the two repeats it.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from aiokafka import ConsumerRecord

from app.adapters.postgresql.notifier_memory import NotifierMemory
from app.backoff import next_delay
from app.domain.fields import IDENTIFIER_PATTERN
from app.domain.limits import MAX_QUANTITY
from app.integration.cloudevents import CloudEvent, parse_leniently, well_formed
from app.integration.product_messages import BatchMessage, ProductMessage
from app.observability import logging as observed
from app.observability import metrics, tracing
from app.service_layer.notifications import Addresses, Mail, Mailer, MailRefusedError, handled_events, react
from app.service_layer.ports import Cause, TemporarilyUnavailableError

log = logging.getLogger(__name__)

FIRST_BACKOFF = 0.2
LONGEST_BACKOFF = 5.0
IDENTIFIER_FIELDS = frozenset({"sku", "ref", "order_id", "batch_ref"})


@dataclass(frozen=True, slots=True)
class _Event:
    cause: Cause
    topic: str
    sequence: int
    message: ProductMessage


class Notifier:
    """Reads events in order and sends the mail that they cause."""

    def __init__(
        self,
        memory: NotifierMemory,
        mailer: Mailer,
        addresses: Addresses,
        *,
        consumer_group: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._memory = memory
        self._mailer = mailer
        self._addresses = addresses
        self._models = handled_events(addresses)
        self._types = {("ce_type", name.encode()) for name in self._models}
        self._consumer_group = consumer_group
        self._sleep = sleep

    async def handle(self, records: Sequence[ConsumerRecord]) -> None:
        """Return when every mail that the records cause is sent or permanently refused."""
        # Most events cause no mail, so the type is looked at before anything is parsed.
        wanted = (record for record in records if not self._types.isdisjoint(record.headers))
        events = [event for record in wanted if (event := self._read(record)) is not None]
        if not events:
            return
        skus = {event.message.sku for event in events}
        refs = {event.message.ref for event in events if isinstance(event.message, BatchMessage)}
        products, batches = await self._memory.load(skus, refs)
        for event in events:
            product = products[event.message.sku]
            if event.sequence <= product.sequence:
                continue
            product.sequence = event.sequence
            mail = react(event.message, product, batches, self._addresses)
            if mail is not None:
                with self._in_context(event):
                    await self._send(mail, event.message.ce_type)
                    await self._memory.save([product], batches)
        await self._memory.save(list(products.values()), batches)

    def _read(self, record: ConsumerRecord) -> _Event | None:
        """The event, if it is one of this service, of a type that is handled."""
        event = parse_leniently(record.headers, record.value)
        model = self._models.get(event.type)
        if model is None:
            return None  # Another program has sent the type more than once.
        try:
            message = model.model_validate_json(event.data)
            _check(message)
            return _Event(_cause(event), record.topic, _sequence(event), message)
        except ValueError as error:
            log.warning(
                "%s[%d]@%d is not an event of this service: %s", record.topic, record.partition, record.offset, error
            )
            return None

    async def _send(self, mail: Mail, kind: str) -> None:
        """Retry until the mail server has accepted or permanently refused the mail."""
        backoff = 0.0
        while True:
            try:
                await self._mailer.send(mail)
            except MailRefusedError as error:
                log.error("the mail to %s was permanently refused: %s", mail.to, error)  # noqa: TRY400
                metrics.mail_failures.inc()
                return
            except TemporarilyUnavailableError as error:
                metrics.mail_failures.inc()
                backoff = next_delay(backoff, first=FIRST_BACKOFF, longest=LONGEST_BACKOFF)
                log.warning("the mail to %s is retried in %.1f s: %s", mail.to, backoff, error)
                await self._sleep(backoff)
            else:
                metrics.mails.labels(kind).inc()
                return

    @contextmanager
    def _in_context(self, event: _Event) -> Iterator[None]:
        """Add the ids of the event to the log, and a span to its trace."""
        event_id = event.cause.causation_id
        attributes = {
            **tracing.messaging("process", event.topic, self._consumer_group),
            "messaging.message.id": event_id,
            "allocation.event": event.message.ce_type,
        }
        with (
            observed.bound(event.cause, event_id),
            tracing.following("consumer", "notify", event.cause.traceparent, attributes),
        ):
            yield


def _cause(event: CloudEvent) -> Cause:
    if well_formed(event.id) is None:
        message = f"its ce_id is {event.id[:100]!r}"
        raise ValueError(message)
    return Cause(event.id, well_formed(event.correlation_id) or event.id, well_formed(event.traceparent))


def _sequence(event: CloudEvent) -> int:
    text = event.sequence or ""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**63:
        message = f"its ce_sequence is {event.sequence!r}"
        raise ValueError(message)
    return int(text)


def _check(message: ProductMessage) -> None:
    """Refuse values that this service never publishes: other programs may write to the topic."""
    for name, value in message:
        if name in IDENTIFIER_FIELDS and value is not None and not re.fullmatch(IDENTIFIER_PATTERN, value):
            text = f"{name} is not an identifier"
            raise ValueError(text)
        if name == "qty" and value > MAX_QUANTITY:
            text = f"qty is over {MAX_QUANTITY}"
            raise ValueError(text)
