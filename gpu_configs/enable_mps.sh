#!/usr/bin/env bash
# Start a private MPS daemon for one GPU and wait until it is healthy.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
    cat <<EOF
Usage: enable_mps.sh --gpu UUID --pipe-directory DIR --log-directory DIR [--active-thread-percentage P]
                     [--pinned-memory-limit SIZE] [--exclusive-process] [--dry-run]

Start an MPS control daemon that serves this GPU alone, in directories of its own, with the version 2 interface.
Clients reach it by CUDA_MPS_PIPE_DIRECTORY=DIR. A healthy daemon that is as asked is left as it is; another one
in the same directory is never touched. Compute mode is left alone unless --exclusive-process is given.

  --gpu UUID                     the GPU, as nvidia-smi -L names it (GPU-...)
  --pipe-directory DIR           absolute; DIR/control must fit in 107 bytes
  --log-directory DIR            absolute; gets control.log and server.log
  --active-thread-percentage P   default share of SMs for every client, above 0 to 100
  --pinned-memory-limit SIZE     default limit of device memory for every client, such as 40G or 512M
  --exclusive-process            set compute mode EXCLUSIVE_PROCESS: a program that misses the daemon then fails, where
                                 it would take time slices. After disable_mps.sh, setup_time_slicing.sh puts it back
  --dry-run                      print the commands that would change something; change nothing

RESULT pipe_directory=DIR log_directory=DIR daemon_pid=PID active_thread_percentage=P
       [pinned_memory_limit=SIZE] [compute_mode=Exclusive_Process] changed=yes|no
       [start_s=SECONDS, from its start until it answers]
$EXIT_CODES
EOF
}

pipe_directory='' log_directory='' percentage=100 memory_limit='' only_clients='' replaced=''
while (($#)); do
    case $1 in
        --pipe-directory) need_value "$@" && pipe_directory=$2 && shift 2 ;;
        --log-directory) need_value "$@" && log_directory=$2 && shift 2 ;;
        --active-thread-percentage) need_value "$@" && percentage=$2 && shift 2 ;;
        --pinned-memory-limit) need_value "$@" && memory_limit=$2 && shift 2 ;;
        --exclusive-process) only_clients=yes && shift ;;
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
[[ $memory_limit =~ ^([1-9][0-9]*[GM])?$ ]] ||
    die $USAGE "--pinned-memory-limit $memory_limit is not a whole number with G or M" "give a size such as 40G"
printf -v percentage '%.1f' "$percentage"

report() {
    mps_pid
    result pipe_directory "$pipe_directory" log_directory "$log_directory" daemon_pid "$pid" \
        active_thread_percentage "$percentage_found" ${memory_limit:+pinned_memory_limit "$memory_limit"} \
        ${only_clients:+compute_mode "$compute_mode"} changed "$1"
}

# is_limited: does the daemon grant new clients just the memory that was asked for? Sets `said`.
is_limited() {
    [[ -n $memory_limit ]] || return 0
    mps_say "get_default_device_pinned_mem_limit 0"
    [[ $(in_mib "$said") == "$(in_mib "$memory_limit")" ]]
}

# in_mib SIZE: 40G and 40960M are the same; anything else stays as it is.
in_mib() {
    [[ $1 =~ ^([0-9]+)G$ ]] && printf '%dM' $((BASH_REMATCH[1] * 1024)) || printf '%s' "$1"
}

limit_memory() {
    mps_say "set_default_device_pinned_mem_limit 0 $memory_limit"
    local answer=$said
    is_limited || give_up "the daemon limits memory to '$said', not to $memory_limit; it was told and said '$answer'"
}

# exclude_others: set the compute mode, unless it is so already; `include_others` undoes that.
exclude_others() {
    [[ -n $only_clients && $compute_mode != Exclusive_Process ]] || return 0
    local found=$compute_mode
    change -i "$gpu" -c EXCLUSIVE_PROCESS
    ((code == 0)) || refuse "nvidia-smi -c EXCLUSIVE_PROCESS" "nvidia-smi -q -i $gpu -d COMPUTE"
    replaced=$found
    [[ $dry_run == no ]] || return 0
    observe
    [[ $compute_mode == Exclusive_Process ]] || die $FAILED "compute mode is $compute_mode after -c EXCLUSIVE_PROCESS: $said" \
        "run it as root; without persistence mode the driver forgets it at once: nvidia-smi -i $gpu -pm 1"
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

include_others() {
    [[ -z $replaced ]] || smi -i "$gpu" -c "${replaced^^}"
}

give_up() {
    local log=''
    [[ ! -s $log_directory/start.log ]] || log=" (said: $(<"$log_directory/start.log"))"
    mps_stop
    include_others
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
        is_limited || die $IN_USE "a daemon with memory limit '$said' is alive in $pipe_directory" "disable_mps.sh first"
        exclude_others
        [[ -z $replaced ]] || end_of_dry_run
        if [[ -n $replaced ]]; then report yes; else report no; fi
        exit
    fi
    if [[ $dry_run == yes ]]; then
        printf '+ rm -rf %q\n' "$pipe_directory"
    else
        mps_stop # a stale one of ours: its daemon died
    fi
fi

exclude_others
if [[ $dry_run == yes ]]; then
    printf '+ mkdir -p %q %q\n' "$pipe_directory" "$log_directory"
    printf '+ CUDA_VISIBLE_DEVICES=%s CUDA_MPS_PIPE_DIRECTORY=%q CUDA_MPS_LOG_DIRECTORY=%q CUDA_MPS_PROTOCOL_VERSION=2 ' \
        "$gpu" "$pipe_directory" "$log_directory"
    printf 'CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=%s nvidia-cuda-mps-control -d\n' "$percentage"
    [[ -z $memory_limit ]] || printf "+ echo 'set_default_device_pinned_mem_limit 0 %s' | nvidia-cuda-mps-control\n" "$memory_limit"
    end_of_dry_run
fi

# Jobs of another user must be able to reach the socket in the directory, not to list it.
if ! (umask 066 && mkdir -p -- "$pipe_directory" "$log_directory"); then
    include_others
    die $NO_PERMISSION "cannot create $pipe_directory or $log_directory" "choose directories that you may write"
fi
printf '%s\n' "$gpu" >"$pipe_directory/$OWNER_FILE"
timed start bring_up
[[ $percentage_found == "$percentage" ]] || give_up "the daemon grants $percentage_found %, not $percentage %"
[[ -z $memory_limit ]] || limit_memory
report yes
