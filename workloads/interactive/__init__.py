"""Interactive jobs."""
