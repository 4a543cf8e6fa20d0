#!/usr/bin/env bash
# What a second capture point costs: two points of half the size, which saw the same datagrams, beside
# one point of the whole size. Medians of several runs in turn, as a ratio.
#
# usage: benches/points.sh [RUNS [FILES_OF_20_MB]]     default: 5 runs, 100 files (2 GB)
#
# Needs cargo, python3, and editcap of Wireshark, which sets the second point's clock apart.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-5}
files=${2:-100}
work=${TMPDIR:-/tmp}/dnswhy-points
cargo build --release --bin dnswhy
cargo build --release --manifest-path benches/gen/Cargo.toml --target-dir target/gen
rm -rf "$work"
mkdir -p "$work/two"
trap 'rm -rf "$work"' EXIT
make_set() { # FOLDER FILES
  target/gen/release/dnscapgen --out "$work/$1" --prefix client.pcap --files "$2" --mb 20 --link sll2 >/dev/null
}
make_set one "$files"
make_set two "$((files / 2))"
for file in "$work"/two/client.pcap*; do
  editcap -F pcap -t 0.25 "$file" "$work/two/server.pcap${file##*.pcap}"
done
python3 - "$runs" "$work" <<'PYTHON'
import os, statistics, subprocess, sys, time
runs, work = int(sys.argv[1]), sys.argv[2]
ours = os.path.abspath("target/release/dnswhy")
def one(folder):
    started = time.perf_counter()
    subprocess.run(f"exec {ours} analyze -q -f json {work}/{folder} >/dev/null", shell=True)
    return time.perf_counter() - started
seen = {"one": [], "two": []}
for _ in range(runs):
    for folder, times in seen.items():
        times.append(one(folder))
one, two = (statistics.median(times) for times in seen.values())
print(f"one point {one:.2f} s, two points {two:.2f} s: {two / one:.2f}")
PYTHON
