"""Every query is answered, and the answers are the fault."""
from world import EXT


def search_storm(p, kind="any", dur=40, rate=3.0, clients=("glibc", "musl", "go"), **cap):
    p.duration = dur
    p.topo_args["search_extra"] = ("prod.example.internal", "example.internal")
    for j, k in enumerate(clients, 1):
        p.client((0, j), k, rate, [[e, 1] for e in EXT] + [["{r}.tenant.example.com", 6]])
    p.cap(0, kind, **cap)
    p.whole = True
    p.label(["search-suffix-storm"], [],
            notes="ndots:5 and five search suffixes: most responses are NXDOMAIN for expanded external names; lookups "
                  "succeed in the end")


def empty_noerror(p, kind="any", t=10, dur=50, rate=1.2, clients=("musl", "glibc", "musl"), end=None,
                  suffix="corp.example.internal", **cap):
    p.duration = dur
    p.topo_args["search_extra"] = (suffix,)
    p.backend_cfg["cache_ttl"] = 4
    for j, k in enumerate(clients, 1):
        p.client((0, j), k, rate, [[e, 1] for e in EXT[:5]] + [["redis-master.default", 2], ["payments.shop", 2]])
    musl = "musl" in clients
    if musl:                                    # busybox stops there too
        p.client((0, 1), "nslookup", 0.1, [["api.example.com", 1]])
    p.at(t, "fault_start", lambda topo: topo.unbound("local_zone", f"{suffix}.", "always_nodata"))
    if end:
        p.at(end, "fault_end", lambda topo: topo.unbound("local_zone_remove", f"{suffix}."))
    p.cap(0, kind, **cap)
    p.harmless = not musl
    p.label(["empty-noerror"], ["search-suffix-storm"], blame=lambda topo: [suffix],
            notes="the upstream answers names under one search suffix with NOERROR and no records instead of NXDOMAIN; " +
                  ("musl stops the search there and the lookup fails" if musl
                   else "glibc and Go continue, so lookups still succeed"))


def truncated(p, kind="any", t=0, dur=45, rate=0.5, how="DROP", **cap):
    p.duration = dur
    p.mix((0,), 0.8, 0.25)
    p.client((0, 1), "glibc", rate, [["workers.default.svc.{DOMAIN}", 1]], family="inet")
    p.client((0, 3), "go", rate / 2, [["workers.default.svc.{DOMAIN}", 1]])
    p.client((0, 1), "dig", 0.15, [["+noedns workers.default.svc.{DOMAIN} A", 1]])
    verdict = {"DROP": "DROP", "rst": "REJECT --reject-with tcp-reset"}[how]
    p.fault(t, lambda topo: [topo.ipt(topo.n(i), f"-I FORWARD -i flannel.1 -p tcp --dport 53 -j {verdict}")
                             for i in (1, 2)])
    p.cap(0, kind, **cap)
    p.label(["tc-tcp-fails"], ["tc-no-tcp"] + (["upstream-tcp-unsupported"] if how == "rst" else ["timeout-retries"]),
            blame=lambda topo: [f"workers.default.svc.{topo.domain}", topo.service_ip, *topo.backend_ips()],
            notes="a headless service has 72 addresses, UDP answers carry TC, and TCP 53 to the backends is blocked (%s)"
                  % how)


def divergent(p, kind="any", t=8, dur=42, rate=1.2, prob=0.5, wrong="10.244.3.77", target="api.example.com", **cap):
    p.duration = dur
    p.topo_args["namespaces"] = ("default", "default", "default")
    p.backend_cfg["autopath"] = {"first_suffix": "default.svc.{DOMAIN}"}
    for j, k in enumerate(("glibc", "musl", "go"), 1):
        p.client((0, j), k, rate, [[e, 1] for e in EXT] + [[target, 3], ["redis-master", 3], ["mysql", 2]])

    def start(topo):
        i, j = topo.backends[0]
        topo.knobs(f"coredns-{i}-{j}", autopath_wrong={target: wrong}, autopath_prob=prob)
    p.at(t, "fault_start", start)
    p.cap(0, kind, **cap)
    p.label(["replica-divergence|autopath-wrong"], [], blame=lambda topo: [topo.pod_ip(*topo.backends[0])],
            notes=f"autopath is on; one backend sometimes answers {target} with {wrong}, the other backend and the "
                  "upstream never do")


def statefulset(p, kind="any", dur=40, rate=0.8, svc="etcd-old", sts="etcd", ns="default", **cap):
    p.duration = dur
    p.mix((0,), 1.0, 0.25)
    service = f"{svc}.{ns}.svc.{{DOMAIN}}"
    names = [[f"!{sts}-{i}.{service}", 2] for i in range(3)] + [[service, 3]]
    p.client((0, 1), "glibc", rate, names)
    p.client((0, 2), "musl", rate, [[f"!{sts}-{i}.{svc}.{ns}", 1] for i in range(3)])
    p.client((0, 3), "go", rate / 2, names)
    p.whole = True
    p.cap(0, kind, **cap)
    p.label(["statefulset-pod-nxdomain"], ["nxdomain-missing-name", "search-suffix-storm"],
            blame=lambda topo: [f"{svc}.{ns}.svc.{topo.domain}"],
            notes=f"pod names {sts}-N.{svc}.{ns}.svc do not exist (the StatefulSet's serviceName differs); the service "
                  "name itself resolves")
