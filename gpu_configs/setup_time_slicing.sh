#!/usr/bin/env bash
# Make the GPU an ordinary one: compute mode DEFAULT, no MIG, no MPS. Jobs then run alone or take time slices.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
    cat <<EOF
Usage: setup_time_slicing.sh --gpu UUID [--compute-mode MODE] [--time-slice POLICY] [--dry-run]

Check that MIG is off, that no MPS server runs on the GPU and that no MPS daemon answers where programs started from
here would look for one; set compute mode DEFAULT if it is another, and a time-slice policy if one is named.
Every process may then use the whole GPU; several at once take time slices.

  --gpu UUID   the GPU, as nvidia-smi -L names it (GPU-...)
  --compute-mode MODE   Default (assumed), Exclusive_Process or Prohibited: to put back what was found earlier
  --time-slice POLICY   default, short, medium or long. It lasts until the driver is unloaded, and no tool reads it
               back: it is set anew each time. Without this option it stays as it is
  --dry-run    print the commands that would change something; change nothing

RESULT compute_mode=MODE mig_mode=Disabled|N/A [time_slice=POLICY] changed=yes|no
$EXIT_CODES
EOF
}

wanted=Default policy=''
while (($#)); do
    case $1 in
        --compute-mode) need_value "$@" && wanted=$2 && shift 2 ;;
        --time-slice) need_value "$@" && policy=$2 && shift 2 ;;
        *) common_option "$@" && shift "$shifted" ;;
    esac
done
[[ $wanted =~ ^(Default|Exclusive_Process|Prohibited)$ ]] || die $USAGE "unknown --compute-mode '$wanted'" "${0##*/} --help"
[[ $policy =~ ^(default|short|medium|long)?$ ]] || die $USAGE "unknown --time-slice '$policy'" "${0##*/} --help"
require_gpu

refuse_a_server() {
    local process
    computing
    for process in "${processes[@]}"; do
        [[ $process != *nvidia-cuda-mps-server ]] ||
            die $IN_USE "an MPS server runs on it (process ${process%%,*})" "${0%/*}/disable_mps.sh, or stop that daemon"
    done
}

# refuse_a_daemon: without clients it has no server on the GPU yet; the first program that finds it brings one.
refuse_a_daemon() {
    hash nvidia-cuda-mps-control 2>/dev/null || return 0
    pipe_directory=${CUDA_MPS_PIPE_DIRECTORY:-/tmp/nvidia-mps}
    ! mps_probe || die $IN_USE "an MPS daemon answers in $pipe_directory, where programs started from here would find it" \
        "stop it where it was started, or let CUDA_MPS_PIPE_DIRECTORY name an empty directory"
}

set_compute_mode() {
    changed=yes
    change -i "$gpu" -c "${wanted^^}"
    ((code == 0)) || refuse "nvidia-smi -c ${wanted^^}" "nvidia-smi -q -i $gpu -d COMPUTE"
    [[ $dry_run == no ]] || return 0
    observe
    [[ $compute_mode == "$wanted" ]] || die $FAILED "compute mode is $compute_mode after -c ${wanted^^}: $said" \
        "run it as root; without persistence mode the driver forgets it at once: nvidia-smi -i $gpu -pm 1"
}

# set_policy: without persistence mode the driver would forget it before the first job, and nobody could tell.
set_policy() {
    local -A number=([default]=0 [short]=1 [medium]=2 [long]=3)
    ask -i "$gpu" --query-gpu=persistence_mode --format=csv,noheader
    [[ $policy == default || $said != Disabled ]] ||
        die $UNABLE "without persistence mode the driver forgets a time-slice policy" "nvidia-smi -i $gpu -pm 1"
    changed=yes
    change compute-policy -i "$gpu" --set-timeslice "${number[$policy]}"
    ((code == 0)) || refuse "nvidia-smi compute-policy --set-timeslice ${number[$policy]}" "nvidia-smi -q -i $gpu"
}

observe
if [[ $mig_mode == Enabled || $mig_pending == Enabled ]]; then
    die $FAILED "MIG mode is $mig_mode (pending: $mig_pending)" "${0%/*}/disable_mig.sh --gpu $gpu"
fi
refuse_a_server
[[ $wanted != Default || $policy == default ]] || refuse_a_daemon # what puts a state back shares nothing

changed=no
[[ $compute_mode == "$wanted" ]] || set_compute_mode
[[ -z $policy ]] || set_policy
[[ $changed == no ]] || end_of_dry_run
result compute_mode "$compute_mode" mig_mode "${mig_mode//[\[\]]/}" ${policy:+time_slice "$policy"} changed "$changed"
