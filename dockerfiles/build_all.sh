#!/usr/bin/env bash
# Build the images that jobs run in, each one only when what goes into it has changed. docs/images.md tells more.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: build_all.sh [options] [IMAGE...]

Builds gpu-sharing-bench/NAME for each dockerfiles/Dockerfile.NAME, or for those named and what they stand on.
An image is tagged with a hash of its Dockerfile, the files it copies, its build arguments and its parent; where
that tag exists, nothing is built. Images that do not stand on each other are built side by side.

  --build-arg KEY=VALUE   hand a build argument to the builds; may be repeated. BASE_IMAGE=IMAGE
                          replaces the official Python image (a Debian with python3 >= 3.11 and venv)
  --network MODE          network of the build steps, as for `docker build` (for instance host)
  --tag TAG               a second tag for all images (default: latest, which the catalog means)
  --dry-run               print the commands that would build everything, run nothing
  --help                  print this text

Exit status: 0 built, or nothing to build; 1 a build failed; 2 wrong usage, or no Docker engine to build with.
USAGE
}

refuse() {
    printf 'build_all.sh: %s\n' "$1" >&2
    exit 2
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
repository=gpu-sharing-bench
tag=latest
dry_run=false
wanted=()
base_options=()
common_options=()
network=()

while [ $# -gt 0 ]; do
    case $1 in
        --help) usage; exit 0 ;;
        --dry-run) dry_run=true; shift; continue ;;
        --build-arg | --network | --tag) [ $# -ge 2 ] || refuse "$1 needs a value; see --help" ;;
        -*) refuse "unknown option $1; see --help" ;;
        *) wanted+=("$1"); shift; continue ;;
    esac
    case $1=$2 in
        --build-arg=BASE_IMAGE=*) base_options+=("$1" "$2") ;;
        --build-arg=[A-Za-z_]*=*) common_options+=("$1" "$2") ;;
        --build-arg=*) refuse "--build-arg takes KEY=VALUE, not '$2'" ;;
        --network=*) network+=("$1" "$2") ;;
        --tag=*) tag=$2 ;;
    esac
    shift 2
done

# The image that one stands on, as its Dockerfile says; nothing for those that begin with BASE_IMAGE.
parent_of() {
    sed -n "s|^ARG PARENT_IMAGE=$repository/\(.*\):latest\$|\1|p" "dockerfiles/Dockerfile.$1"
}

# The files that its Dockerfile copies from the checkout: every word of a COPY but the last.
sources_of() {
    local words
    words=$(awk '$1 == "COPY" && $2 !~ /^--/ { for (i = 2; i < NF; i++) print $i }' "dockerfiles/Dockerfile.$1")
    # shellcheck disable=SC2086 # the shell expands workloads/*.py, as the engine does
    find $words -type f ! -path '*/__pycache__/*' | LC_ALL=C sort
}

options_of() {
    if [ -n "$(parent_of "$1")" ]; then
        printf '%s\n' --build-arg "PARENT_IMAGE=$repository/$(parent_of "$1"):$(hash_of "$(parent_of "$1")")"
    elif [ ${#base_options[@]} -gt 0 ]; then
        printf '%s\n' "${base_options[@]}"
    fi
    [ ${#common_options[@]} -eq 0 ] || printf '%s\n' "${common_options[@]}"
}

hash_of() {
    {
        options_of "$1"
        sources_of "$1" | xargs -d '\n' sha256sum "dockerfiles/Dockerfile.$1"
    } | sha256sum | cut -c 1-12
}

# The commit that an image comes from, marked when its files differ from it.
revision_of() {
    local commit files
    commit=$(git rev-parse HEAD 2>/dev/null) || { echo unknown; return; }
    mapfile -t files < <(sources_of "$1")
    [ -z "$(git status --porcelain -- "dockerfiles/Dockerfile.$1" "${files[@]}")" ] || commit+=-dirty
    echo "$commit"
}

# A line KEY=VALUE each: commit, hash, and the versions of what our lists of packages ask for.
labels_of() {
    local lists
    echo "org.opencontainers.image.title=$repository/$1"
    echo "org.opencontainers.image.revision=$(revision_of "$1")"
    echo "org.opencontainers.image.version=$(hash_of "$1")"
    mapfile -t lists < <(sources_of "$1" | grep '/requirements/')
    [ ${#lists[@]} -eq 0 ] ||
        awk '/^[a-z]/ { split($1, pin, "==") } /-r .*\.in$/ { print "package." pin[1] "=" pin[2] }' "${lists[@]}"
}

# Standard input of the build. The legacy builder knows no mounts: there the packages are not kept between builds.
dockerfile_of() {
    if [ "$DOCKER_BUILDKIT" = 1 ]; then
        cat "dockerfiles/Dockerfile.$1"
    else
        sed 's/--mount=type=cache,target=[^ ]*/PIP_NO_CACHE_DIR=1/' "dockerfiles/Dockerfile.$1"
    fi
}

has_buildkit() {
    DOCKER_BUILDKIT=1 docker build --help 2>/dev/null | grep -q -- '--secret' # only BuildKit has secrets
}

command_for() {
    local options labels
    mapfile -t options < <(options_of "$1")
    mapfile -t labels < <(labels_of "$1")
    command=(
        docker build --file - --tag "$repository/$1:$(hash_of "$1")" --tag "$repository/$1:$tag"
        "${labels[@]/#/--label=}" ${network[@]+"${network[@]}"} "${options[@]}" "$PWD"
    )
}

# Build one image where its hash is not there yet, each line of what docker says beginning with its name.
build() {
    local image
    image=$repository/$1:$(hash_of "$1")
    if docker image inspect "$image" >/dev/null 2>&1; then
        docker tag "$image" "$repository/$1:$tag"
        return
    fi
    local command
    command_for "$1"
    dockerfile_of "$1" | "${command[@]}" 2>&1 | sed -u "s/^/$1: /" || {
        printf 'build_all.sh: building %s failed; the lines that begin with "%s:" say where\n' "$image" "$1" >&2
        return 1
    }
}

build_side_by_side() {
    local name job jobs=() failed=false
    for name in "$@"; do
        build "$name" &
        jobs+=($!)
    done
    for job in ${jobs[@]+"${jobs[@]}"}; do
        wait "$job" || failed=true
    done
    ! $failed || exit 1
}

print_commands() {
    local name command
    for name in "$@"; do
        command_for "$name"
        printf '%q ' "${command[@]}"
        printf '< %q\n' "dockerfiles/Dockerfile.$name"
    done
}

size_mb() {
    docker image inspect --format '{{.Size}}' "$repository/$1:$tag" | awk '{ printf "%.0f\n", $1 / 1e6 }'
}

print_sizes() {
    local name parent size
    printf '%-32s %-14s %9s %13s\n' image hash 'size (MB)' 'on its parent'
    for name in "$@"; do
        size=$(size_mb "$name")
        parent=$(parent_of "$name")
        printf '%-32s %-14s %9s %13s\n' "$repository/$name" "$(hash_of "$name")" "$size" \
            "${parent:+$((size - $(size_mb "${parent:-$name}")))}"
    done
}

require_engine() {
    command -v docker >/dev/null ||
        refuse "docker is not installed: install Docker Engine (on Debian: apt-get install docker.io)"
    docker version --format '{{.Server.Version}}' >/dev/null 2>&1 ||
        refuse "the Docker engine does not answer: start it (systemctl start docker), and see that \`docker version\` works for this user"
}

all=(dockerfiles/Dockerfile.*)
all=("${all[@]##*.}")
[ ${#wanted[@]} -gt 0 ] || wanted=("${all[@]}")
first=() # those on no image of ours
second=() # those on one of the first
for name in "${wanted[@]}"; do
    [ -f "dockerfiles/Dockerfile.$name" ] || refuse "there is no image $name; there are: ${all[*]}"
    parent=$(parent_of "$name")
    [[ " ${first[*]-} " == *" ${parent:-$name} "* ]] || first+=("${parent:-$name}")
    [ -z "$parent" ] || second+=("$name")
done

if $dry_run; then
    print_commands "${first[@]}" ${second[@]+"${second[@]}"}
    exit
fi
require_engine
if has_buildkit; then export DOCKER_BUILDKIT=1; else export DOCKER_BUILDKIT=0; fi
set -m # each build is a process group, which would outlive this script when that is interrupted
trap 'jobs -p | sed "s/^/-/" | xargs -r kill --' EXIT
build_side_by_side "${first[@]}"
build_side_by_side ${second[@]+"${second[@]}"}
print_sizes "${first[@]}" ${second[@]+"${second[@]}"}
