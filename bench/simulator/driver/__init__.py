"""Stand-ins for `nvidia-smi` and `nvidia-cuda-mps-control` that share one small driver state.

Standard library only, and no import from the rest of `bench`: the installed executables load this folder
as the package `driver`, so that they start in about 25 ms. The simulator imports `bench.simulator.driver`.
"""
