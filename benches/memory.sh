#!/usr/bin/env bash
# Peak memory and time of `dnswhy analyze` on floods: captures with millions of flows and as many
# names, made on the fly and read from standard input.
#
# usage: benches/memory.sh [FLOWS [LIMIT_MB]]      default: 10000000 flows (2 GB), 512 MB
#
# Exit status 1 if a run takes more memory than the limit. Needs cargo and python3.
set -euo pipefail
cd "$(dirname "$0")/.."
flows=${1:-10000000}
limit=${2:-512}
profile=${PROFILE:-release}
cargo build --profile "$profile" --bin dnswhy --example flood
folder=target/${profile/dev/debug}

measure() {
  python3 - "$folder" "$limit" "$@" <<'PYTHON'
import json, resource, subprocess, sys, time
folder, limit, *flood = sys.argv[1:]
started = time.time()
made = subprocess.Popen([f"{folder}/examples/flood", *flood], stdout=subprocess.PIPE)
read = subprocess.Popen([f"{folder}/dnswhy", "analyze", "--format", "json", "-"], stdin=made.stdout,
                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
made.stdout.close()
report = json.loads(read.stdout.read())
_, status, used = __import__("os").wait4(read.pid, 0)
made.wait()
capture = report["capture"]
size = sum(file["bytes"] or 0 for file in capture["files"])
accounts = capture["frames"] == capture["dns_frames"] + capture["not_dns"] + sum(capture["undecodable"].values())
peak = used.ru_maxrss // 1024
limits = [h["detail"] for h in capture["health"] if h["rule"] == "cap-limit"]
print(f"{' '.join(flood):40} {capture['frames']:>10} frames  peak {peak:>4} MB  user {used.ru_utime:6.1f} s  "
      f"wall {time.time() - started:6.1f} s  {report['verdict']['status']}")
for text in limits:
    print(f"    {text}")
sys.exit(0 if peak <= int(limit) and accounts else 1)
PYTHON
}

failed=0
# Few busy clients over an hour; all at once; every flow a client of its own; every lookup harmed;
# nobody answers; one client alone; streams that never close.
measure "$flows" 3600 250 nxdomain || failed=1
measure "$flows" 60 250 nxdomain || failed=1
measure "$flows" 3600 10000000 nxdomain || failed=1
measure "$flows" 3600 250 servfail || failed=1
measure "$flows" 3600 250 silent || failed=1
measure $((flows / 2)) 3600 20000 retried || failed=1
measure $((flows / 10)) 3600 1 silent || failed=1
measure $((flows / 5)) 3600 250000 tcp || failed=1
exit $failed
