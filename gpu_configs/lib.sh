# shellcheck shell=bash disable=SC2034 # the helpers use what is only set here
# What the helpers share: reading options, asking the driver, changing it, reporting.
# Sourced, never run. Bash builtins do the text work: each process costs more than the parsing does.

set -euo pipefail
export LC_ALL=C

readonly FAILED=1 USAGE=2 UNABLE=3 NO_PERMISSION=4 IN_USE=5 NEEDS_RESET=6 NO_TOOL=7
readonly TOOL_TIMEOUT_S=${GPU_CONFIGS_TIMEOUT_S:-60}
readonly EXIT_CODES="Exit codes: 0 done, 1 failed or not as asked afterwards, 2 wrong usage, 3 the device cannot do it,
  4 no permission, 5 the GPU is in use by someone else, 6 needs a GPU reset (see --allow-reset), 7 tool missing.
The last line on stdout is 'RESULT key=value ...'. Under --dry-run it is
'RESULT dry_run=yes' if something would change. A tool that is silent for GPU_CONFIGS_TIMEOUT_S (60) seconds has failed."

gpu='' dry_run=no allow_reset=no pipe_directory='' took=()

# --- reporting -----------------------------------------------------------------------------------------------------

# die CODE WHAT NEXT: say what is wrong, where, and what to do next.
die() {
    printf '%s: %s%s\n  next: %s\n' "${0##*/}" "${gpu:+$gpu: }" "$2" "$3" >&2
    exit "$1"
}

# timed STEP COMMAND ...: run the command, and let the result say how many seconds it took: STEP_s=0.123456.
# It is the host's wall clock, which bash has without a process.
timed() {
    local step=$1 began=${EPOCHREALTIME:-} us
    shift
    "$@"
    [[ -n $began ]] || return 0 # bash before version 5
    us=$((${EPOCHREALTIME/./} - ${began/./}))
    ((us >= 0)) || return 0 # the clock was set back meanwhile
    printf -v us '%07d' "$us"
    took+=("${step}_s" "${us::-6}.${us: -6}")
}

# result KEY VALUE ...: the machine-readable last line; odd values are quoted for the shell.
result() {
    local line=RESULT
    set -- "$@" "${took[@]}"
    while (($#)); do
        if [[ $2 =~ ^[A-Za-z0-9_.,:/+@%-]*$ ]]; then
            line+=" $1=$2"
        else
            printf -v line '%s %s=%q' "$line" "$1" "$2"
        fi
        shift 2
    done
    printf '%s\n' "$line"
}

# --- options -------------------------------------------------------------------------------------------------------

# need_value OPTION [VALUE]: refuse an option without its value.
need_value() {
    (($# > 1)) && [[ -n $2 ]] || die $USAGE "$1 needs a value" "${0##*/} --help"
}

# common_option OPTION [VALUE]: read what every helper understands; `shifted` says how many words that took.
common_option() {
    shifted=1
    case $1 in
        --gpu) need_value "$@" && gpu=$2 shifted=2 ;;
        --dry-run) dry_run=yes ;;
        -h | --help) usage && exit 0 ;;
        *) die $USAGE "unknown option '$1'" "${0##*/} --help" ;;
    esac
}

# require_gpu: the GPU must be named by UUID, because indices move when a GPU is lost or hidden.
require_gpu() {
    [[ -n $gpu ]] || die $USAGE "--gpu is missing" "nvidia-smi -L lists the UUIDs; then --gpu GPU-..."
    [[ $gpu =~ ^GPU-[0-9A-Za-z-]+$ ]] || die $USAGE "'$gpu' is not a GPU UUID" "nvidia-smi -L lists the UUIDs"
    require_tool nvidia-smi
}

require_tool() {
    hash "$1" 2>/dev/null || die $NO_TOOL "$1 is not on PATH" "install the NVIDIA driver of this machine"
}

require_directory_name() {
    [[ $2 == /* ]] || die $USAGE "$1 '$2' is not an absolute path" "give a path that starts with /"
}

require_instance_list() {
    [[ $2 =~ ^([0-9]+(,[0-9]+)*)?$ ]] || die $USAGE "$1 '$2' is not a list such as 1,2" "nvidia-smi mig -lgi"
}

# --- the driver ----------------------------------------------------------------------------------------------------

# smi WORD ...: run nvidia-smi. Sets `said` (all it printed) and `code`; never fails by itself.
smi() {
    code=0
    said=$(timeout --kill-after=5 "$TOOL_TIMEOUT_S" nvidia-smi "$@" 2>&1) || code=$?
    ((code != 124 && code != 137)) ||
        die $FAILED "nvidia-smi $* gave no answer in $TOOL_TIMEOUT_S s" "look for a hung driver with: dmesg | grep -i nvrm"
}

# ask WORD ...: a query that must succeed.
ask() {
    smi "$@"
    ((code == 0)) && return
    [[ $said != *"No devices were found"* ]] || die $FAILED "there is no such GPU" "nvidia-smi -L lists what there is"
    refuse "nvidia-smi $*" "nvidia-smi -q -i $gpu shows more"
}

# refuse COMMAND NEXT: end with the exit code that fits what the tool just said.
refuse() {
    local why="$1 failed with $code: ${said//$'\n'/ | }"
    case $said in
        *[Pp]ermission*) die $NO_PERMISSION "$why" "run it as root" ;;
        *"In use by another client"*) die $IN_USE "$why" "${0%/*}/status.sh --gpu $gpu shows who holds it" ;;
        *"Not Supported"*) die $UNABLE "$why" "choose a mode that this board has" ;;
    esac
    ((code != 4)) || die $NO_PERMISSION "$why" "run it as root"
    die $FAILED "$why" "$2"
}

# end_of_dry_run: what would follow depends on an answer that a dry run does not get.
end_of_dry_run() {
    [[ $dry_run == no ]] || { took=() && result dry_run yes && exit 0; }
}

# change WORD ...: tell nvidia-smi to change something, or only print it under --dry-run.
change() {
    said='' code=0
    if [[ $dry_run == yes ]]; then
        printf '+ nvidia-smi %s\n' "$*"
    else
        smi "$@"
    fi
}

# observe: read the GPU's modes in one query. An exit code 0 of an earlier change proves nothing; this does.
observe() {
    ask -i "$gpu" --query-gpu=uuid,mig.mode.current,mig.mode.pending,compute_mode,compute_cap --format=csv,noheader
    local line
    while IFS= read -r line; do
        if [[ $line == "$gpu, "* ]]; then
            IFS=, read -r _ mig_mode mig_pending compute_mode compute_cap <<<"${line//, /,}"
            return
        fi
    done <<<"$said"
    die $FAILED "nvidia-smi has no row for it: ${said//$'\n'/ | }" "nvidia-smi -L lists what there is"
}

# computing: fill `processes` with 'pid, name' of everything that computes on the GPU.
computing() {
    ask -i "$gpu" --query-compute-apps=pid,process_name --format=csv,noheader
    local line
    processes=()
    while IFS= read -r line; do
        [[ $line =~ ^[0-9]+,\  ]] && processes+=("$line")
    done <<<"$said"
    return 0
}

# holders: one line that names who is on the GPU, for messages.
holders() {
    computing
    local IFS=';'
    printf '%s' "${processes[*]:-no compute process; perhaps a monitor (nvidia-persistenced, DCGM) holds it}"
}

# --- MIG -----------------------------------------------------------------------------------------------------------

# mig_answer WORD ...: a `nvidia-smi mig` listing; an empty one is fine.
mig_answer() {
    smi mig -i "$gpu" "$@"
    ((code == 0)) || [[ $said == *"instances found: Not Found"* ]] || refuse "nvidia-smi mig $*" "nvidia-smi -q -i $gpu"
}

# list_instances: fill gi_name, gi_profile and gi_start, indexed by GPU-instance id.
list_instances() {
    gi_name=() gi_profile=() gi_start=()
    mig_answer -lgi
    local line row='MIG ([^ ]+) +([0-9]+) +([0-9]+) +([0-9]+):[0-9]+'
    while IFS= read -r line; do
        [[ $line =~ $row ]] || continue
        local id=${BASH_REMATCH[3]}
        gi_name[id]=${BASH_REMATCH[1]} gi_profile[id]=${BASH_REMATCH[2]} gi_start[id]=${BASH_REMATCH[4]}
    done <<<"$said"
}

# destroy_instances LIST: compute instances first; a GPU instance that holds one is 'in use'.
destroy_instances() {
    change mig -i "$gpu" -dci -gi "$1"
    ((code == 0)) || [[ $said == *"instances found: Not Found"* ]] || refuse "nvidia-smi mig -dci" "nvidia-smi mig -lci"
    change mig -i "$gpu" -dgi -gi "$1"
    ((code == 0)) || refuse_to_destroy "$1"
}

# refuse_to_destroy LIST: what is in use by its own compute instances is not in use by others: -dci did not work.
refuse_to_destroy() {
    local answer=$said status=$code place
    local -a ci_name=()
    list_compute_instances
    for place in "${!ci_name[@]}"; do
        [[ ,$1, != *,$((place / 16)),* ]] ||
            die $FAILED "GPU instance $((place / 16)) still has a compute instance after -dci" "nvidia-smi mig -i $gpu -lci"
    done
    said=$answer code=$status
    refuse "nvidia-smi mig -dgi" "nvidia-smi mig -lgi"
}

# list_compute_instances: fill ci_name, indexed by 16 * GPU instance + compute instance.
list_compute_instances() {
    mig_answer -lci
    local line row='^\| +[0-9]+ +([0-9]+) +MIG ([^ ]+) +[0-9]+ +([0-9]+) +[0-9]+:[0-9]+'
    while IFS= read -r line; do
        [[ $line =~ $row ]] && ci_name[16 * BASH_REMATCH[1] + BASH_REMATCH[3]]=${BASH_REMATCH[2]}
    done <<<"$said"
    return 0
}

# list_devices: after list_instances, fill ci_name and ci_uuid, indexed by 16 * GPU instance + compute instance.
# `-L` has the UUIDs but no ids; it counts up by GPU instance, then compute instance. A device named like its GPU
# instance fills it; only where other names show that some instance is empty or divided, `-lci` is asked for the ids.
list_devices() {
    ci_name=() ci_uuid=()
    ask -L
    local -a names=() uuids=()
    local line ours=no device='^  MIG ([^ ]+) +Device +[0-9]+: \(UUID: (MIG-[^)]+)\)'
    while IFS= read -r line; do
        [[ $line != GPU* ]] || { [[ $line == *"(UUID: $gpu)"* ]] && ours=yes || ours=no; }
        [[ $ours == yes && $line =~ $device ]] && names+=("${BASH_REMATCH[1]}") uuids+=("${BASH_REMATCH[2]}")
    done <<<"$said"
    if [[ "${gi_name[*]}" == "${names[*]}" ]]; then
        local id
        for id in "${!gi_name[@]}"; do
            ci_name[16 * id]=${gi_name[id]}
        done
    else
        list_compute_instances
    fi
    local -a keys=("${!ci_name[@]}")
    [[ "${ci_name[*]}" == "${names[*]}" ]] ||
        die $FAILED "'mig -lci' lists [${ci_name[*]}], '-L' lists [${names[*]}]" "another program changes MIG; stop it"
    local place
    for place in "${!keys[@]}"; do
        ci_uuid[keys[place]]=${uuids[place]}
    done
}

# --- MPS -----------------------------------------------------------------------------------------------------------

# mps_say COMMAND: send one command to the daemon in $pipe_directory. Sets `said` and `code`.
mps_say() {
    code=0
    said=$(CUDA_MPS_PIPE_DIRECTORY=$pipe_directory CUDA_MPS_PROTOCOL_VERSION=2 \
        timeout --kill-after=5 "$TOOL_TIMEOUT_S" nvidia-cuda-mps-control <<<"$1" 2>&1) || code=$?
}

# mps_probe: is a daemon healthy there? Sets `percentage_found`.
mps_probe() {
    mps_say get_default_active_thread_percentage
    percentage_found=$said
    ((code == 0)) && [[ $said =~ ^[0-9]+(\.[0-9]+)?$ ]]
}

# Every pipe directory made by enable_mps.sh says whose and what it is; without that file nothing here is touched.
readonly OWNER_FILE=gpu_configs.owner

# mps_owner: set `owner` to the GPU that the pipe directory was made for, `purpose` to the rest of what its file says;
# empty if enable_mps.sh did not make it.
mps_owner() {
    owner='' purpose=''
    [[ ! -r $pipe_directory/$OWNER_FILE ]] || read -r owner purpose <"$pipe_directory/$OWNER_FILE" || true
}

is_empty_directory() {
    local entry
    for entry in "$1"/* "$1"/.[!.]*; do
        [[ ! -e $entry ]] || return 1
    done
}

# mps_pid: set `pid` to the daemon's as its pid file has it; empty if there is none.
mps_pid() {
    local file=$pipe_directory/nvidia-cuda-mps-control.pid
    pid=''
    [[ ! -r $file ]] || read -r pid <"$file" || true
}

# mps_alive PID: is that process an MPS daemon or server? (`comm` holds 15 characters.) Pids are reused: always ask.
mps_alive() {
    local comm=''
    [[ $1 =~ ^[0-9]+$ && -r /proc/$1/comm ]] && read -r comm <"/proc/$1/comm" && [[ $comm == nvidia-cuda-mps ]]
}

# mps_end PID: TERM, wait two seconds, KILL. Only for an MPS process.
mps_end() {
    local turn
    mps_alive "$1" || return 0
    kill -TERM "$1" 2>/dev/null || true
    for turn in {1..40}; do
        mps_alive "$1" || return 0
        sleep 0.05
    done
    kill -KILL "$1" 2>/dev/null || true
}

# mps_stop: the recovery order: ask to quit, wait, signal the daemon, then its servers; then remove the directory.
mps_stop() {
    local pid server turn servers='' answers=yes
    mps_pid
    ! mps_alive "$pid" || read -r servers <"/proc/$pid/task/$pid/children" || true
    mps_say 'quit -t 10'
    for turn in {1..40}; do
        mps_probe || { answers=no && break; }
        mps_alive "$pid" || break
        sleep 0.05
    done
    for server in $pid $servers; do
        mps_end "$server"
    done
    [[ $answers == no ]] || ! mps_probe ||
        die $FAILED "the MPS daemon in $pipe_directory still answers after quit" "stop process ${pid:-unknown} by hand"
    rm -rf -- "$pipe_directory"
}
