"""PostgreSQL: the unit of work, its repositories, the outbox, and what operators read."""
