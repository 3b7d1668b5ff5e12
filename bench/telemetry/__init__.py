"""Watching the device while jobs run."""
