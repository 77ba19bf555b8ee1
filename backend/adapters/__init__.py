"""Doors to the outside: one small interface each, an embedded default, the real thing."""
