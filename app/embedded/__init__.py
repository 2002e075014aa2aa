"""The development stack: real PostgreSQL and a Kafka-protocol broker from wheels, without Docker, a JVM or root."""
