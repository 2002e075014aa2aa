"""The questions that the service answers, straight from the tables and past the aggregates."""
