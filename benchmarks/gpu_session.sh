#!/usr/bin/env bash
# One visit to a borrowed GPU, in under nine minutes: all that needs the real thing, collected in a few small files.
set -euo pipefail

usage() {
    cat <<'EOF'
Usage: OUT=DIR benchmarks/gpu_session.sh [--device cuda|cpu] [--python PYTHON] [--wheels DIR] [--short]

What the machine is, what doctor says of it, the selftest, and how fast each workload is alone. Needs neither
network nor Docker nor root, only a Python that has torch, and changes no setting of the GPU. DIR gets:

  session.txt      what each step took and how it ended
  environment.txt  versions, and the driver's own table
  doctor.json      what this machine can measure
  summary.md       what the selftest found
  speeds.txt       each workload alone
  session.tar.gz   all of it with the whole selftest; its folder selftest-* bears no marks of the machine, the rest may

  --device DEVICE  cuda (assumed) or cpu
  --python PYTHON  the interpreter (assumed: python3)
  --wheels DIR     wheels of Python packages that it lacks; they go into a temporary folder
  --short          two seconds for each workload instead of eight

Exit code: 0 if every step ended well, 1 if one did not, 2 for wrong usage.
EOF
}

device=cuda python=python3 wheels='' seconds=8
while (($#)); do
    case $1 in
        --device | --python | --wheels) (($# > 1)) || { usage >&2 && exit 2; } ;;&
        --device) device=$2 && shift 2 ;;
        --python) python=$(realpath -s -- "$(command -v -- "$2" || echo "$2")") && shift 2 ;;
        --wheels) wheels=$(realpath -- "$2") && shift 2 ;;
        --short) seconds=2 && shift ;;
        --help | -h) usage && exit ;;
        *) usage >&2 && exit 2 ;;
    esac
done
[[ -n ${OUT:-} && $device =~ ^(cuda|cpu)$ ]] || { usage >&2 && exit 2; }

LIMIT_S=530
mkdir -p "$OUT"
OUT=$(realpath -- "$OUT")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
code=0

# step NAME LIMIT_S FILE COMMAND...: run it with its output in FILE, for LIMIT_S or what is left of the visit.
step() {
    local name=$1 limit=$2 file=$3 began=$SECONDS left=$((LIMIT_S - SECONDS)) status=0
    shift 3
    if ((left < 5)); then
        printf '%s: no time left\n' "$name" | tee -a "$OUT/session.txt"
        code=1
        return
    fi
    timeout --kill-after=40 $((limit < left ? limit : left)) "$@" >"$OUT/$file" 2>"$scratch/errors" || status=$?
    printf '%s: exit code %d after %d s\n' "$name" "$status" $((SECONDS - began)) | tee -a "$OUT/session.txt"
    sed 's/^/    /' "$scratch/errors" | tail -n 30 | tee -a "$OUT/session.txt"
    ((status == 0)) || code=1
}

# shellcheck disable=SC2329 # called by its name, from the shell that a step starts
environment() {
    uname -srm
    nproc
    "$python" --version
    "$python" -m pip list --disable-pip-version-check || true
    [[ $device == cpu ]] || nvidia-smi
}
export -f environment
export python device

: >"$OUT/session.txt"
if [[ -n $wheels ]]; then
    step wheels 60 wheels.txt "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir \
        --target "$scratch/site" "$wheels"/*.whl
    export PYTHONPATH=$scratch/site${PYTHONPATH:+:$PYTHONPATH}
fi
export PYTHONUNBUFFERED=1
step environment 30 environment.txt bash -c environment
step doctor 60 doctor.json "$python" -m bench doctor --json --device "$device"
step selftest 370 summary.md "$python" -m bench selftest --device "$device" --output "$scratch/kept" --within 300 --quiet
step speeds 300 speeds.txt "$python" benchmarks/solo_speeds.py --device "$device" --seconds "$seconds"
mkdir -p "$scratch/kept"
find "$OUT" -maxdepth 1 -type f ! -name '*.tar.gz' -exec cp -t "$scratch/kept" {} +
tar -czf "$OUT/session.tar.gz" -C "$scratch/kept" .
exit "$code"
