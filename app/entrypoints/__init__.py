"""The ways in and out: parse, hand to the bus, answer. No rule of the business lives here."""
