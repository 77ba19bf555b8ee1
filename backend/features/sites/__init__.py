"""Sites, chargers, sales tariffs and purchase prices."""
