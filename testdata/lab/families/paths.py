"""What happens between the client's node and the backends, and within the client's node."""
import os

from plan import node_and_pods

KINDS = ("glibc", "musl", "go")
ROW = ["client-node-broken", "nameserver-dead-first", "path-broken-pair", "service-wide-outage", "timeout-retries"]


def stale_neighbour(p, kind="any", t=10, dur=55, rate=0.8, good=(1,), both=True, filt="port 53", **cap):
    """The client's node got a new VTEP MAC; peers outside `good` keep the old one, so their replies
    reach flannel.1 and are dropped there."""
    p.duration = dur
    p.topo_args.update(nodes=4, backends=[(1, 9), (2, 9), (3, 9)], pods=2)
    p.mix((0,), rate, 0.25, kinds=("glibc", "musl"))
    p.mix((1,), 0.3, 0.2, extras=False, kinds=("glibc",))

    def change(topo):
        new = "9a:db:fc:9d:7f:f8"
        node = topo.n(0)
        topo.batch(node, [f"link set flannel.1 address {new}"])
        via0 = f"{topo.pod_net}.{topo.octets[0]}.0"
        for m in range(1, 4):
            via = f"{topo.pod_net}.{topo.octets[m]}.0"
            topo.batch(node, [f"neigh replace {via} lladdr {topo.vtep_mac(m)} dev flannel.1 nud permanent"])
            if m in good:
                topo.batch(topo.n(m), [f"neigh replace {via0} lladdr {new} dev flannel.1 nud permanent"])
                topo.x(topo.n(m), f"bridge fdb append {new} dev flannel.1 dst {topo.node_ip(0)}")
    p.at(t, "fault_start", change)
    p.cap(0, kind, filt=filt, **cap)
    if both:
        p.backend_cap(kind, node=2, filt=filt)
    p.label(["path-broken-pair"], ["dead-backend", "lossy-path", "stale-backend", "timeout-retries"],
            blame=node_and_pods(0), where="path-to-client|client-node",
            notes="stale VTEP neighbour entry: replies of some backends reach this node's flannel.1 with the wrong MAC "
                  "and are dropped there; the backend on a refreshed node works")


def blocked_udp(p, kind="any", t=10, dur=45, rate=0.7, how="DROP", filt="port 53", end=None, **cap):
    p.duration = dur
    p.topo_args["overlay"] = "hostgw"
    p.mix((0,), rate, 0.25)
    p.client((0, 3), "digtcp", 0.25, [["kubernetes.default.svc.{DOMAIN}", 1]])
    verdict = {"DROP": "DROP", "port": "REJECT --reject-with icmp-port-unreachable",
               "admin": "REJECT --reject-with icmp-admin-prohibited"}[how]

    def rule(op):
        def do(topo):
            for i in sorted({b[0] for b in topo.backends}):
                topo.ipt(topo.n(i), f"-t filter -{op} FORWARD -i eth0 -s {topo.pod_cidr(0)} -p udp --dport 53 -j {verdict}")
        return do
    p.at(t, "fault_start", rule("I"))
    if end:
        p.at(end, "fault_end", rule("D"))
    p.cap(0, kind, filt=filt, **cap)
    icmp = how != "DROP"
    seen = icmp and "icmp" in filt

    def culprits(topo):
        walls = [topo.node_ip(b[0]) for b in topo.backends] if seen else []
        return node_and_pods(0)(topo) + walls
    expected = "icmp-port-unreachable|udp53-blocked" if seen and how == "port" else "udp53-blocked"
    also = ["icmp-host-unreachable", "icmp-port-unreachable"] if seen else ["dead-backend", "stale-backend"]
    p.label([expected], sorted(set(ROW + also) - set(expected.split("|"))), blame=culprits,
            notes="a security group blocks UDP 53 from this node to every backend (%s); TCP 53 still works" % how +
                  ("" if not icmp or seen else "; the capture filter hides the ICMP errors"))


def loss(p, kind="any", t=0, dur=50, rate=0.9, pct=20, both=False, **cap):
    p.duration = dur
    p.mix((0,), rate, 0.3)

    def start(topo):
        drop = f"-m statistic --mode random --probability {pct / 100} -j DROP"
        ports = ["--dport 8472"] if topo.overlay == "vxlan" else ["--dport 53", "--sport 53"]
        for i in range(topo.nodes):
            for port in ports:
                topo.ipt(topo.n(i), f"-t raw -I PREROUTING -i eth0 -p udp {port} {drop}")
    p.fault(t, start)
    p.cap(0, kind, **cap)
    if both:
        p.backend_cap(kind)
    p.label(["lossy-path"], ["timeout-retries"], where="path-to-server|path-to-client" if both else None,
            notes=f"every node loses {pct} % of the packets it receives from the network, both ways")


def late(p, kind="any", t=10, end=34, dur=52, rate=0.7, delay=(5200, 7000), prob=1.0, node=1, **cap):
    p.duration = dur
    p.topo_args["wire_nodes"] = (node,)
    p.mix((0,), rate, 0.25)
    p.at(t, "fault_start", lambda topo: topo.wire_rules(node, [
        {"kind": "response", "src": topo.pod_ip(node, 9), "delay_ms": list(delay), "prob": prob}]))
    p.at(end, "fault_end", lambda topo: topo.wire_rules(node, []))
    p.tail = 8
    p.cap(0, kind, **cap)
    p.label(["late-response"], ["coredns-overload", "timeout-retries"], blame=lambda topo: [topo.pod_ip(node, 9)],
            notes="responses of one backend take %.1f-%.1f s on the path, longer than the client waits%s"
                  % (delay[0] / 1e3, delay[1] / 1e3, "" if prob == 1 else f"; {prob:.0%} of them"))


def large_lost(p, kind="any", dur=45, rate=0.5, limit=1000, both=True, **cap):
    p.duration = dur
    p.mix((0,), 0.9, 0.25)
    p.client((0, 1), "glibc", rate, [["workers.default.svc.{DOMAIN}", 1]], family="inet")
    p.client((0, 2), "dig", 0.35, [["+bufsize=4096 workers.default.svc.{DOMAIN} A", 2],
                                   ["+bufsize=1232 workers.default.svc.{DOMAIN} A", 1],
                                   ["+bufsize=4096 big.example.com TXT", 1]])

    def setup(topo):
        topo.resolv(0, 1, options="ndots:5 edns0")
        topo.ipt(topo.n(0), f"-t raw -I PREROUTING -i eth0 -p udp --dport 8472 -m length --length {limit}:65535 -j DROP")
    p.fault(0, setup)
    p.cap(0, kind, **cap)
    if both:
        p.backend_cap(kind)
        p.backend_cap(kind, node=2, name="coredns2_dns.pcap")
    p.label(["mtu-fragment"], ["lossy-path", "timeout-retries"], where="path-to-client" if both else None,
            blame=lambda topo: node_and_pods(0)(topo) + [f"workers.default.svc.{topo.domain}", "big.example.com"],
            notes=f"an MTU problem on the way to the client's node loses every tunnel packet over {limit} bytes: large "
                  "EDNS answers (and their fragments) vanish, small ones pass")


def conntrack_race(p, kind="any", t=8, dur=50, rate=1.2, prob=0.3, clients=("glibc", "glibc", "musl"), end=None, **cap):
    p.duration = dur
    p.mix((0,), rate, 0.25, extras=False, kinds=clients)
    rule = ("FORWARD -i cni0 -p udp --dport 53 -m hashlimit --hashlimit-above 1/sec --hashlimit-burst 1 "
            "--hashlimit-mode srcip,srcport --hashlimit-name race "
            f"-m statistic --mode random --probability {prob} -j DROP")
    p.at(t, "fault_start", lambda topo: topo.ipt(topo.n(0), "-I " + rule))
    if end:
        p.at(end, "fault_end", lambda topo: topo.ipt(topo.n(0), "-D " + rule))
    p.cap(0, kind, **cap)
    p.label(["conntrack-race-aaaa"], ["lossy-path", "timeout-retries"], blame=node_and_pods(0),
            notes="of two packets sent back to back from one source port the second is lost inside the client's node "
                  f"after it entered the bridge (as in the conntrack insert race), with probability {prob}")


def conntrack_full(p, kind="any", t=10, end=35, dur=55, rate=1.0, filt="port 53", **cap):
    p.duration = dur
    p.mix((0,), rate, 0.25)

    def fill(topo):
        with open("/proc/sys/net/netfilter/nf_conntrack_max") as f:
            limit = int(f.read())
        path = os.path.join(topo.work, "fill.ct")
        with open(path, "w") as f:
            for k in range(limit + 40):
                f.write("-I -p tcp --timeout 600 --state ESTABLISHED --status SEEN_REPLY,ASSURED -s 10.77.%d.%d "
                        "-d 10.78.%d.%d --sport %d --dport 443 --mark 77\n"
                        % (k >> 16 & 255, k >> 8 & 255, k & 255, k >> 9 & 255, 1024 + k % 60000))
        topo.x(topo.n(0), f"conntrack -R {path}", check=False)
        held = topo.x(topo.n(0), "conntrack -C").strip()
        p.notes += f"; table held {held} of {limit} entries"
        os.unlink(path)
    p.at(t, "fault_start", fill)
    p.at(end, "fault_end", lambda topo: topo.x(topo.n(0), "conntrack -F", check=False))
    p.cap(0, kind, filt=filt, **cap)
    p.label(["conntrack-full"], ["lossy-path", "path-broken-pair", "timeout-retries"], blame=node_and_pods(0),
            notes="the connection table of the client's node is full of other connections: packets of new flows are "
                  "dropped after they enter the node and never leave it")


def wrong_source(p, kind="any", dur=42, rate=0.6, filt="port 53", **cap):
    p.duration = dur
    p.topo_args.update(bridge_nf=0, backends=[(0, 9), (1, 9)])
    p.mix((0,), rate, 0.25)
    p.whole = True
    p.cap(0, kind, filt=filt, **cap)
    p.label(["wrong-source-reply"], ["timeout-retries"] + (["icmp-port-unreachable"] if "icmp" in filt else []),
            blame=lambda topo: [topo.pod_ip(0, 9)],
            notes="bridge-nf-call-iptables=0: replies of the backend on the same node come from its pod address, not "
                  "from the service address, and the client's socket refuses them")


def dead_nameserver_first(p, kind="any", dur=50, rate=0.6, pods=(1, 2, 3), kinds=KINDS, **cap):
    p.duration = dur
    p.mix((0,), rate, 0.2, extras=False, kinds=kinds)

    def dead(topo):
        return topo.service_ip.rsplit(".", 1)[0] + ".99"

    def setup(topo):
        topo.batch(topo.ul, [f"route add blackhole {dead(topo)}/32"])
        for j in pods:
            topo.resolv(0, j, nameservers=[dead(topo), topo.service_ip])
    p.fault(0, setup)
    p.cap(0, kind, **cap)
    p.label(["nameserver-dead-first"], ["dead-backend", "path-broken-pair", "stale-backend", "timeout-retries"],
            blame=lambda topo: [dead(topo)],
            notes="resolv.conf lists two name servers and the first one never answers; glibc and Go wait 5 s each time, "
                  "musl asks both at once")
