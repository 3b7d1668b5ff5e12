"""Programs that behave as people at a keyboard do."""
