"""Changing the device: enter a mode, prove it, and put everything back."""
