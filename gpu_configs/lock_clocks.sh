#!/usr/bin/env bash
# Lock the SM clock of one GPU at one frequency, or let the GPU choose again.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "${BASH_SOURCE[0]%/*}/lib.sh"

usage() {
    cat <<EOF
Usage: lock_clocks.sh --gpu UUID (--sm-mhz N | --reset) [--dry-run]

Lock the SM clock at N MHz, one of those that the board supports; the driver itself takes any nonsense. Or undo every
lock. No tool can read a lock back: look at clocks.current.sm under load. A lock above what the power cap sustains does
not hold. A GPU reset forgets it, and so does the driver when the last process leaves and persistence mode is off.

  --gpu UUID   the GPU, as nvidia-smi -L names it (GPU-...)
  --sm-mhz N   the frequency in MHz
  --reset      let the GPU choose its clocks again, whoever locked them
  --dry-run    print the commands that would change something; change nothing

RESULT sm_clock_mhz=N|unlocked
$EXIT_CODES
EOF
}

mhz='' reset=no
while (($#)); do
    case $1 in
        --sm-mhz) need_value "$@" && mhz=$2 && shift 2 ;;
        --reset) reset=yes && shift ;;
        *) common_option "$@" && shift "$shifted" ;;
    esac
done
[[ $reset == yes && -z $mhz || $reset == no && $mhz =~ ^[0-9]+$ ]] ||
    die $USAGE "give either --sm-mhz N, in whole MHz, or --reset" "${0##*/} --help"
require_gpu

# require_supported: `-lgc` answers nonsense with exit code 0 and does as it likes.
require_supported() {
    ask -i "$gpu" --query-supported-clocks=graphics --format=csv,noheader,nounits
    [[ $said =~ (^|$'\n')[0-9]+ ]] || die $UNABLE "it names no clocks that it supports: $said" "do without a lock"
    local clocks=" ${said//[^0-9]/ } "
    [[ $clocks == *" $mhz "* ]] || die $UNABLE "$mhz MHz is none of its clocks" \
        "nvidia-smi -i $gpu --query-supported-clocks=graphics --format=csv lists them"
}

# set_clocks OPTION ...: an exit code 0 proves nothing: 'not supported' is only a warning to the tool.
set_clocks() {
    change -i "$gpu" "$@"
    [[ $said != *"not supported"* ]] || die $UNABLE "nvidia-smi $*: ${said//$'\n'/ | }" "do without a lock"
    ((code == 0)) || refuse "nvidia-smi $*" "nvidia-smi -q -i $gpu -d CLOCK"
}

observe
if [[ $reset == yes ]]; then
    set_clocks -rgc
    end_of_dry_run
    result sm_clock_mhz unlocked
    exit
fi
require_supported
set_clocks -lgc "$mhz,$mhz"
end_of_dry_run
[[ $said == *"GPU clocks set to "*"$mhz"* ]] ||
    die $FAILED "nvidia-smi -lgc did not say that it set the clocks: ${said//$'\n'/ | }" "repeat it by hand"
result sm_clock_mhz "$mhz"
