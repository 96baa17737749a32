#!/usr/bin/env bash
# Builds the server and the chaos test and runs it: it starts a server of its own and kills its
# workers and its journal in full traffic. It takes a little more than a minute. --help lists all
# options.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cargo build --release --quiet --manifest-path "$here/../Cargo.toml" --package forkchat-server --package forkchat-tests --bins
target="$(cargo metadata --manifest-path "$here/../Cargo.toml" --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')"
exec "$target/release/forkchat-chaos" "$@"
