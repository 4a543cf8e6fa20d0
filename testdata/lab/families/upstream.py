"""The resolver behind the backends."""
from plan import upstream

KINDS = ("glibc", "musl", "go")


def points(p, kind, both, first, **cap):
    """Captures on the client's node and, with `both`, on a backend's; `first` is the node of the first."""
    if first:
        p.backend_cap(kind, **cap)
    if both or not first:
        p.cap(0, kind, **cap)
    if both and not first:
        p.backend_cap(kind)
    return "upstream" if both or first else None


def upstream_dead(p, kind="any", t=10, dur=50, rate=0.8, how="drop", both=True, first=0, end=None, **cap):
    p.duration = dur
    p.backend_cfg["cache_ttl"] = 5
    if how == "rcode":
        p.topo_args["upstream"] = "py"
    p.mix((0,), rate, 0.5)

    def start(topo):
        if how == "drop":
            topo.ipt(topo.up, "-I INPUT -p udp --dport 53 -j DROP")
        elif how == "auth":                     # the recursive resolver lives, its source is gone
            topo.stop_proc("upstream-auth")
            topo.unbound("flush_zone", ".")
        else:
            topo.knobs("upstream", rules=[{"do": "rcode", "rcode": 2, "prob": 0.9}])
    p.at(t, "fault_start", start)
    if end:
        p.at(end, "fault_end", lambda topo: topo.ipt(topo.up, "-D INPUT -p udp --dport 53 -j DROP"))
    where = points(p, kind, both, first, **cap)
    # Where the upstream's own packets are seen, silence and SERVFAIL are two faults.
    expected = "upstream-servfail" if first and how != "drop" else "upstream-timeout|upstream-servfail"
    p.label([expected], ["coredns-overload", "late-response", "nameserver-dead-first", "timeout-retries"],
            blame=upstream, where=where,
            notes={"drop": "the upstream resolver stops answering: the cluster DNS retries for 5 s and says SERVFAIL "
                           "for external names",
                   "auth": "the upstream resolver lost its own source and answers SERVFAIL for external names",
                   "rcode": "the upstream answers SERVFAIL for external names"}[how] + "; cluster names still work")


def upstream_refused(p, kind="any", t=10, dur=42, rate=1.0, both=False, **cap):
    p.duration = dur
    p.backend_cfg["cache_ttl"] = 5
    p.mix((0,), rate, 0.5)
    p.at(t, "fault_start", lambda topo: topo.unbound("local_zone", ".", "always_refuse"))
    where = points(p, kind, both, 0, **cap)
    p.label(["upstream-refused"], ["upstream-servfail", "upstream-timeout"], blame=upstream, where=where,
            notes="the upstream resolver refuses external names; cluster names still work")


def tcp_unsupported(p, kind="any", dur=40, rate=1.0, how="force", **cap):
    p.duration = dur
    p.backend_cfg["cache_ttl"] = 5
    p.upstream_cfg = {"unbound": "do-tcp: no"}
    p.whole = True
    if how == "force":
        p.backend_cfg["force_tcp"] = True
        p.mix((0,), rate, 0.5)
    else:
        p.mix((0,), rate, 0.3)
        p.client((0, 1), "dig", 0.4, [["+noedns big.example.com TXT", 1], ["+noedns pools.example.com A", 1]])
        p.client((0, 3), "go", 0.3, [["pools.example.com.", 1]])
        p.client((0, 2), "glibc", 0.3, [["pools.example.com.", 1]], family="inet")
    where = points(p, kind, True, 1, **cap)
    p.label(["upstream-tcp-unsupported"], ["tc-no-tcp", "tc-tcp-fails", "upstream-servfail", "upstream-timeout"],
            blame=upstream, where=where,
            notes="the upstream resolver has no TCP service (RST)" +
                  ("; the cluster DNS is set to use TCP for every forward, so external names fail with SERVFAIL"
                   if how == "force" else
                   "; big external answers are truncated and the TCP retry ends in SERVFAIL"))


def slow_aaaa(p, kind="any", t=0, dur=42, rate=0.9, ms=(1000, 1850), how="delay", both=False, kinds=KINDS, **cap):
    p.duration = dur
    p.topo_args["upstream"] = "py"
    p.backend_cfg["cache_ttl"] = 3
    p.mix((0,), rate, 0.55, kinds=kinds)
    rule = {"do": how, "qtype": "AAAA", "suffix": "", **({"ms": list(ms)} if how == "delay" else {})}
    p.fault(t, lambda topo: topo.knobs("upstream", rules=[rule]))
    where = points(p, kind, both, 0, **cap)
    also = ["late-response", "upstream-servfail", "upstream-timeout"]
    p.label(["slow-or-dropped-aaaa"], also + (["single-family-stall", "timeout-retries"] if how == "drop" else []),
            blame=upstream, where=where,
            notes="the upstream answers A at once and AAAA " + ("%d-%d ms later" % ms if how == "delay" else "never"))
