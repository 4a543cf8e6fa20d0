"""Faults combined, faults between two nodes, and the everyday life of a cluster."""
import signal

from families import backends, paths
from plan import backend, node_and_pods, upstream

KINDS = ("glibc", "musl", "go")


def death_and_refused(p, kind="any", t=10, dur=70, **cap):
    backends.node_death(p, kind, t=t, dur=dur, remove_after=36, **cap)
    p.backend_cfg["cache_ttl"] = 5
    p.at(t + 8, None, lambda topo: topo.unbound("local_zone", ".", "always_refuse"))
    p.expected.append("upstream-refused")
    p.acceptable += ["upstream-servfail", "upstream-timeout"]


def race_and_storm(p, kind="any", **cap):
    p.topo_args["search_extra"] = ("prod.example.internal", "example.internal")
    paths.conntrack_race(p, kind, **cap)
    for j, k in enumerate(("glibc", "go"), 2):
        p.client((0, j), k, 1.0, [["{r}.tenant.example.com", 1]])
    p.expected.append("search-suffix-storm")


def all_die(p, kind="any", t=12, dur=50, rate=0.7, **cap):
    p.duration = dur
    p.mix((0,), rate, 0.25)
    p.at(t, "fault_start", lambda topo: [topo.link(1, False), topo.link(2, False)])
    p.cap(0, kind, **cap)
    # Seen from one node alone, that node may be cut off as well.
    p.label(["service-wide-outage|client-node-broken"],
            ["dead-backend", "stale-backend", "udp53-blocked", "timeout-retries", "path-broken-pair"],
            blame=lambda topo: topo.backend_ips() + [topo.service_ip] + node_and_pods(0)(topo),
            notes="the nodes of both backends die")


def cut_off(p, kind="any", t=12, end=34, dur=55, rate=0.7, **cap):
    p.duration = dur
    p.topo_args.update(nodes=4, backends=[(1, 9), (2, 9)])
    p.mix((0,), rate, 0.25)
    p.mix((3,), 0.5, 0.25, extras=False, kinds=("glibc", "musl"))
    p.at(t, "fault_start", lambda topo: topo.link(0, False))
    p.at(end, "fault_end", lambda topo: topo.link(0, True))
    p.cap(0, kind, **cap)
    p.backend_cap(kind)
    p.label(["client-node-broken"], ["service-wide-outage", "udp53-blocked", "timeout-retries", "path-broken-pair",
            "dead-backend"],
            blame=node_and_pods(0), notes="the client's node loses its network; other nodes go on")


def rollout(p, kind="any", dur=45, rate=1.2, **cap):
    p.duration = dur
    p.mix((0,), rate, 0.3)
    p.at(14, None, lambda topo: topo.service_all(backends=[(2, 9)]))
    p.at(19, None, lambda topo: topo.stop_proc("coredns-1-9"))
    p.cap(0, kind, **cap)
    p.label(["none"], notes="a DNS pod is taken out of the service, drained for 5 s, and stopped: a clean rollout")


def missing(p, kind="any", dur=42, rate=0.6, **cap):
    p.duration = dur
    p.mix((0,), 1.0, 0.3)
    p.client((0, 1), "glibc", rate, [["payment.shop", 1]])
    p.client((0, 2), "musl", rate, [["payment.shop", 1]])
    p.whole = True
    p.cap(0, kind, **cap)
    p.label(["nxdomain-missing-name"], ["search-suffix-storm"], blame=lambda topo: ["payment.shop",
            f"payment.shop.svc.{topo.domain}"],
            notes="an application asks for a Service that does not exist (payments.shop does)")


def upstream_slow(p, kind="any", t=8, dur=48, rate=0.9, ms=(700, 1500), both=False, **cap):
    p.duration = dur
    p.topo_args["upstream"] = "py"
    p.backend_cfg["cache_ttl"] = 2
    p.mix((0,), rate, 0.5)
    p.at(t, "fault_start", lambda topo: topo.knobs("upstream", rules=[{"do": "delay", "ms": list(ms)}]))
    p.cap(0, kind, **cap)
    if both:
        p.backend_cap(kind)
    p.label(["upstream-slow"], ["slow-or-dropped-aaaa", "late-response"], blame=upstream,
            where="upstream" if both else None,
            notes="the upstream takes %d-%d ms for every external name" % ms)


def blocked_pair(p, kind="any", t=10, dur=50, rate=0.9, both=False, **cap):
    p.duration = dur
    p.topo_args.update(nodes=4, backends=[(1, 9), (2, 9), (3, 9)])
    p.mix((0,), rate, 0.25)
    p.mix((3,), 0.5, 0.25, extras=False, kinds=("glibc",))
    p.at(t, "fault_start", lambda topo: topo.ipt(topo.n(1),
         f"-t raw -I PREROUTING -i eth0 -s {topo.node_ip(0)} -j DROP"))
    p.cap(0, kind, **cap)
    if both:
        p.backend_cap(kind)
    p.label(["path-broken-pair"] if both else ["path-broken-pair|dead-backend"], ["dead-backend", "stale-backend",
            "timeout-retries"],
            blame=lambda topo: node_and_pods(0)(topo) + [topo.pod_ip(1, 9)], where="path-to-server" if both else None,
            notes="one node drops everything that comes from the client's node")


def restart(p, kind="any", t=15, back=6, dur=50, rate=1.0, **cap):
    p.duration = dur
    p.mix((0,), rate, 0.3)
    p.at(t, "fault_start", lambda topo: topo.stop_proc("coredns-1-9", signal.SIGSTOP))
    p.at(t + back, "fault_end", lambda topo: topo.stop_proc("coredns-1-9", signal.SIGCONT))
    p.cap(0, kind, **cap)
    p.label(["backend-restart|dead-backend|late-response|stale-backend|coredns-overload"], ["timeout-retries",
            "path-broken-pair", "lossy-path"], blame=backend(0),
            notes="one backend stands still for some seconds and goes on")


def quiet_night(p, kind="any", dur=60, **cap):
    p.duration = dur
    for j, k in enumerate(KINDS, 1):
        p.client((0, j), k, 0.08)
    p.cap(0, kind, **cap)
    p.label(["none"], notes="hardly any traffic")


def refused_zone(p, kind="any", t=9, dur=46, **cap):
    p.duration = dur
    p.backend_cfg["cache_ttl"] = 3
    p.mix((0,), 1.0, 0.6)
    p.at(t, "fault_start", lambda topo: topo.unbound("local_zone", "aliyuncs.com.", "always_refuse"))
    p.cap(0, kind, **cap)
    p.label(["upstream-refused"], ["upstream-servfail"], blame=lambda topo: [topo.upstream_ip, "aliyuncs.com",
            "oss-cn-hangzhou.aliyuncs.com"],
            notes="the upstream refuses one zone and answers others")


def slow_aaaa_zone(p, kind="any", t=8, dur=48, **cap):
    p.duration = dur
    p.topo_args["upstream"] = "py"
    p.backend_cfg["cache_ttl"] = 2
    p.mix((0,), 1.0, 0.6)
    p.at(t, "fault_start", lambda topo: topo.knobs("upstream", rules=[{"do": "drop", "qtype": "AAAA",
         "suffix": "example.com"}]))
    p.cap(0, kind, **cap)
    p.label(["slow-or-dropped-aaaa"], ["upstream-servfail", "upstream-timeout", "late-response",
            "single-family-stall", "timeout-retries"],
            blame=lambda topo: [topo.upstream_ip, "example.com", "api.example.com", "mail.example.com"],
            notes="the upstream never answers AAAA below example.com")


def death_no_flush(p, kind="any", t=10, dur=70, **cap):
    p.duration = dur
    p.mix((0,), 0.8, 0.25)
    p.at(t, "fault_start", lambda topo: topo.link(1, False))
    p.at(t + 40, "fault_end", lambda topo: topo.service_all(backends=[(2, 9)], flush_conntrack=False))
    p.cap(0, kind, **cap)
    p.label(["stale-backend"], ["path-broken-pair", "timeout-retries", "stale-flow-pin"], blame=backend(0),
            notes="a node dies; its conntrack entries stay when the endpoint goes")


def spark(p, kind="any", dur=45, **cap):
    paths.large_lost(p, kind, dur=dur, both=True, limit=1200, **cap)
    p.client((0, 2), "dig", 0.3, [["+bufsize=4096 spark-exec.default.svc.{DOMAIN} A", 1]])
    blamed = p.blamed
    p.blamed = lambda topo: blamed(topo) + [f"spark-exec.default.svc.{topo.domain}"]


def late_and_death(p, kind="any", t=10, dur=70, **cap):
    backends.node_death(p, kind, t=t, dur=dur, node=1, **cap)
    p.topo_args["wire_nodes"] = (2,)
    p.at(t + 4, None, lambda topo: topo.wire_rules(2, [{"kind": "response", "src": topo.pod_ip(2, 9),
         "delay_ms": [5200, 6400], "prob": 0.25}]))
    p.at(t + 30, None, lambda topo: topo.wire_rules(2, []))
    p.expected.append("late-response")


def slow_outside(p, kind="any", dur=42, **cap):
    p.duration = dur
    p.topo_args["upstream"] = "py"
    p.backend_cfg["cache_ttl"] = 2
    p.before(lambda topo: topo.knobs("upstream", rules=[{"do": "delay", "ms": [80, 420]}]))
    p.mix((0,), 1.4, 0.6)
    p.cap(0, kind, **cap)
    p.label(["none"], notes="a far upstream: 80 to 420 ms for every external name; nothing fails")


def two_nodes(p, kind="any", dur=42, **cap):
    p.duration = dur
    p.mix((0, 1), 1.0, 0.35)
    p.cap(0, kind, **cap)
    p.backend_cap(kind)
    p.label(["none"], notes="two capture points, nothing is wrong")
