"""Events: the outbox, its relay, and the bus that delivers them."""
