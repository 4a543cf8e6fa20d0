"""A DNS backend is gone, starved, or has the wrong share of the load."""
from plan import backend

KINDS = ("glibc", "musl", "go")


def kill_node(p, t, node, remove_after=40):
    """The node's cable is cut; after `remove_after` seconds the service knows."""
    p.at(t, "fault_start", lambda topo: topo.link(node, False))
    if remove_after is not None:
        keep = [b for b in p.topo_args.get("backends", [(1, 9), (2, 9)]) if b[0] != node]
        p.at(t + remove_after, "fault_end", lambda topo: topo.service_all(backends=keep))


def backend_of(node):
    return lambda topo: [(topo.pod_ip6 if topo.ipv6 else topo.pod_ip)(*b) for b in topo.backends if b[0] == node][:1]


def node_death(p, kind="any", t=10, remove_after=40, dur=66, rate=0.7, node=1, kinds=KINDS, filt="port 53",
               attempts=None, nodes=(0,), cap_node=0, expected="stale-backend", **cap):
    p.duration = dur
    if attempts:
        p.topo_args["resolv_options"] = f"ndots:5 attempts:{attempts}"
        p.grace = 5 * attempts + 8
    p.mix(nodes, rate, 0.25, kinds=kinds)
    p.client((cap_node, 1), "nslookup", 0.15, [["kubernetes.default.svc.{DOMAIN}", 1]])
    kill_node(p, t, node, remove_after)
    p.cap(cap_node, kind, filt=filt, **cap)
    icmp = ["icmp-host-unreachable", "icmp-port-unreachable", "udp53-blocked"] if "icmp" in filt else []
    p.label([expected], ["path-broken-pair", "timeout-retries"] + icmp, blame=backend_of(node),
            notes="a node with a DNS backend dies; the service still sends to it until the endpoint is removed")


def node_death_hostgw(p, filt="port 53 or icmp or arp", **kw):
    p.topo_args.update(overlay="hostgw", arp_proxy=False)
    node_death(p, filt=filt, **kw)
    p.notes += "; host-gw routing, so the node answers with ICMP host unreachable once ARP fails"


def death_and_storm(p, kind="any", t=12, dur=66, **cap):
    p.topo_args["search_extra"] = ("prod.example.internal", "example.internal")
    node_death(p, kind, t=t, dur=dur, rate=0.5, remove_after=38, **cap)
    for j, k in enumerate(("glibc", "musl"), 1):
        p.client((0, j), k, 0.8, [["{r}.tenant.example.com", 1]])
    p.expected.append("search-suffix-storm")
    p.notes += "; at the same time a storm of search-expanded external names"


def affinity_dead(p, kind="any", t=10, dur=60, rate=0.7, node=1, pinned=(1,), filt="port 53", **cap):
    p.duration = dur
    p.topo_args["affinity"] = True
    p.mix((0,), rate, 0.25, extras=False)
    p.client((0, pinned[0]), "dig", 0.2, [["api.example.com A", 1]])

    def pin(topo):
        bad = [k for k, b in enumerate(topo.backends) if b[0] == node][0]
        good = [k for k, b in enumerate(topo.backends) if b[0] != node]
        for j in range(1, topo.pods + 1):
            topo.pin(0, j, bad if j in pinned else good[j % len(good)])
    p.before(pin)
    p.pinned = lambda topo: [topo.pod_ip(0, j) for j in pinned]
    p.at(t, "fault_start", lambda topo: topo.link(node, False))
    p.cap(0, kind, filt=filt, **cap)
    p.label(["dead-backend"], ["affinity-pinned", "path-broken-pair", "stale-backend", "timeout-retries"],
            blame=backend_of(node),
            notes="session affinity ClientIP keeps some clients on a backend whose node lost its network; others never "
                  "notice")


def process_dead(p, kind="any", t=10, dur=40, rate=0.9, filt="port 53 or icmp or arp", which=0, **cap):
    p.duration = dur
    p.mix((0,), rate, 0.3)

    def kill(topo):
        i, j = topo.backends[which]
        topo.stop_proc(f"coredns-{i}-{j}")
    p.at(t, "fault_start", kill)
    p.cap(0, kind, filt=filt, **cap)
    seen = "icmp" in filt
    p.label(["icmp-port-unreachable|dead-backend"] if seen else ["dead-backend"],
            ["backend-restart", "path-broken-pair", "stale-backend", "timeout-retries"], blame=backend(which),
            notes="the DNS process of one backend exits but its pod stays in the service: ICMP port unreachable comes "
                  "from the pod's address" + ("" if seen else " (hidden by the capture filter, so queries just stay "
                                                              "unanswered and are repeated at once)"))


def stale_conntrack(p, kind="any", t=10, dur=60, rate=0.6, **cap):
    p.duration = dur
    p.mix((0,), rate, 0.25)
    p.client((0, 2), "fixedport", 0.6, [["redis-master.default.svc.{DOMAIN}", 1]], port=43210, server="{VIP}")
    p.client((0, 3), "fixedport", 0.6, [["mysql.default.svc.{DOMAIN}", 1]], port=41805, server="{VIP}")

    def start(topo):
        topo.link(1, False)
        topo.service_all(backends=[(2, 9)], flush_conntrack=False)
    # The long-lived sockets must be mapped to the backend that dies.
    p.before(lambda topo: topo.service(0, backends=[(1, 9)]))
    p.at(5, None, lambda topo: topo.service(0, flush_conntrack=False))
    p.at(t, "fault_start", start)
    p.cap(0, kind, **cap)
    p.label(["stale-flow-pin"], ["path-broken-pair", "stale-backend", "timeout-retries"], blame=backend(0),
            notes="a backend dies and is removed from the service, but conntrack entries of two long-lived sockets are "
                  "not flushed: those clients keep sending to it from one source port while all new sockets work")


def starved(p, service):
    """Every backend takes so many milliseconds for a query, one at a time."""
    def slow(topo):
        for i, j in topo.backends:
            topo.knobs(f"coredns-{i}-{j}", service_ms=list(service))
    p.before(slow)


def overload(p, kind="any", t=10, end=38, dur=52, base=0.35, peak=2.9, service=(26, 38), rcvbuf=65536, first=0,
             both=False, **cap):
    """`first` is the node of the first capture point: 0 the clients', 1 a backend's."""
    p.duration = dur
    p.backend_cfg["rcvbuf"] = rcvbuf
    for i in (0, 1, 2):
        for j, k in enumerate(KINDS, 1):
            p.client((i, j), k, None, phases=[[0, t, base], [t, end, peak if i == 0 else peak * 0.8], [end, dur, base]])
    starved(p, service)
    p.at(t, "fault_start", lambda topo: None)
    p.at(end, "fault_end", lambda topo: None)
    if first:
        p.backend_cap(kind, **cap)
    if both or not first:
        p.cap(0, kind, **cap)
    if both and not first:
        p.backend_cap(kind, **cap)
    p.label(["coredns-overload"], ["late-response", "lossy-path", "timeout-retries"],
            blame=lambda topo: topo.backend_ips(), where="server" if both else None,
            notes="both backends are CPU-starved (%d-%d ms per query, one at a time); at peak load delay grows and the "
                  "socket queue drops; after fault_end the backlog and the retries need some seconds to drain" % service)


def imbalance(p, kind="any", dur=45, rate=2.5, weights=(19, 1), service=(9, 14), affinity=False, **cap):
    p.duration = dur
    if affinity:
        p.topo_args.update(affinity=True)
        p.client((0, 1), "glibc", rate * 3)
        p.client((0, 2), "musl", 0.2)
        p.client((0, 3), "go", 0.2)
        p.before(lambda topo: [topo.pin(0, j, k) for j, k in ((1, 0), (2, 0), (3, 1))])
    else:
        p.topo_args["weights"] = list(weights)
        p.mix((0,), rate, 0.3)
    starved(p, service)
    p.whole = True
    p.cap(0, kind, **cap)
    p.label(["coredns-imbalance|affinity-pinned" if affinity else "coredns-imbalance"], ["coredns-overload"],
            blame=backend(0), notes="one backend gets nearly all queries and is slower; the other is idle" +
            (", because session affinity keeps the busiest client on it" if affinity else ""))
