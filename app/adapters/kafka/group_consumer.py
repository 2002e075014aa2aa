"""A consumer in a group that notices that a topic was deleted and created again.

The offsets of the new topic begin at 0, and the names of topic and partitions are the same. So an offset of the old
topic would skip records of the new one. The id of the topic is committed with each offset, as its metadata.
"""

import asyncio
import logging
from collections.abc import Collection

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError

from app.adapters.kafka.topic_metadata import identify

log = logging.getLogger(__name__)

ATTEMPTS = 5
ATTEMPT_INTERVAL = 0.2
IDENTIFY_TIMEOUT = 5.0


class TopicCreatedAgainError(Exception):
    """A topic was deleted and created again since its partitions were assigned."""


class GroupConsumer(AIOKafkaConsumer, ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """Begins at offset 0 where the committed offset belongs to an earlier topic of that name.

    `topic_ids` are the ids of the topics at the last assignment. They lack a topic whose id is unknown: a broker before
    Apache Kafka 3.1 has none. `subscribe_to` has to be called before `start`.
    """

    def subscribe_to(self, topics: Collection[str]) -> None:
        """Subscribe to the topics."""
        self.topic_ids: dict[str, str] = {}
        self._are_compared = asyncio.Event()
        self.subscribe(list(topics), listener=self)

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """The next records; none before the ids of the assigned topics are compared. aiokafka fetches before that.

        Waits at most `timeout_ms` for each of the two. Raises the errors of the group, and those of a fetch.
        """
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await self._are_compared.wait()
        except TimeoutError:
            self._coordinator.check_errors()
            return {}
        return await super().getmany(*partitions, timeout_ms=timeout_ms, max_records=max_records)  # type: ignore[no-any-return]

    async def check_topics(self) -> None:
        """Raise TopicCreatedAgainError if a topic is not that of the last assignment."""
        for topic, known in list(self.topic_ids.items()):
            present = await self._id_of(topic, attempts=1)
            if present and self.topic_ids.get(topic) == known != present:
                message = f"{topic} was deleted and created again"
                raise TopicCreatedAgainError(message)

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:  # noqa: ARG002 - the interface
        """Wait for the next assignment. Offsets are committed after each batch."""
        self._are_compared.clear()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Compare the committed ids with the present ones."""
        try:
            await self._compare(assigned)
        finally:
            self._are_compared.set()

    async def _compare(self, assigned: Collection[TopicPartition]) -> None:
        ids = {topic: await self._id_of(topic, attempts=ATTEMPTS) for topic in {tp.topic for tp in assigned}}
        self.topic_ids = {topic: id_ for topic, id_ in ids.items() if id_}
        committed = await self._coordinator.fetch_committed_offsets(list(assigned))
        for tp, offset in committed.items():
            # Other programs, and releases before this one, commit no id.
            if offset.metadata and ids[tp.topic] and offset.metadata != ids[tp.topic]:
                log.warning(
                    "%s[%d] is read from its beginning: the offset %d is that of an earlier topic of this name",
                    tp.topic,
                    tp.partition,
                    offset.offset,
                )
                self.seek(tp, 0)

    async def _id_of(self, topic: str, *, attempts: int) -> str:
        """The id of the topic; empty if it is unknown."""
        for attempt in range(attempts):
            if attempt:
                await asyncio.sleep(ATTEMPT_INTERVAL)
            try:
                async with asyncio.timeout(IDENTIFY_TIMEOUT):
                    found = (await identify(self, topic)).id
                    return found.hex() if any(found) else ""
            except (KafkaError, TimeoutError) as error:
                log.info("the id of the topic %s is unknown: %r", topic, error)
        return ""
