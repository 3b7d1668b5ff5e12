"""Pure functions on numbers: arrays in, numbers out. Absent is None; nonsense raises ValueError."""
