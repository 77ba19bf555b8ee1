"""Demand history, model versions and forecasts."""
