#!/usr/bin/env bash
# Pin what the images install: requirements/NAME.in (what we ask for) becomes NAME.txt (versions, with the hashes of
# all their files, for every Python from 3.11 on). Needs uv, which asks the package index that it is told to ask; no
# address of one enters a file. What is pinned stays as it is, unless --upgrade is given.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/requirements"

lists=(base.in models.in) # first, because the others are constrained by them
for list in *.in; do
    [[ " ${lists[*]} " == *" $list "* ]] || lists+=("$list")
done

for list in "${lists[@]}"; do
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
        --output-file "${list%.in}.txt" "$@" "$list"
done
