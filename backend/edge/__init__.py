"""What runs away from the service, on a gateway at the site: no database, no web framework."""
