#!/usr/bin/env bash
# Cut the GPU into the MIG instances of a layout, each at its place.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
    cat <<EOF
Usage: setup_mig.sh --gpu UUID [--layout ID:START[,ID:START...]|NAME] [--replace GI[,GI...]] [--allow-reset]
                    [--dry-run]

Turn MIG mode on if it is off, create the instances (each with its full-size compute instance), and read them back.
What was created is destroyed again if not all of it could be. If exactly this layout is there, nothing is done.

  --gpu UUID       the GPU, as nvidia-smi -L names it (GPU-...)
  --layout LIST    profile id and first slice of each instance: 9:0,9:4 is 3g.40gb twice on an A100-80GB
                   (nvidia-smi mig -lgip lists the ids, -lgipp the places); without it only the mode is turned on
  --layout NAME    a name that layouts.yaml beside this file has for the board, such as 2x3g.40gb
  --replace LIST   GPU instances to destroy first, as far as they are there
  --allow-reset    allow the GPU reset that a change of MIG mode needs on Ampere; only done on an idle GPU
  --dry-run        print the commands that would change something; change nothing

RESULT instances=UUID/GI/CI/PROFILE/START,... mode_changed=yes|no [mode_s=S] [destroy_s=S] [create_s=S]
       in the order of --layout; S is how many seconds a step took, where it was done
$EXIT_CODES
EOF
}

layout='' replace='' mode_changed=no
while (($#)); do
    case $1 in
        --layout) need_value "$@" && layout=$2 && shift 2 ;;
        --replace) need_value "$@" && replace=$2 && shift 2 ;;
        --allow-reset) allow_reset=yes && shift ;;
        *) common_option "$@" && shift "$shifted" ;;
    esac
done
require_gpu

# by_name NAME: set `layout` to what layouts.yaml has for this board under that name.
by_name() {
    local line card board='' known='' row='card: "([^"]+)", name: "([^"]+)", layout: "([^"]+)"'
    ask -i "$gpu" --query-gpu=uuid,name --format=csv,noheader
    while IFS= read -r line; do
        [[ $line != "$gpu, "* ]] || board=${line#"$gpu, "}
    done <<<"$said"
    layout=''
    while IFS= read -r line; do
        [[ $line =~ $row ]] || continue
        card=${BASH_REMATCH[1]}
        # shellcheck disable=SC2053 # the card is a pattern
        [[ ${board#SIMULATED } == $card ]] || continue
        known+=", ${BASH_REMATCH[2]}"
        [[ ${BASH_REMATCH[2]} != "$1" ]] || layout=${BASH_REMATCH[3]}
    done <"${BASH_SOURCE[0]%/*}/layouts.yaml"
    [[ -n $layout ]] ||
        die $USAGE "'$1' is no layout of ${board:-this board}, which has: ${known#, }" "give one of these, or ids and places such as 9:0,9:4"
}

[[ -z $layout || ! $layout =~ ^[1-7](x[1-7])?g ]] || by_name "$layout"
[[ $layout =~ ^([0-9]+:[0-9]+(,[0-9]+:[0-9]+)*)?$ ]] ||
    die $USAGE "--layout '$layout' is neither a list such as 9:0,9:4 nor a name" "nvidia-smi mig -i $gpu -lgipp lists ids and places"
require_instance_list --replace "$replace"
[[ -z $replace || -n $layout ]] || die $USAGE "--replace needs a --layout" "disable_mig.sh --instances only destroys"
IFS=, read -ra wanted <<<"$layout"

# enable_mode: off to on. Refused before anything is touched where a reset is not allowed or someone is on the GPU.
enable_mode() {
    [[ $compute_cap != 8.* || $allow_reset == yes ]] ||
        die $NEEDS_RESET "MIG mode is off; on Ampere turning it on resets the GPU" "add --allow-reset when the GPU is idle"
    computing
    ((${#processes[@]} == 0)) || die $IN_USE "in use by: $(holders)" "stop these processes"
    timed mode change -i "$gpu" -mig 1
    ((code == 0)) || refuse "nvidia-smi -mig 1" "nvidia-smi -q -i $gpu"
    mode_changed=yes
    [[ $dry_run == no ]] || return 0
    local answer=${said//$'\n'/ | }
    observe
    [[ $mig_mode != Enabled ]] || return 0
    [[ $mig_pending != Enabled ]] || undo_pending "$answer"
    die $FAILED "MIG mode is $mig_mode after -mig 1: $answer" "run it as root; see the board's manual for MIG"
}

# undo_pending ANSWER: a mode that waits for a reset would surprise whoever resets the GPU next.
undo_pending() {
    smi -i "$gpu" -mig 0
    [[ $1 != *"In use by another client"* ]] || die $IN_USE "MIG mode stays pending; the GPU is held by: $(holders)" "stop it, repeat"
    die $NEEDS_RESET "MIG mode stays pending: $1" "reboot the machine that owns the GPU"
}

# roll_back REASON: destroy what this call created, and turn the mode off again if this call turned it on.
roll_back() {
    local made
    find_made
    if [[ -n $made ]]; then
        smi mig -i "$gpu" -dci -gi "$made"
        smi mig -i "$gpu" -dgi -gi "$made"
    fi
    [[ $mode_changed == no ]] || smi -i "$gpu" -mig 0
    check_rolled_back "$1"
    die $FAILED "$1; rolled back" "nvidia-smi mig -i $gpu -lgip shows what is free; try the biggest first, or other places"
}

# find_made: set `made` to the ids of the instances that this call has to answer for: new ones that lie where it was to
# put some (what somebody else made meanwhile lies elsewhere), and replaced ones that are still there.
find_made() {
    local id
    made=''
    list_instances
    for id in "${!gi_name[@]}"; do
        [[ ,$before != *,$id,* ]] || continue
        [[ ,$layout, != *,${gi_profile[id]}:${gi_start[id]},* && ,$replace, != *,$id,* ]] || made+=,$id
    done
    made=${made#,}
}

# check_rolled_back REASON: a rollback can fail as well as what it undoes.
check_rolled_back() {
    local made=''
    observe
    [[ $mig_mode != Enabled ]] || find_made
    [[ -z $made && ($mode_changed == no || $mig_mode == Disabled) ]] ||
        die $FAILED "$1; the rollback failed, too: MIG is $mig_mode with instances ${made:-of others}" "${0%/*}/disable_mig.sh --gpu $gpu"
}

# destroy_replaced: destroy those instances of --replace that are there, and strike them off the list.
destroy_replaced() {
    local id gone=''
    for id in "${!gi_name[@]}"; do
        [[ ,$replace, != *,$id,* ]] || { gone+=,$id && unset "gi_name[id]"; }
    done
    [[ -z $gone ]] || timed destroy destroy_instances "${gone#,}"
}

# instance_at ID:START: set `found` to the id of the instance that was cut so.
instance_at() {
    local id
    for id in "${!gi_name[@]}"; do
        [[ ${gi_profile[id]}:${gi_start[id]} != "$1" ]] || { found=$id && return; }
    done
    return 1
}

# all_there: is every instance of the layout there?
all_there() {
    local place
    for place in "${wanted[@]}"; do
        instance_at "$place" || return 1
    done
}

report() {
    local place list=''
    list_devices
    for place in "${wanted[@]}"; do
        instance_at "$place"
        local uuid=${ci_uuid[16 * found]:-}
        [[ -n $uuid ]] || roll_back "instance $found ($place) has no compute instance"
        list+=,$uuid/$found/0/${gi_name[found]}/${gi_start[found]}
    done
    result instances "${list#,}" mode_changed "$mode_changed"
}

observe
case $mig_mode/$mig_pending in
    Enabled/Enabled) list_instances ;;
    Disabled/Disabled) gi_name=() gi_profile=() gi_start=() && enable_mode ;;
    Enabled/Disabled | Disabled/Enabled)
        die $NEEDS_RESET "MIG mode is $mig_mode, after the next reset $mig_pending" "reset the GPU, or set the mode back by hand" ;;
    *) die $UNABLE "this board has no MIG (mig.mode is $mig_mode)" "choose time-slicing or MPS" ;;
esac

if [[ -z $layout ]]; then
    [[ $dry_run == yes ]] || result instances '' mode_changed "$mode_changed"
    exit
fi
destroy_replaced
printf -v before '%s,' "${!gi_name[@]}"
expected=$((${#gi_name[@]} + ${#wanted[@]}))
if ((${#gi_name[@]} == ${#wanted[@]})) && all_there; then
    report
    exit
fi
timed create change mig -i "$gpu" -cgi "$layout" -C
end_of_dry_run
((code == 0)) || roll_back "could not create $layout: ${said//$'\n'/ | }"
answer=${said//$'\n'/ | }
list_instances
if ((${#gi_name[@]} != expected)) || ! all_there; then
    roll_back "asked for $layout, which is not what is there afterwards: $answer"
fi
report
