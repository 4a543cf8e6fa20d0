#!/usr/bin/env bash
# How much faster two jobs go through an archive than one: the ratio of one run, after a first one that
# warms the disk's cache. Needs two cores that nobody else uses.
#
#     benches/jobs.sh [DNSWHY] [COPIES]
set -euo pipefail
cd "$(dirname "$0")/.."

program=${1:-target/release/dnswhy}
copies=${2:-40}
[[ -x $program ]] || cargo build --release
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for ((n = 0; n < copies; n++)); do
  mkdir -p "$folder/archive/n$n"
  cp -r testdata/pcap/* "$folder/archive/n$n/"
done

# Seconds of one run over all sets; "processor" counts what all threads used, "wall" what a clock shows.
run() {
  rm -rf "$folder/reports"
  TIMEFORMAT='%R %U'
  { time "$program" batch -q -f json --jobs "$1" "$folder/archive" -o "$folder/reports"; } 2>&1
}
run 2 > /dev/null
read -r one one_processor <<< "$(run 1)"
read -r two two_processor <<< "$(run 2)"
printf 'one job: %s s (processor %s s); two jobs: %s s (processor %s s)\n' \
  "$one" "$one_processor" "$two" "$two_processor"
awk -v one="$one" -v two="$two" 'BEGIN {
  printf "two jobs are %.2f times as fast as one\n", one / two
  exit one / two < 1.6
}'
