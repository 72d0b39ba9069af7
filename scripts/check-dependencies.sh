#!/bin/sh
# Licences, banned crates and sources of all dependencies; security advisories where they can be had.
# Needs cargo-deny (cargo install --locked cargo-deny).
set -eu
cd "$(dirname "$0")/.."

cargo deny check bans licenses sources

if cargo deny fetch db; then
    cargo deny check advisories
else
    echo "==========================================================================" >&2
    echo "NOTE: SECURITY ADVISORIES WERE NOT CHECKED: the database could not be" >&2
    echo "fetched (https://github.com/rustsec/advisory-db). Run this with network." >&2
    echo "==========================================================================" >&2
fi
