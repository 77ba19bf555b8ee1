"""Trip energy and charging schedules: pure functions of dataclasses and arrays."""
