"""Stand-ins for `nvidia-smi` and `nvidia-cuda-mps-control` that share one small driver state.

Standard library only, and no import from the rest of `bench`: the installed executables load this folder
as the package `driver`, so that a call costs little more than the start
of the interpreter (14 ms of CPU where that takes 9). Runs on a simulated device spare that, too: `server` answers
their questions, a forked process each. The simulator imports `bench.simulator.driver`.
"""
