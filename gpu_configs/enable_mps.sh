#!/usr/bin/env bash
# Start a private MPS daemon for one GPU and wait until it is healthy.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
    cat <<EOF
Usage: enable_mps.sh --gpu UUID --pipe-directory DIR --log-directory DIR [--active-thread-percentage P]
                     [--pinned-memory-limit SIZE] [--exclusive-process]
                     [--static-partitions CHUNKS[,CHUNKS...]|none] [--mig-device UUID] [--dry-run]

Start an MPS control daemon that serves this GPU or one of its MIG devices alone, in directories of its own, with
the version 2 interface.
Clients reach it by CUDA_MPS_PIPE_DIRECTORY=DIR. A healthy daemon that is as asked is left as it is; another one
in the same directory is never touched. Compute mode is left alone unless --exclusive-process is given.

  --gpu UUID                     the GPU, as nvidia-smi -L names it (GPU-...)
  --pipe-directory DIR           absolute; DIR/control must fit in 107 bytes
  --log-directory DIR            absolute; gets control.log and server.log
  --active-thread-percentage P   default share of SMs for every client, above 0 to 100
  --pinned-memory-limit SIZE     default limit of device memory for every client, such as 40G or 512M
  --exclusive-process            set compute mode EXCLUSIVE_PROCESS: a program that misses the daemon then fails, where
                                 it would take time slices. After disable_mps.sh, setup_time_slicing.sh puts it back
  --static-partitions LIST       SMs that are kept for the clients of one partition, in chunks of 8 SMs (4 before Hopper):
                                 7,6 makes two partitions, none leaves all for later; each client then needs one in
                                 CUDA_MPS_SM_PARTITION. From driver 590 and Ampere on; if one fails, the daemon is stopped
  --mig-device UUID              serve this MIG device of the GPU (MIG-..., nvidia-smi -L)
  --dry-run                      print the commands that would change something; change nothing

RESULT pipe_directory=DIR log_directory=DIR daemon_pid=PID active_thread_percentage=P
       [pinned_memory_limit=SIZE] [compute_mode=Exclusive_Process] [partitions=ID,...] changed=yes|no
       [start_s=SECONDS, from its start until it answers]; partitions are in the option's order
$EXIT_CODES
EOF
}

pipe_directory='' log_directory='' percentage=100 memory_limit='' only_clients='' replaced='' static='' mig_device=''
while (($#)); do
    case $1 in
        --pipe-directory) need_value "$@" && pipe_directory=$2 && shift 2 ;;
        --log-directory) need_value "$@" && log_directory=$2 && shift 2 ;;
        --active-thread-percentage) need_value "$@" && percentage=$2 && shift 2 ;;
        --pinned-memory-limit) need_value "$@" && memory_limit=$2 && shift 2 ;;
        --exclusive-process) only_clients=yes && shift ;;
        --static-partitions) need_value "$@" && static=$2 && shift 2 ;;
        --mig-device) need_value "$@" && mig_device=$2 && shift 2 ;;
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
[[ $static =~ ^(|none|[1-9][0-9]*(,[1-9][0-9]*)*)$ ]] ||
    die $USAGE "--static-partitions '$static' is neither a list such as 7,6 nor none" "give each partition's chunks"
[[ -z $static || ($percentage == 100.0 && -z $mig_device) ]] ||
    die $USAGE "--static-partitions is for whole GPUs and leaves no room for percentages" "leave the other option out"
[[ -z $only_clients || -z $mig_device ]] ||
    die $USAGE "compute mode is that of the whole GPU" "leave --exclusive-process or --mig-device out"
[[ -z $mig_device || $mig_device =~ ^MIG-[0-9A-Za-z/-]+$ ]] ||
    die $USAGE "'$mig_device' is not the UUID of a MIG device" "nvidia-smi -L lists the UUIDs"
IFS=, read -ra chunks <<<"${static#none}"
served=${mig_device:-$gpu}
wanted="device=$served partitions=${static:-no}"

report() {
    mps_pid
    result pipe_directory "$pipe_directory" log_directory "$log_directory" daemon_pid "$pid" \
        active_thread_percentage "$percentage_found" ${memory_limit:+pinned_memory_limit "$memory_limit"} \
        ${only_clients:+compute_mode "$compute_mode"} ${static:+partitions "$partitions"} changed "$1"
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

# require_partitioning: an older driver knows no such option, an older board has no such partitions.
require_partitioning() {
    [[ ! $compute_cap =~ ^([0-9]+)\. ]] || ((BASH_REMATCH[1] >= 8)) ||
        die $UNABLE "static SM partitions need an Ampere board or a newer one (compute capability $compute_cap)" "do without"
    ask -i "$gpu" --query-gpu=driver_version --format=csv,noheader
    [[ ! $said =~ ([0-9]+)\.[0-9.]+$ ]] || ((BASH_REMATCH[1] >= 590)) ||
        die $UNABLE "static SM partitions need driver 590 or newer, this is ${said##*$'\n'}" "install a newer driver"
}

# require_device: is what is to be served there: a whole GPU, or a MIG device of this one?
require_device() {
    local line ours=no
    if [[ -z $mig_device ]]; then
        [[ $mig_mode != Enabled ]] || die $FAILED "MIG mode is on" "${0%/*}/disable_mig.sh --gpu $gpu"
        return
    fi
    ask -L
    while IFS= read -r line; do
        [[ $line != GPU* ]] || { [[ $line == *"(UUID: $gpu)"* ]] && ours=yes || ours=no; }
        [[ $ours == no || $line != *"(UUID: $mig_device)"* ]] || return 0
    done <<<"$said"
    die $FAILED "it has no MIG device $mig_device" "nvidia-smi -L lists what there is"
}

# list_partitions: fill `part_ids` and `part_chunks`, and set `free_chunks`; false where the daemon has no listing.
list_partitions() {
    local device name free used
    part_ids=() part_chunks=() free_chunks=''
    mps_say lspart
    while read -r device name free used _; do
        [[ $device == GPU-* && $gpu == "$device"* ]] || continue
        if [[ $name == - ]]; then free_chunks=$free; else part_ids+=("$gpu/$name") part_chunks+=("$used"); fi
    done <<<"$said"
    [[ $free_chunks =~ ^[0-9]+$ ]]
}

# partitioned: are just the wanted partitions there? Sets `partitions` to their ids, in the order of the option.
partitioned() {
    local size place
    partitions=''
    [[ -n $static ]] || return 0
    list_partitions && ((${#part_ids[@]} == ${#chunks[@]})) || return 1
    for size in "${chunks[@]}"; do
        for place in "${!part_ids[@]}"; do
            [[ ${part_chunks[place]} != "$size" ]] || { partitions+=,${part_ids[place]} && break; }
        done
        [[ ${part_chunks[place]:-} == "$size" ]] || return 1
        unset "part_ids[place]" "part_chunks[place]"
    done
    partitions=${partitions#,}
}

# add_partitions: or stop the daemon and say why not.
add_partitions() {
    local size sum=0
    list_partitions || give_up "the daemon lists no partitions: $said"
    for size in "${chunks[@]}"; do
        sum=$((sum + size))
    done
    ((sum <= free_chunks)) || {
        mps_stop
        include_others
        die $UNABLE "$sum chunks are asked for, it has $free_chunks" "ask for fewer in --static-partitions"
    }
    for size in "${chunks[@]}"; do
        mps_say "sm_partition add $gpu $size"
        [[ $said == "$gpu"/* ]] || give_up "no partition of $size chunks: $said"
    done
}

# start_daemon: without the caller's open files (a lock among them), and without the pipe of $(...), which the
# daemon would hold open for ever.
start_daemon() {
    (
        for fd in /proc/"$BASHPID"/fd/*; do
            fd=${fd##*/}
            ((fd <= 2)) || exec {fd}>&-
        done
        export CUDA_VISIBLE_DEVICES=$served CUDA_MPS_PIPE_DIRECTORY=$pipe_directory CUDA_MPS_LOG_DIRECTORY=$log_directory
        export CUDA_MPS_PROTOCOL_VERSION=2 CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=$percentage
        exec timeout --kill-after=5 "$TOOL_TIMEOUT_S" nvidia-cuda-mps-control -d ${static:+-S}
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
require_device
[[ -z $static ]] || require_partitioning

if [[ -d $pipe_directory ]] && ! is_empty_directory "$pipe_directory"; then
    mps_owner
    [[ -n $owner ]] ||
        die $IN_USE "$pipe_directory was not made by enable_mps.sh" "choose another --pipe-directory, or remove it by hand"
    if mps_probe; then
        found="$owner $purpose at $percentage_found %"
        if [[ $found != "$gpu $wanted at $percentage %" ]] || ! partitioned; then
            die $IN_USE "a daemon for $found is alive in $pipe_directory" "disable_mps.sh first"
        fi
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
        "$served" "$pipe_directory" "$log_directory"
    printf 'CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=%s nvidia-cuda-mps-control -d%s\n' "$percentage" "${static:+ -S}"
    [[ -z $memory_limit ]] || printf "+ echo 'set_default_device_pinned_mem_limit 0 %s' | nvidia-cuda-mps-control\n" "$memory_limit"
    ((${#chunks[@]} == 0)) || printf "+ echo 'sm_partition add $gpu %s' | nvidia-cuda-mps-control\n" "${chunks[@]}"
    end_of_dry_run
fi

# Jobs of another user must be able to reach the socket in the directory, not to list it.
if ! (umask 066 && mkdir -p -- "$pipe_directory" "$log_directory"); then
    include_others
    die $NO_PERMISSION "cannot create $pipe_directory or $log_directory" "choose directories that you may write"
fi
printf '%s %s\n' "$gpu" "$wanted" >"$pipe_directory/$OWNER_FILE"
timed start bring_up
[[ $percentage_found == "$percentage" ]] || give_up "the daemon grants $percentage_found %, not $percentage %"
[[ -z $memory_limit ]] || limit_memory
[[ -z $static ]] || add_partitions
partitioned || give_up "asked for partitions of $static chunks, which is not what is there: $said"
report yes
