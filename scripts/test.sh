#!/usr/bin/env bash
# All tests, also past a failure, and one closing line with the sums.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --release --workspace --no-fail-fast "$@" | tee "$log" || status=$?
awk '/^test result: / { passed += $4; failed += $6; skipped += $8 }
     END { printf "\ntests: %d passed, %d failed, %d skipped\n", passed, failed, skipped }' "$log"
exit "$status"
