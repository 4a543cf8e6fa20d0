#!/usr/bin/env bash
# Runs every fuzz target for so many seconds (60 by default) on the seeds of fuzz/seed.py.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-60}
for target in capture packet dns tcp whole_file; do
  mkdir -p "corpus/$target"
  # What a frame or a message can do wrong it does in a few kilobytes; larger inputs only cost time.
  nice cargo +nightly fuzz run "$target" -- \
    -max_total_time="$seconds" -max_len=4096 -timeout=20 -rss_limit_mb=1024 -print_final_stats=1 2>&1 |
    grep -E '^(stat::(number|peak|slowest)|SUMMARY|==.*ERROR)|panicked' | sed "s/^/$target: /"
done
