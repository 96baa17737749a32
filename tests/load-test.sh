#!/usr/bin/env bash
# Builds the server and the load generator, and runs the load test: a server of its own for each row of the table, on free ports of the loopback.
# Without arguments the whole table in about two minutes; --quick in 20 seconds; --help tells the rest.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cargo build --release --quiet --manifest-path "$here/../Cargo.toml" --package forkchat-server --package forkchat-tests --bins
target="$(cargo metadata --manifest-path "$here/../Cargo.toml" --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')"
exec "$target/release/forkchat-load" "$@"
