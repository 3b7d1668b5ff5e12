"""Training jobs: real steps (forward, loss, backward, optimizer) on synthetic data."""
