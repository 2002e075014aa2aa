"""Kafka clients with safe settings."""
