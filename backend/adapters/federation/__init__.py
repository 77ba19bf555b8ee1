"""How tasks reach participants: threads here, Flower's SuperLink, and what both share."""
