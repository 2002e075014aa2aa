"""Kafka: the inbound consumer, the relay of the outbox, and the notifier."""
