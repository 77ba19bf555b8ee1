"""What reads across rooms: analytics."""
