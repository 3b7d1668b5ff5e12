#!/usr/bin/env bash
# Destroy MIG instances and turn MIG mode off.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
    cat <<EOF
Usage: disable_mig.sh --gpu UUID [--instances GI[,GI...]] [--keep-mode] [--allow-reset] [--dry-run]

Destroy compute instances, then GPU instances, then turn MIG mode off, and read the state back.

  --gpu UUID         the GPU, as nvidia-smi -L names it (GPU-...)
  --instances LIST   only these GPU instances; others are left alone, and then the mode stays on (exit code 5)
  --keep-mode        leave MIG mode on
  --allow-reset      allow the GPU reset that a change of MIG mode needs on Ampere
  --dry-run          print the commands that would change something; change nothing

RESULT mig_mode=Enabled|Disabled|N/A destroyed=GI,... changed=yes|no [destroy_s=S] [mode_s=S]
       S is how many seconds a step took, where it was done
$EXIT_CODES
EOF
}

instances='' keep_mode=no only_named=no
while (($#)); do
    case $1 in
        --instances) need_value "$@" && instances=$2 only_named=yes && shift 2 ;;
        --keep-mode) keep_mode=yes && shift ;;
        --allow-reset) allow_reset=yes && shift ;;
        *) common_option "$@" && shift "$shifted" ;;
    esac
done
require_gpu
require_instance_list --instances "$instances"

# select_targets: fill `targets` with the instances to destroy and `others` with those that stay.
select_targets() {
    local id
    targets='' others=''
    for id in "${!gi_name[@]}"; do
        if [[ $only_named == no || ,$instances, == *,$id,* ]]; then
            targets+=,$id
        else
            others+=,$id
        fi
    done
    targets=${targets#,} others=${others#,}
}

# check_destroyed: needed where the mode stays on; a mode that is off proves it by itself.
check_destroyed() {
    local id
    list_instances
    for id in "${!gi_name[@]}"; do
        [[ ,$targets, != *,$id,* ]] || die $FAILED "GPU instance $id is still there after -dgi" "run it as root"
    done
}

disable_mode() {
    timed mode change -i "$gpu" -mig 0
    ((code == 0)) || refuse "nvidia-smi -mig 0" "nvidia-smi mig -lgi"
    [[ $dry_run == no ]] || return 0
    local answer=${said//$'\n'/ | }
    observe
    [[ $mig_mode/$mig_pending != Disabled/Disabled ]] || return 0
    [[ $answer != *"In use by another client"* ]] || die $IN_USE "MIG mode stays on until a reset; held by: $(holders)" "stop it, repeat"
    die $FAILED "MIG mode is $mig_mode (pending: $mig_pending) after -mig 0: $answer" "run it as root"
}

observe
targets='' others='' changed=no gi_name=()
case $mig_mode/$mig_pending in
    Enabled/*) list_instances && select_targets ;;
    Disabled/Enabled) ;;
    *)
        result mig_mode "${mig_mode//[\[\]]/}" destroyed '' changed no
        exit
        ;;
esac
if [[ $keep_mode == no && $mig_mode == Enabled && $compute_cap == 8.* && $allow_reset == no ]]; then
    die $NEEDS_RESET "on Ampere turning MIG mode off resets the GPU" "add --allow-reset, or --keep-mode to leave the mode on"
fi
if [[ -n $targets ]]; then
    timed destroy destroy_instances "$targets"
    changed=yes
fi
if [[ $keep_mode == no && -z $others ]]; then
    disable_mode
    changed=yes
elif [[ $changed == yes && $dry_run == no ]]; then
    check_destroyed
fi
[[ $changed == no ]] || end_of_dry_run
[[ $keep_mode == yes || -z $others ]] ||
    die $IN_USE "MIG mode stays on: GPU instances $others are not ours" "whoever made them must destroy them"
result mig_mode "$mig_mode" destroyed "$targets" changed "$changed"
