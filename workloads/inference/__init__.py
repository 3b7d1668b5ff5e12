"""Inference jobs."""
