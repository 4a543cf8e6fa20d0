"""What was broken and what the clients felt: label.json and lookups.jsonl."""
import glob
import ipaddress
import json
import os

from observed import Point, first_queries

# The rules that a label can forbid, in the order of the rulebook's sections.
RULES = ["stale-backend", "dead-backend", "timeout-retries", "empty-noerror", "search-suffix-storm", "affinity-pinned",
         "path-broken-pair", "conntrack-race-aaaa", "conntrack-full", "coredns-overload", "coredns-imbalance",
         "udp53-blocked", "service-wide-outage", "client-node-broken", "upstream-timeout", "upstream-servfail",
         "upstream-refused", "tc-no-tcp", "tc-tcp-fails", "upstream-tcp-unsupported", "replica-divergence",
         "autopath-wrong", "statefulset-pod-nxdomain", "late-response", "lossy-path", "nameserver-dead-first",
         "icmp-port-unreachable", "icmp-host-unreachable", "wrong-source-reply", "mtu-fragment", "slow-or-dropped-aaaa"]
# Advice that is true of nearly every cluster capture; never counted against a report of a fault.
NEUTRAL = {"timeout-retries", "search-suffix-storm"}
SLOW_MS = 1000


def write_label(run):
    p, t = run.plan, run.topo
    start = run.t0 if p.whole else run.marks.get("fault_start", (None,))[0]
    end = run.marks["fault_end"][1] if "fault_end" in run.marks else (run.t1 if start else None)
    rows = read_logs(run)
    captures = [describe(run, c) for c in p.captures]
    points = [Point([os.path.join(run.out, f["name"]) for f in c["files"]]) for c in captures]
    label = {"scenario": p.name, "expected_root_causes": p.expected, "acceptable_also": sorted(p.acceptable),
             "forbidden": forbidden(p), **culprits(p.blamed(t), points)}
    if p.where and len(points) > 1:
        label["where"] = p.where
    if p.harmless:
        label["harmless"] = True
    label.update({
        "fault_start": start and round(start, 6), "fault_end": end and round(end, 6),
        "other_marks": {k: [round(a, 6), round(b, 6)] for k, (a, b) in run.marks.items()
                        if k not in ("fault_start", "fault_end")},
        "affected_clients": sorted({r["pod"] for r in rows if hurt(r)}), "notes": p.notes,
        "cluster": cluster(p, t), "captures": captures, "ground_truth": truth(p, t, rows, start, end)})
    with open(os.path.join(run.out, "label.json"), "w") as f:
        json.dump(label, f, indent=1)
        f.write("\n")
    write_lookups(run, rows, points[0])


def forbidden(p):
    if p.expected == ["none"]:
        return list(RULES)
    right = {rule for either in p.expected for rule in either.split("|")}
    return [r for r in RULES if r not in right | set(p.acceptable) | NEUTRAL]


def culprits(blamed, points):
    """The culprit as the first point can show it, and as all of them together can."""
    text = ",".join(blamed) or None
    shown = [any(point.shows(value) for value in blamed) for point in points]
    out = {"culprit": text if shown[0] else None}
    if len(points) > 1 and any(shown):
        out["culprit_all_points"] = text
    return out


def read_logs(run):
    rows = []
    for i, j in run.plan.load:
        path = os.path.join(run.work, f"load-{i}-{j}.jsonl")
        if os.path.exists(path):
            with open(path) as f:
                rows += [{**json.loads(line), "pod": run.topo.pod_ip(i, j)} for line in f]
    return sorted(rows, key=lambda r: r["t"])


def write_lookups(run, rows, point):
    """Every lookup with the time of its first query at `point`.  Where pods ask over IPv6, their
    IPv6 address stands for them."""
    t = run.topo
    pods, client = {}, {}
    for i, j in run.plan.load:
        ip = t.pod_ip(i, j)
        client[ip] = str(ipaddress.ip_address(t.pod_ip6(i, j))) if t.ipv6 else ip
        pods[client[ip]] = ({ip, client[ip]}, t.search_list(j))
    rows = [{**row, "pod": client[row["pod"]]} for row in rows]
    first_queries(rows, point, pods)
    with open(os.path.join(run.out, "lookups.jsonl"), "w") as f:
        f.writelines(json.dumps(row) + "\n" for row in rows)


def describe(run, c):
    """One capture: where, how, and what came of it."""
    t = run.topo
    stem = c["name"].split("%")[0]
    files = sorted(glob.glob(os.path.join(run.out, stem + "*")))
    for path in files:
        os.chmod(path, 0o644)
    with open(c["err"]) as f:
        words = [line.split() for line in f]
    counts = {k: int(w[0]) for w in words for k in ("captured", "received", "dropped")
              if w and w[0].isdigit() and k in w}
    link = "EN10MB" if c["argv"][1] != "any" else "LINUX_SLL" if "LINUX_SLL" in c["argv"] else "LINUX_SLL2"
    return {"role": c["role"], "node": t.node_ip(c["node"]),
            **({"pod": t.pod_ip(c["node"], c["pod"])} if c.get("pod") else {}),
            "interface": c["argv"][1], "linktype": link, "filter": c["filter"], "command": c["command"],
            "start": round(c["t_start"], 6), "stop": round(c["t_stop"], 6),
            "files": [{"name": os.path.basename(x), "bytes": os.path.getsize(x)} for x in files],
            "tcpdump_counts": counts}


def cluster(p, t):
    out = {"service_ip": t.service_ip, "backends": t.backend_ips(), "upstream": t.upstream_ip, "domain": t.domain,
           "pod_cidrs": [t.pod_cidr(i) for i in range(t.nodes)], "node_ips": [t.node_ip(i) for i in range(t.nodes)],
           "overlay": t.overlay, "session_affinity": "ClientIP" if t.affinity else "None",
           "clients": {t.pod_ip(*pod): sorted({s["client"] for s in streams}) for pod, streams in p.load.items()}}
    if t.ipv6:
        out.update(service_ip6=t.ipv6["service"], backends6=[t.pod_ip6(*b) for b in t.backends],
                   clients6={t.pod_ip(*pod): t.pod_ip6(*pod) for pod in p.load})
    if t.nodelocal:
        out["nodelocal"] = t.nodelocal
    if p.pinned(t):
        out["pinned_to_culprit"] = p.pinned(t)
    return out


def truth(p, t, rows, start, end):
    nodes = {c["node"] for c in p.captures}
    local = {t.pod_ip(i, j) for i, j in p.load if i in nodes}
    if all(c.get("pod") for c in p.captures):
        local = {t.pod_ip(c["node"], c["pod"]) for c in p.captures}

    def by(key):
        return {k: stats([r for r in rows if r[key] == k]) for k in sorted({r[key] for r in rows})}
    out = {"all_clients": stats(rows), "captured_clients": stats([r for r in rows if r["pod"] in local]),
           "by_client_runtime": by("client"), "by_pod": by("pod")}
    if start:
        out["inside_fault_window"] = stats([r for r in rows if overlaps(r, start, end)])
        out["outside_fault_window"] = stats([r for r in rows if not overlaps(r, start, end)])
    return out


def overlaps(r, lo, hi):
    return r["t"] <= hi and r["t"] + r["ms"] / 1e3 >= lo


def hurt(r):
    return (r["rc"] != 0 and not r.get("expect_fail")) or r["ms"] >= SLOW_MS


def stats(rows):
    ms = sorted(r["ms"] for r in rows)
    if not ms:
        return {"lookups": 0}
    return {"lookups": len(ms), "failed": sum(r["rc"] != 0 for r in rows),
            "failed_unexpectedly": sum(r["rc"] != 0 and not r.get("expect_fail") for r in rows),
            "slower_than_1s": sum(m >= SLOW_MS for m in ms), "p50_ms": ms[len(ms) // 2],
            "p95_ms": ms[int(len(ms) * 0.95)], "max_ms": ms[-1]}
