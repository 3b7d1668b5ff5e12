"""From records to what they say: windows, co-location metrics, contrasts, answers. Nothing here writes a file."""
