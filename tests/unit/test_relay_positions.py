"""The positions of the relay, for partitions and for subjects that are refused."""

from datetime import UTC, datetime

from app.entrypoints.kafka.relay_positions import Positions, Refusal, queue_of

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_subject_that_has_caught_up_returns_to_its_partition_while_that_is_refused() -> None:
    refused = {(1, None): Refusal(50, WHEN), (1, "CHAIR"): Refusal(40, WHEN, has_caught_up=True)}
    positions = Positions(start=60, refused=dict(refused))
    positions.take_back()

    # Its events after 40 are read again: the partition had passed over them.
    assert positions.refused == {(1, None): Refusal(40, WHEN)}
    assert positions.start == 60


def test_queues_that_have_caught_up_are_read_from_the_first_of_their_positions() -> None:
    positions = Positions(
        start=60,
        refused={
            (1, "CHAIR"): Refusal(40, WHEN, has_caught_up=True),
            (2, None): Refusal(50, WHEN, has_caught_up=True),
            (3, "LAMP"): Refusal(30, WHEN),
        },
    )
    positions.take_back()

    assert positions.refused == {(3, "LAMP"): Refusal(30, WHEN)}
    assert positions.start == 40


def test_an_event_belongs_to_its_subject_before_its_partition() -> None:
    refused = {(1, None), (1, "CHAIR")}
    assert queue_of(refused, 1, "CHAIR") == (1, "CHAIR")
    assert queue_of(refused, 1, "LAMP") == (1, None)
    assert queue_of(refused, 2, "CHAIR") is None
