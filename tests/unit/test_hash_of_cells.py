"""The function that chooses cells is that of Apache Kafka's default partitioner."""

import pytest

from app.service_layer.cells import murmur2


@pytest.mark.parametrize(
    ("key", "number"),
    # From UtilsTest.testMurmur2 of Apache Kafka.
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_a_key_has_the_hash_of_apache_kafka(key: str, number: int) -> None:
    assert murmur2(key.encode()) == number & 0xFFFFFFFF
