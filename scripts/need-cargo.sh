#!/usr/bin/env bash
# Stop with a clear message when there is no Rust toolchain; cargo itself says when it is too old.
set -euo pipefail
if ! command -v cargo >/dev/null; then
    echo 'error: `cargo` not found; install Rust 1.89 or newer (https://rustup.rs) and open a new shell' >&2
    exit 1
fi
