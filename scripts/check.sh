#!/usr/bin/env bash
# Everything that CI checks besides the tests, cheap things first. Each step says how long it took.
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
    local name=$1 start=$SECONDS
    shift
    printf '== %s\n' "$name"
    if ! "$@"; then
        printf '== %s: FAILED (%s)\n' "$name" "$*" >&2
        exit 1
    fi
    printf '== %s: ok, %d s\n' "$name" $((SECONDS - start))
}

python=${PYTHON:-python3}
step 'sizes and leftovers' "$python" scripts/check-size.py
step 'layers' "$python" scripts/check-layers.py
step 'circles' "$python" scripts/check-circles.py
step 'script tests' "$python" -m unittest discover --start-directory scripts
step 'format' cargo fmt --all --check
step 'clippy' cargo clippy --release --workspace --all-targets --quiet -- -D warnings
step 'documentation' env RUSTDOCFLAGS='-D warnings' cargo doc --release --workspace --no-deps --quiet
