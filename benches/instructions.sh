#!/usr/bin/env bash
# Instructions per frame of a whole run on a small fixed input, counted by callgrind: free of the
# machine's noise, so it may gate. Fails where the figure is more than 5 % above the one in
# benches/instructions.txt; `benches/instructions.sh --take` writes that anew.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v valgrind >/dev/null; then
  echo 'valgrind is not installed: instructions not counted'
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo build --release --bin dnswhy
cargo build --release --manifest-path benches/gen/Cargo.toml --target-dir target/gen
packets=60000
target/gen/release/dnscapgen --out "$work" --packets "$packets" >/dev/null
valgrind --tool=callgrind --callgrind-out-file="$work/callgrind.out" \
  target/release/dnswhy analyze -q --threads 1 -f json "$work"/dns.pcap0 >/dev/null 2>"$work/log"
total=$(sed -n 's/^.*Collected : \([0-9]*\).*$/\1/p' "$work/log")
each=$((total / packets))
if [[ ${1:-} == --take ]]; then
  echo "$each" >benches/instructions.txt
fi
known=$(cat benches/instructions.txt)
echo "$each instructions per frame (known: $known)"
if ((each * 100 > known * 105)); then
  echo 'That is more than 5 % above what is known: find out where, or take it with --take and say why.'
  exit 1
fi
