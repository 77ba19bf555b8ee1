"""Demand features, models and metrics: pure functions of dataclasses and arrays."""
