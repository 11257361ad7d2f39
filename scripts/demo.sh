#!/usr/bin/env bash
# Build, then run the demo. QUICK=1 makes it short.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release
exec target/release/dmdr demo ${QUICK:+--quick} "$@"
