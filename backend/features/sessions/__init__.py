"""Plug-in to departure: plan, meter values, completion, incentives."""
