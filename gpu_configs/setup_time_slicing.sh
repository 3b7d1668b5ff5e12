#!/usr/bin/env bash
# Make the GPU an ordinary one: compute mode DEFAULT, no MIG, no MPS. Jobs then run alone or take time slices.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
    cat <<EOF
Usage: setup_time_slicing.sh --gpu UUID [--compute-mode MODE] [--dry-run]

Check that MIG is off and that no MPS server runs on the GPU, and set compute mode DEFAULT if it is another.
Every process may then use the whole GPU; several at once take time slices.

  --gpu UUID   the GPU, as nvidia-smi -L names it (GPU-...)
  --compute-mode MODE   Default (assumed), Exclusive_Process or Prohibited: to put back what was found earlier
  --dry-run    print the commands that would change something; change nothing

RESULT compute_mode=MODE mig_mode=Disabled|N/A changed=yes|no
$EXIT_CODES
EOF
}

wanted=Default
while (($#)); do
    case $1 in
        --compute-mode) need_value "$@" && wanted=$2 && shift 2 ;;
        *) common_option "$@" && shift "$shifted" ;;
    esac
done
[[ $wanted =~ ^(Default|Exclusive_Process|Prohibited)$ ]] || die $USAGE "unknown --compute-mode '$wanted'" "${0##*/} --help"
require_gpu

observe
if [[ $mig_mode == Enabled || $mig_pending == Enabled ]]; then
    die $FAILED "MIG mode is $mig_mode (pending: $mig_pending)" "${0%/*}/disable_mig.sh --gpu $gpu"
fi
computing
for process in "${processes[@]}"; do
    [[ $process != *nvidia-cuda-mps-server ]] ||
        die $IN_USE "an MPS server runs on it (process ${process%%,*})" "${0%/*}/disable_mps.sh, or stop that daemon"
done

changed=no
if [[ $compute_mode != "$wanted" ]]; then
    change -i "$gpu" -c "${wanted^^}"
    ((code == 0)) || refuse "nvidia-smi -c ${wanted^^}" "nvidia-smi -q -i $gpu -d COMPUTE"
    end_of_dry_run
    observe
    [[ $compute_mode == "$wanted" ]] || die $FAILED "compute mode is $compute_mode after -c ${wanted^^}: $said" \
        "run it as root; without persistence mode the driver forgets it at once: nvidia-smi -i $gpu -pm 1"
    changed=yes
fi
result compute_mode "$compute_mode" mig_mode "${mig_mode//[\[\]]/}" changed "$changed"
