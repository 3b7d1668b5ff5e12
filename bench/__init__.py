"""The benchmark of ways to share one NVIDIA GPU. Start reading at `bench/experiment.py`."""
