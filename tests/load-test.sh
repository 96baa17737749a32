#!/usr/bin/env bash
# Builds the server and the load generator and runs the load test: a new server for each row of the
# table, on free ports of the loopback. Without arguments it measures the whole table in about two
# minutes, with --quick in 20 seconds. --models compares the concurrency models and writes a report
# with plots to forkchat-models.html (or to the file given with --report). --compare
# HOST:PORT[:irc] adds another chat server. --help lists all options.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cargo build --release --quiet --manifest-path "$here/../Cargo.toml" --package forkchat-server --package forkchat-tests --bins
target="$(cargo metadata --manifest-path "$here/../Cargo.toml" --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')"
exec "$target/release/forkchat-load" "$@"
