#!/usr/bin/env python3
"""DNS fault lab: builds a small cluster network out of namespaces, breaks one
thing, records it with tcpdump and writes the capture with a label.

  sudo python3 lab.py list
  sudo python3 lab.py run SCENARIO... OUTDIR     one or more scenarios
  sudo python3 lab.py all GROUP OUTDIR [-j N]    every scenario of a group (main, variants, further)
  sudo python3 lab.py clean                      remove left-over lab namespaces

Option -j N runs N scenarios at a time.  LAB_TAG=x changes the namespace prefix
to lab-x, LAB_KEEP=1 keeps the servers' configuration and logs.
"""
import json
import os
import sys
import threading
import time

from labnet import PREFIX, remove_namespace, sh
from run import Run, build_clients
from scenarios import SCENARIOS


def record(entry, out, tag):
    """One scenario, with one retry: a busy machine may miss a deadline of the set-up."""
    started = time.time()
    for attempt in (1, 2):
        try:
            Run(entry, out, tag).run()
            break
        except Exception as e:                      # the other scenarios go on
            print(f"FAIL {entry['name']} ({attempt}): {type(e).__name__}: {e}", flush=True)
    else:
        return
    with open(os.path.join(out, entry["name"], "label.json")) as f:
        label = json.load(f)
    files = [f["bytes"] for c in label["captures"] for f in c["files"]]
    s = label["ground_truth"]["all_clients"]
    print(f"ok   {entry['name']:34} {time.time() - started:5.0f}s {sum(files) / 1e6:6.2f} MB {len(files)} files  "
          f"lookups {s['lookups']}, failed {s.get('failed_unexpectedly')}, slow {s.get('slower_than_1s')}", flush=True)


def clean():
    for line in sh("ip netns list").splitlines():
        if line.startswith(PREFIX):
            remove_namespace(line.split()[0])


def record_all(todo, out, jobs):
    build_clients()
    lock = threading.Lock()

    def worker(tag):
        while True:
            with lock:
                if not todo:
                    return
                entry = todo.pop(0)
            record(entry, out, tag)
    prefix = os.environ.get("LAB_TAG", "")
    workers = [threading.Thread(target=worker, args=(prefix + chr(ord("a") + k),)) for k in range(jobs)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()


def main(argv):
    jobs = 1
    if "-j" in argv:
        k = argv.index("-j")
        jobs = int(argv[k + 1])
        del argv[k:k + 2]
    if argv[:1] == ["list"]:
        for e in SCENARIOS:
            print(f"{e['group']:8} {e['name']:34} {e['family'].__name__}")
    elif argv[:1] == ["clean"]:
        clean()
    elif argv[:1] == ["all"] and len(argv) == 3:
        record_all([e for e in SCENARIOS if e["group"] == argv[1]], argv[2], jobs)
    elif argv[:1] == ["run"] and len(argv) >= 3:
        unknown = set(argv[1:-1]) - {e["name"] for e in SCENARIOS}
        if unknown:
            sys.exit(f"no such scenario: {', '.join(sorted(unknown))}")
        record_all([e for e in SCENARIOS if e["name"] in argv[1:-1]], argv[-1], jobs)
    else:
        print(__doc__)
        return 0 if argv[:1] in ([], ["-h"], ["--help"]) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
