#!/usr/bin/env bash
# Start a private MPS daemon for one GPU and wait until it is healthy.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
    cat <<EOF
Usage: enable_mps.sh --gpu UUID --pipe-directory DIR --log-directory DIR [--active-thread-percentage P] [--dry-run]

Start an MPS control daemon that serves this GPU alone, in directories of its own, with the version 2 interface.
Clients reach it by CUDA_MPS_PIPE_DIRECTORY=DIR. A healthy daemon that is as asked is left as it is; another one
in the same directory is never touched. Compute mode is left alone.

  --gpu UUID                     the GPU, as nvidia-smi -L names it (GPU-...)
  --pipe-directory DIR           absolute; DIR/control must fit in 107 bytes
  --log-directory DIR            absolute; gets control.log and server.log
  --active-thread-percentage P   default share of SMs for every client, above 0 to 100
  --dry-run                      print the commands that would change something; change nothing

RESULT pipe_directory=DIR log_directory=DIR daemon_pid=PID active_thread_percentage=P changed=yes|no
       [start_s=SECONDS, from its start until it answers]
$EXIT_CODES
EOF
}

pipe_directory='' log_directory='' percentage=100
while (($#)); do
    case $1 in
        --pipe-directory) need_value "$@" && pipe_directory=$2 && shift 2 ;;
        --log-directory) need_value "$@" && log_directory=$2 && shift 2 ;;
        --active-thread-percentage) need_value "$@" && percentage=$2 && shift 2 ;;
        *) common_option "$@" && shift "$shifted" ;;
    esac
done
require_gpu
require_directory_name --pipe-directory "$pipe_directory"
require_directory_name --log-directory "$log_directory"
require_tool nvidia-cuda-mps-control
((${#pipe_directory} + 8 <= 107)) ||
    die $USAGE "$pipe_directory/control has more than 107 bytes, too long for a socket" "choose a shorter --pipe-directory"
[[ $percentage =~ ^(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)$ && ! $percentage =~ ^0+(\.0+)?$ ]] ||
    die $USAGE "--active-thread-percentage $percentage is not above 0 and at most 100" "give a number such as 50"
printf -v percentage '%.1f' "$percentage"

report() {
    mps_pid
    result pipe_directory "$pipe_directory" log_directory "$log_directory" daemon_pid "$pid" \
        active_thread_percentage "$percentage_found" changed "$1"
}

# start_daemon: without the caller's open files (a lock among them), and without the pipe of $(...), which the
# daemon would hold open for ever.
start_daemon() {
    (
        for fd in /proc/"$BASHPID"/fd/*; do
            fd=${fd##*/}
            ((fd <= 2)) || exec {fd}>&-
        done
        export CUDA_VISIBLE_DEVICES=$gpu CUDA_MPS_PIPE_DIRECTORY=$pipe_directory CUDA_MPS_LOG_DIRECTORY=$log_directory
        export CUDA_MPS_PROTOCOL_VERSION=2 CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=$percentage
        exec timeout --kill-after=5 "$TOOL_TIMEOUT_S" nvidia-cuda-mps-control -d
    ) </dev/null >"$log_directory/start.log" 2>&1
}

# await_daemon: `-d` returns before the daemon accepts commands.
await_daemon() {
    local deadline=$((SECONDS + (TOOL_TIMEOUT_S < 10 ? TOOL_TIMEOUT_S : 10)))
    until mps_probe; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

bring_up() {
    start_daemon || give_up "nvidia-cuda-mps-control -d failed"
    await_daemon || give_up "the MPS daemon does not answer: $said"
}

give_up() {
    local log=''
    [[ ! -s $log_directory/start.log ]] || log=" (said: $(<"$log_directory/start.log"))"
    mps_stop
    die $FAILED "$1$log" "read $log_directory/control.log"
}

observe
[[ $mig_mode != Enabled ]] || die $FAILED "MIG mode is on" "${0%/*}/disable_mig.sh --gpu $gpu"

if [[ -d $pipe_directory ]] && ! is_empty_directory "$pipe_directory"; then
    mps_owner
    [[ -n $owner ]] ||
        die $IN_USE "$pipe_directory was not made by enable_mps.sh" "choose another --pipe-directory, or remove it by hand"
    if mps_probe; then
        [[ $owner == "$gpu" && $percentage_found == "$percentage" ]] ||
            die $IN_USE "a daemon for $owner at $percentage_found % is alive in $pipe_directory" "disable_mps.sh first"
        report no
        exit
    fi
    if [[ $dry_run == yes ]]; then
        printf '+ rm -rf %q\n' "$pipe_directory"
    else
        mps_stop # a stale one of ours: its daemon died
    fi
fi

if [[ $dry_run == yes ]]; then
    printf '+ mkdir -p %q %q\n' "$pipe_directory" "$log_directory"
    printf '+ CUDA_VISIBLE_DEVICES=%s CUDA_MPS_PIPE_DIRECTORY=%q CUDA_MPS_LOG_DIRECTORY=%q CUDA_MPS_PROTOCOL_VERSION=2 ' \
        "$gpu" "$pipe_directory" "$log_directory"
    printf 'CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=%s nvidia-cuda-mps-control -d\n' "$percentage"
    end_of_dry_run
fi

# Jobs of another user must be able to reach the socket in the directory, not to list it.
(umask 066 && mkdir -p -- "$pipe_directory" "$log_directory") ||
    die $NO_PERMISSION "cannot create $pipe_directory or $log_directory" "choose directories that you may write"
printf '%s\n' "$gpu" >"$pipe_directory/$OWNER_FILE"
timed start bring_up
[[ $percentage_found == "$percentage" ]] || give_up "the daemon grants $percentage_found %, not $percentage %"
report yes
