#!/usr/bin/env bash
# Builds the server and the load generator, and runs the load test: a server of its own for each row of the table, on free ports of the loopback.
# Without arguments the whole table in about two minutes; --quick in 20 seconds; --help tells the rest.
# With --models the server's models side by side, and how each grows with the number of connections: about 8 minutes, with --quick under a minute once built.
# That writes a report with plots to forkchat-models.html, or where --report says. --compare HOST:PORT[:irc] puts another chat server beside ours.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cargo build --release --quiet --manifest-path "$here/../Cargo.toml" --package forkchat-server --package forkchat-tests --bins
target="$(cargo metadata --manifest-path "$here/../Cargo.toml" --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')"
exec "$target/release/forkchat-load" "$@"
