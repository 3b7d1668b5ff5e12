"""The parts of the inference server: what may be asked, batching, the models, metrics, and the HTTP side."""
