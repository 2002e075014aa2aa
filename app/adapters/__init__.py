"""The ports of the service layer over PostgreSQL, Kafka and SMTP."""
