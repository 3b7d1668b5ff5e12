#!/usr/bin/env bash
# Build the images that jobs run in: base, then training and inference on top of it, and TensorFlow's.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: build_all.sh [options]

Builds gpu-sharing-bench/base, gpu-sharing-bench/training, gpu-sharing-bench/inference and
gpu-sharing-bench/tensorflow.

  --build-arg KEY=VALUE   hand a build argument to the builds; may be repeated. BASE_IMAGE=IMAGE
                          replaces the official Python image (needs python3 >= 3.11 with venv)
  --network MODE          network of the build steps, as for `docker build` (for instance host)
  --tag TAG               tag of all images (default: latest)
  --dry-run               print the commands, run nothing
  --help                  print this text

Exit status: 0 built; 1 a build failed; 2 wrong usage, or no Docker engine to build with.
USAGE
}

refuse() {
    printf 'build_all.sh: %s\n' "$1" >&2
    exit 2
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tag=latest
dry_run=false
base_options=()
common_options=()

while [ $# -gt 0 ]; do
    case $1 in
        --help) usage; exit 0 ;;
        --dry-run) dry_run=true; shift; continue ;;
        --build-arg | --network | --tag) [ $# -ge 2 ] || refuse "$1 needs a value; see --help" ;;
        *) refuse "unknown option $1; see --help" ;;
    esac
    case $1=$2 in
        --build-arg=BASE_IMAGE=*) base_options+=("$1" "$2") ;;
        --build-arg=[A-Za-z_]*=*) common_options+=("$1" "$2") ;;
        --build-arg=*) refuse "--build-arg takes KEY=VALUE, not '$2'" ;;
        --network=*) common_options+=("$1" "$2") ;;
        --tag=*) tag=$2 ;;
    esac
    shift 2
done

require_engine() {
    command -v docker >/dev/null ||
        refuse "docker is not installed: install Docker Engine (on Debian: apt-get install docker.io)"
    docker version --format '{{.Server.Version}}' >/dev/null 2>&1 ||
        refuse "the Docker engine does not answer: start it (systemctl start docker), and see that \`docker version\` works for this user"
}

# The commit that the code comes from, marked when the working tree differs from it.
revision() {
    local commit
    commit=$(git -C "$root" rev-parse HEAD 2>/dev/null) || { echo unknown; return; }
    [ -z "$(git -C "$root" status --porcelain)" ] || commit+=-dirty
    echo "$commit"
}

build() {
    local name=$1
    shift
    local command=(
        docker build
        --file "$root/dockerfiles/Dockerfile.$name"
        --tag "gpu-sharing-bench/$name:$tag"
        --label "org.opencontainers.image.revision=$revision"
        ${common_options[@]+"${common_options[@]}"}
        "$@"
        "$root"
    )
    if $dry_run; then
        printf '%q ' "${command[@]}"
        echo
        return
    fi
    "${command[@]}" || {
        printf 'build_all.sh: building gpu-sharing-bench/%s failed; the lines above say where\n' "$name" >&2
        exit 1
    }
}

revision=$(revision)
$dry_run || require_engine
build base ${base_options[@]+"${base_options[@]}"}
build training --build-arg "PARENT_IMAGE=gpu-sharing-bench/base:$tag"
build inference --build-arg "PARENT_IMAGE=gpu-sharing-bench/base:$tag"
build tensorflow ${base_options[@]+"${base_options[@]}"}
