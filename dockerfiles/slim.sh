#!/bin/sh
# Take out of a virtual environment with torch what no job can need, and say how much each thing weighed.
# Usage: slim.sh VENV. Runs while the base image is built; tests/launch/engine/test_docker_images.py proves there that
# all libraries still find each other, and that training and torch.compile still work.
set -eu
cd "$1"/lib/python3*/site-packages

weight_mb() {
    du -c --block-size=1000000 "$@" | sed -n 's/\ttotal$//p'
}

# Say it where a pattern finds nothing any more: a new version has moved or lost these files.
say() {
    printf '%6s MB  %s\n' "$1" "$2"
}

drop() { # WHY FILE...
    why=$1
    shift
    [ -e "$1" ] || { say none "$why"; return; }
    say "$(weight_mb "$@")" "$why"
    rm -r "$@"
}

strip_symbols() { # WHY FILE...
    why=$1
    shift
    before=$(weight_mb "$@")
    strip --strip-unneeded "$@"
    say $((before - $(weight_mb "$@"))) "$why"
}

# shellcheck disable=SC2046 # names of libraries have no spaces
drop 'static libraries: nothing is linked statically in a job' $(find . -name '*.a')
drop 'NVSHMEM as bitcode: only for compiling kernels that call it across GPUs' nvidia/nvshmem/lib/*.bc
drop 'cuSOLVER for several GPUs: no library of torch is linked to it' nvidia/cu13/lib/libcusolverMg.so.*
drop 'CUPTI for the profiler of triton; that of torch has its own, which stays' triton/backends/nvidia/lib/cupti*
drop 'hardware counters for profilers: nothing is linked to them' nvidia/cu13/lib/libnvperf_*.so
drop 'compiler of protocol buffers: for building torch' torch/bin/protoc*
drop 'the backend of triton for AMD' triton/backends/amd
sed -i '/^amd = /d' triton-*.dist-info/entry_points.txt # triton imports every backend that is named here

# The linker needs .dynsym alone. Other libraries are left as they are: they hold little of this, and tools that repair
# wheels leave some in a state that strip breaks.
strip_symbols 'what debuggers need: debug sections and full symbol tables' \
    triton/_C/libtriton.so triton/_C/libproton.so torch/lib/libtorch_cpu.so torch/lib/libtorch_cuda.so \
    torch/lib/libtorch_python.so nvidia/nccl/lib/libnccl.so.*
