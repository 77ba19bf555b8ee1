"""TASCO, the Trip-Aware Smart Charging Orchestrator."""

__version__ = "0.1.0"
