"""What callers can do: one room per resource."""
