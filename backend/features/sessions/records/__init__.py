"""Sessions from somebody else's books: read, checked, named, stored."""
