#!/usr/bin/env bash
# Say how each GPU is set up, and who is on it. Changes nothing.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
    cat <<EOF
Usage: status.sh [--gpu UUID] [--dry-run]

Print the mode of one GPU, or of all, with its MIG instances and the processes on it.

  --gpu UUID   only this GPU
  --dry-run    the same: nothing is ever changed

RESULT gpu=UUID name=... driver=... compute_mode=... mig_mode=... mig_pending=... persistence_mode=...
       instances=UUID/GI/CI/PROFILE/START,... mps_servers=PID,... processes=PID,...     (one line for each GPU)
$EXIT_CODES
EOF
}

while (($#)); do
    common_option "$@"
    shift "$shifted"
done
require_tool nvidia-smi
[[ -z $gpu ]] || require_gpu

# instances_of: list the MIG devices of $gpu as RESULT has them.
instances_of() {
    local key list=''
    gi_start=() ci_name=()
    if [[ $mig_mode == Enabled ]]; then
        list_instances
        list_devices
    fi
    for key in "${!ci_name[@]}"; do
        list+=,${ci_uuid[key]}/$((key / 16))/$((key % 16))/${ci_name[key]}/${gi_start[key / 16]}
    done
    instances=${list#,}
}

# processes_of: split the compute processes of $gpu into MPS servers and others.
processes_of() {
    local process
    computing
    servers='' others=''
    for process in "${processes[@]}"; do
        if [[ $process == *nvidia-cuda-mps-server ]]; then servers+=,${process%%,*}; else others+=,${process%%,*}; fi
    done
}

# describe ROW: everything about the GPU of one CSV row.
describe() {
    IFS=, read -r gpu name driver persistence compute_mode mig_mode mig_pending used total <<<"${1//, /,}"
    instances_of
    processes_of
    printf '%s (%s)\n' "$name" "$gpu"
    printf '  compute mode %s, MIG %s (pending %s), persistence %s\n' "$compute_mode" "$mig_mode" "$mig_pending" "$persistence"
    printf '  memory %s of %s, driver %s\n' "$used" "$total" "$driver"
    [[ -z $instances ]] || printf '  MIG device %s\n' "${instances//,/$'\n  MIG device '}"
    ((${#processes[@]} == 0)) || printf '  process %s\n' "${processes[@]}"
    result gpu "$gpu" name "$name" driver "$driver" compute_mode "$compute_mode" mig_mode "${mig_mode//[\[\]]/}" \
        mig_pending "${mig_pending//[\[\]]/}" persistence_mode "$persistence" instances "$instances" \
        mps_servers "${servers#,}" processes "${others#,}"
}

fields=uuid,name,driver_version,persistence_mode,compute_mode,mig.mode.current,mig.mode.pending,memory.used,memory.total
ask ${gpu:+-i "$gpu"} --query-gpu="$fields" --format=csv,noheader
rows=$said
while IFS= read -r row; do
    [[ $row != GPU-* ]] || describe "$row"
done <<<"$rows"
