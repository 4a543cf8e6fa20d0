"""Nothing is wrong: traffic and captures that only look odd."""
from world import SERVICES

KINDS = ("glibc", "musl", "go")


def mixed(p, kind="any", rate=1.2, ext=0.35, dur=45, nodes=(0,), cap_node=0, filt="port 53", size=1, kinds=KINDS, **cap):
    p.duration = dur
    p.mix(nodes, rate, ext, kinds=kinds)
    p.cap(cap_node, kind, filt, size=size, **cap)
    p.label(["none"], notes="normal mixed traffic; nothing is wrong")


def burst(p, kind="any", base=1.0, peak=14, dur=40, **cap):
    p.duration = dur
    for j, k in enumerate(KINDS, 1):
        p.client((0, j), k, None, phases=[[0, 14, base], [14, 22, peak], [22, dur, base]])
    p.cap(0, kind, **cap)
    p.label(["none"], notes="a short traffic peak that the servers absorb; latency stays low and nothing fails")


def nodata(p, kind="any", dur=40, rate=2.0, **cap):
    p.duration = dur
    for j, k in enumerate(KINDS, 1):
        p.client((0, j), k, rate, [[f"{s}.{ns}.svc.{{DOMAIN}}", 1] for ns in SERVICES for s in SERVICES[ns]] +
                 [["oss-cn-hangzhou.aliyuncs.com.", 2], ["alauda.cn.", 2]])
    p.cap(0, kind, **cap)
    p.label(["none"], notes="IPv4-only services: every AAAA answer is NOERROR without records (with SOA); that is normal")


def slow_upstream(p, low, high):
    """An upstream that takes its time, so that lookups are in flight at any moment."""
    p.topo_args["upstream"] = "py"
    p.backend_cfg["cache_ttl"] = 1
    p.before(lambda t: t.knobs("upstream", rules=[{"do": "delay", "ms": [low, high]}]))


def midtransaction(p, kind="any", dur=40, cap_start=6.0, cap_stop=31.0, **cap):
    p.duration = dur
    slow_upstream(p, 300, 900)
    p.mix((0,), 2.4, 0.7)
    p.cap(0, kind, start=cap_start, stop=cap_stop, **cap)
    p.label(["none"], notes="the capture starts and ends while lookups are in flight; upstream takes 0.3-0.9 s; "
                            "nothing fails")


def onesided(p, kind="any", dur=35, filt="udp dst port 53", **cap):
    p.duration = dur
    p.mix((0,), 1.4, 0.35)
    p.cap(0, kind, filt=filt, **cap)
    p.label(["none"], notes="the capture filter keeps one direction only; every lookup succeeded. "
                            "A tool may say that the capture is one-sided; it must not claim timeouts")


def capdrops(p, kind="any", dur=40, stops=((6, 7.5), (9, 10.2), (12, 15), (17, 18.3), (20, 21), (24, 26)), **cap):
    p.duration = dur
    slow_upstream(p, 120, 450)
    p.mix((0,), 2.6, 0.6)
    p.cap(0, kind, extra=["-B", "32"], pauses=stops, **cap)
    p.label(["none"], notes="tcpdump itself lost packets (its process was stopped several times with a small buffer), "
                            "so queries lack their responses and the reverse; all lookups succeeded")


def nodelocal(p, kind="any", dur=40, rate=1.2, **cap):
    p.duration = dur
    address = "169.254.20.10"
    p.topo_args.update(nodelocal=address, nameservers=[address])
    p.mix((0,), rate, 0.35)
    p.cap(0, kind, **cap)
    p.label(["none"], notes="a cache on the node answers the pods and asks the service itself; nothing is wrong")
