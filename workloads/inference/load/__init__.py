"""A load generator: arrivals, scenarios, an HTTP client that keeps time, and the search for the highest rate."""
