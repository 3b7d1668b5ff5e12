#!/usr/bin/env bash
# Start a private MPS daemon for one GPU and wait until it is healthy.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
    cat <<EOF
Usage: enable_mps.sh --gpu UUID --pipe-directory DIR --log-directory DIR [--active-thread-percentage P]
                     [--static-partitions CHUNKS[,CHUNKS...]|none] [--mig-device UUID] [--dry-run]

Start an MPS control daemon that serves this GPU or one of its MIG devices alone, in directories of its own, with
the version 2 interface.
Clients reach it by CUDA_MPS_PIPE_DIRECTORY=DIR. A healthy daemon that is as asked is left as it is; another one
in the same directory is never touched. Compute mode is left alone.

  --gpu UUID                     the GPU, as nvidia-smi -L names it (GPU-...)
  --pipe-directory DIR           absolute; DIR/control must fit in 107 bytes
  --log-directory DIR            absolute; gets control.log and server.log
  --active-thread-percentage P   default share of SMs for every client, above 0 to 100
  --static-partitions LIST       SMs that are kept for the clients of one partition, in chunks of 8 SMs (4 before Hopper):
                                 7,6 makes two partitions, none leaves all for later; each client then needs one in
                                 CUDA_MPS_SM_PARTITION. From driver 590 and Ampere on; if one fails, the daemon is stopped
  --mig-device UUID              serve this MIG device of the GPU (MIG-..., nvidia-smi -L)
  --dry-run                      print the commands that would change something; change nothing

RESULT pipe_directory=DIR log_directory=DIR daemon_pid=PID active_thread_percentage=P changed=yes|no
       partitions=ID,...   (with --static-partitions, in its order)
$EXIT_CODES
EOF
}

pipe_directory='' log_directory='' percentage=100 static='' mig_device=''
while (($#)); do
    case $1 in
        --pipe-directory) need_value "$@" && pipe_directory=$2 && shift 2 ;;
        --log-directory) need_value "$@" && log_directory=$2 && shift 2 ;;
        --active-thread-percentage) need_value "$@" && percentage=$2 && shift 2 ;;
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
printf -v percentage '%.1f' "$percentage"
[[ $static =~ ^(|none|[1-9][0-9]*(,[1-9][0-9]*)*)$ ]] ||
    die $USAGE "--static-partitions '$static' is neither a list such as 7,6 nor none" "give each partition's chunks"
[[ -z $static || ($percentage == 100.0 && -z $mig_device) ]] ||
    die $USAGE "--static-partitions is for whole GPUs and leaves no room for percentages" "leave the other option out"
[[ -z $mig_device || $mig_device =~ ^MIG-[0-9A-Za-z/-]+$ ]] ||
    die $USAGE "'$mig_device' is not the UUID of a MIG device" "nvidia-smi -L lists the UUIDs"
IFS=, read -ra chunks <<<"${static#none}"
served=${mig_device:-$gpu}
wanted="device=$served partitions=${static:-no}"

report() {
    mps_pid
    result pipe_directory "$pipe_directory" log_directory "$log_directory" daemon_pid "$pid" \
        active_thread_percentage "$percentage_found" changed "$1" ${static:+partitions "$partitions"}
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

give_up() {
    local log=''
    [[ ! -s $log_directory/start.log ]] || log=" (said: $(<"$log_directory/start.log"))"
    mps_stop
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
        "$served" "$pipe_directory" "$log_directory"
    printf 'CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=%s nvidia-cuda-mps-control -d%s\n' "$percentage" "${static:+ -S}"
    ((${#chunks[@]} == 0)) || printf "+ echo 'sm_partition add $gpu %s' | nvidia-cuda-mps-control\n" "${chunks[@]}"
    end_of_dry_run
fi

# Jobs of another user must be able to reach the socket in the directory, not to list it.
(umask 066 && mkdir -p -- "$pipe_directory" "$log_directory") ||
    die $NO_PERMISSION "cannot create $pipe_directory or $log_directory" "choose directories that you may write"
printf '%s %s\n' "$gpu" "$wanted" >"$pipe_directory/$OWNER_FILE"
start_daemon || give_up "nvidia-cuda-mps-control -d failed"
await_daemon || give_up "the MPS daemon does not answer: $said"
[[ $percentage_found == "$percentage" ]] || give_up "the daemon grants $percentage_found %, not $percentage %"
[[ -z $static ]] || add_partitions
partitioned || give_up "asked for partitions of $static chunks, which is not what is there: $said"
report yes
