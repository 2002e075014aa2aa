"""The development stack: PostgreSQL and a Kafka-protocol broker out of wheels, as child processes."""
