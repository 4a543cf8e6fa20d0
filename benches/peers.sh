#!/usr/bin/env bash
# The whole program beside its peers, on generated captures, page cache warm: medians of several
# runs in turn, as ratios. Absolute times say little on a shared machine.
#
# usage: benches/peers.sh [RUNS [FILES_OF_20_MB]]     default: 5 runs, 200 files (4 GB)
#
# Needs cargo and python3. Peers that are not installed are left out. dnsscope and tshark get a tenth
# of it (dnsscope as SLL: it reads no SLL2).
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-5}
files=${2:-200}
few=$(((files + 9) / 10))
work=${TMPDIR:-/tmp}/dnswhy-peers
cargo build --release --bin dnswhy
cargo build --release --manifest-path benches/gen/Cargo.toml --target-dir target/gen
make_set() { # NAME FILES LINK
  # One that was made before is used again, if it has as many files.
  if [[ $(cat "$work/$1/complete" 2>/dev/null) != "$2" ]]; then
    rm -rf "${work:?}/$1"
    target/gen/release/dnscapgen --out "$work/$1" --files "$2" --mb 20 --link "$3" --copies 2-4 >/dev/null
    echo "$2" >"$work/$1/complete"
  fi
}
make_set all "$files" sll2
make_set few "$few" sll2
make_set few-sll "$few" sll
python3 - "$runs" "$work" <<'PYTHON'
import os, shutil, statistics, subprocess, sys, time
runs, work = int(sys.argv[1]), sys.argv[2]
ours = os.path.abspath("target/release/dnswhy")
report = f"{ours} analyze -q -f json"
def one(command):
    started = time.perf_counter()
    # Where the sets are: dnsscope writes files into the folder that it is called from.
    made = subprocess.Popen(["sh", "-c", f"exec {command} >/dev/null 2>&1"], cwd=work)
    _, status, used = os.wait4(made.pid, 0)
    return time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
def race(title, folder, rivals, times):
    rivals = {name: command for name, command in rivals.items() if shutil.which(command.split()[0])}
    files = f"{work}/{folder}/dns.pcap*"
    subprocess.run(["sh", "-c", f"cat {files} >/dev/null"], check=True)
    seen = {name: [] for name in rivals}
    for _ in range(times):
        for name, command in rivals.items():
            if "{}" in command:
                text = f"sh -c 'for f in {files}; do {command.replace('{}', '$f')} || exit; done'"
            else:
                text = f"sh -c '{command} {files}'"
            seen[name].append(one(text))
    middle = {name: [statistics.median(column) for column in zip(*each)] for name, each in seen.items()}
    print(f"\n{title}")
    print(f"{'':34} {'wall s':>8} {'cpu s':>8} {'MB':>7} {'x cat':>7} {'/ dnswhy':>9}")
    base, mine = middle["cat"][0], middle["dnswhy"][0]
    for name, (wall, cpu, memory) in middle.items():
        print(f"{name:34} {wall:8.2f} {cpu:8.2f} {memory:7.0f} {wall / base:7.1f} {wall / mine:9.2f}")
race("all files", "all", {
    "cat": "cat", "dnswhy": report, "dnswhy, 1 thread": f"{report} --threads 1",
    "capinfos -c": "capinfos -c", "tcpdump -r -w /dev/null": "tcpdump -r {} -w /dev/null",
}, runs)
race("a tenth of them", "few", {
    "cat": "cat", "dnswhy": report, "dnstop": "dnstop -l 3 {}", "tshark -z dns,tree": "tshark -q -z dns,tree -r {}",
}, max(1, runs // 2))
race("a tenth of them, as SLL", "few-sll", {
    "cat": "cat", "dnswhy": report, "dnsscope": "dnsscope {}",
}, max(1, runs // 2))
PYTHON
