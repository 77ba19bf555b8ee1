"""How large a simulated fleet may be."""

MOST_CELLS = 400_000
MOST_SEALED_VEHICLES = 200
