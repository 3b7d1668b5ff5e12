#!/usr/bin/env bash
# Stop the MPS daemon that enable_mps.sh started in a pipe directory, and remove the directory.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
    cat <<EOF
Usage: disable_mps.sh --gpu UUID --pipe-directory DIR [--dry-run]

Ask the daemon in DIR to quit (ten seconds for its clients), then end it and its servers with TERM and KILL if they
live on, and remove DIR. A daemon that enable_mps.sh did not start for this GPU is not touched. Fine if none runs.

  --gpu UUID             the GPU, as nvidia-smi -L names it (GPU-...)
  --pipe-directory DIR   as it was given to enable_mps.sh
  --dry-run              print the commands that would change something; change nothing

RESULT pipe_directory=DIR changed=yes|no [stop_s=SECONDS]
$EXIT_CODES
EOF
}

pipe_directory=''
while (($#)); do
    case $1 in
        --pipe-directory) need_value "$@" && pipe_directory=$2 && shift 2 ;;
        *) common_option "$@" && shift "$shifted" ;;
    esac
done
require_gpu
require_directory_name --pipe-directory "$pipe_directory"
require_tool nvidia-cuda-mps-control

if [[ ! -d $pipe_directory ]]; then
    result pipe_directory "$pipe_directory" changed no
    exit
fi
if ! is_empty_directory "$pipe_directory"; then
    mps_owner
    [[ $owner == "$gpu" ]] ||
        die $IN_USE "$pipe_directory belongs to ${owner:-someone else}, not to this GPU" "stop that daemon where it was started"
fi
if [[ $dry_run == yes ]]; then
    printf "+ echo 'quit -t 10' | CUDA_MPS_PIPE_DIRECTORY=%q nvidia-cuda-mps-control\n+ rm -rf %q\n" \
        "$pipe_directory" "$pipe_directory"
    end_of_dry_run
fi
timed stop mps_stop
[[ ! -e $pipe_directory ]] || die $FAILED "$pipe_directory is still there" "remove it by hand"
result pipe_directory "$pipe_directory" changed yes
