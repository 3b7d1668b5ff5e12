"""Programs that look at how the device is shared rather than work on it."""
