"""Vehicles, their batteries and their trips."""
