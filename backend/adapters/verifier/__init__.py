"""Judges credentials: a strict gate, two signature engines, trust, dates and status."""
