"""The scenarios: a name, a family, an address plan, and options."""
from families import answers, backends, combined, healthy, paths, upstream
from world import V6

SCENARIOS = []


def add(group, name, family, /, net="flannel", topo=None, **opts):
    SCENARIOS.append(dict(group=group, name=name, family=family, net=net, topo=topo or {}, opts=opts))


def main(name, family, /, net="flannel", seed=0, topo=None, **opts):
    add("main", name, family, net=net, topo={"seed": seed, **(topo or {})}, **opts)


def variant(name, family, /, net="flannel", seed=0, topo=None, **opts):
    add("variants", name, family, net=net, topo={"seed": seed, **(topo or {})}, **opts)


main("node-death-vxlan", backends.node_death, seed=11, attempts=3)
main("node-death-hostgw-icmp", backends.node_death_hostgw, seed=12, kind="sll2", t=12, dur=60)
main("affinity-dead-backend", backends.affinity_dead, "ack", seed=13)
main("stale-vtep-mac", paths.stale_neighbour, "flannel88", seed=14)
main("empty-noerror-musl", answers.empty_noerror, seed=15, end=42)
main("conntrack-race-emulated", paths.conntrack_race, seed=16)
main("search-storm", answers.search_storm, seed=17, dur=30, rate=1.6)
main("upstream-dead", upstream.upstream_dead, seed=18)
main("healthy-mixed-sll2", healthy.mixed, seed=19, topo=dict(pods=4), kinds=("glibc", "musl", "go", "cares"))
main("healthy-nodata-aaaa", healthy.nodata, seed=20, dur=35)
main("blocked-udp53-drop", paths.blocked_udp, seed=21)
main("reject-port-unreachable", paths.blocked_udp, seed=22, how="port", filt="port 53 or icmp or arp", dur=38)
main("server-overload", backends.overload, seed=23, dur=46, end=34)
main("conntrack-full", paths.conntrack_full, seed=24)
main("upstream-refused", upstream.upstream_refused, seed=25)
main("truncated-no-tcp", answers.truncated, seed=26)
main("tcp-unsupported-upstream", upstream.tcp_unsupported, seed=27)
main("autopath-divergent", answers.divergent, seed=28, rate=2.6)
main("statefulset-nxdomain", answers.statefulset, seed=29, dur=35)
main("late-responses", paths.late, seed=30)
main("loss-20", paths.loss, seed=31)
main("loss-20-pod-view", paths.loss, seed=47, kind="pod", pod=1, role="client-pod", rate=2.2, dur=40)
main("slow-aaaa", upstream.slow_aaaa, seed=32)
main("dead-nameserver-first", paths.dead_nameserver_first, seed=33)
main("wrong-source-reply", paths.wrong_source, seed=34)
main("large-response-lost", paths.large_lost, seed=35)
main("load-imbalance", backends.imbalance, seed=36, dur=35, rate=1.8)
main("backend-process-dead-icmp", backends.process_dead, seed=37)
main("healthy-burst-cni0", healthy.burst, seed=38, kind="cni0", peak=10)
main("healthy-mid-transaction", healthy.midtransaction, seed=39)
main("healthy-one-sided", healthy.onesided, seed=40, kind="sll1")
main("healthy-capture-drops", healthy.capdrops, seed=41, dur=30)
main("healthy-ndots-sll1", healthy.mixed, seed=42, kind="sll1", ext=0.5, dur=35)
main("stale-conntrack-fixed-port", backends.stale_conntrack, seed=43)
main("node-death-plus-search-storm", backends.death_and_storm, seed=44)
main("healthy-ring-wrapped", healthy.mixed, seed=45, rate=2.6, dur=45, count=2)
main("healthy-ipv6-hostgw", healthy.mixed, seed=46, topo=dict(overlay="hostgw", ipv6=V6), rate=0.9, dur=35)
main("healthy-file-cut-short", healthy.mixed, seed=48, rate=1.5, dur=30, kill9=True)

# The same families on other networks, seen from other places, with other timings.
variant("v-node-death-k3s-sll1", backends.node_death, "k3s", seed=101, kind="sll1", t=14, remove_after=33, dur=62)
variant("v-node-death-corp-cni0", backends.node_death, "corp", seed=102, kind="cni0", t=8, remove_after=44, node=2)
variant("v-node-death-survivor", backends.node_death, "ocp", seed=103, nodes=(0, 2), cap_node=2, role="backend-node",
        name="coredns_dns.pcap", rate=0.8)
variant("v-node-death-pod-view", backends.node_death, "ack", seed=104, kind="pod", pod=2, role="client-pod", rate=1.6,
        expected="stale-backend|dead-backend|timeout-retries")
variant("v-affinity-dead-flannel", backends.affinity_dead, "ocp", seed=105, kind="flannel", pinned=(1, 3), node=2)
variant("v-process-dead-hidden", backends.process_dead, "k3s", seed=106, filt="port 53", which=1, dur=45)
variant("v-upstream-auth", upstream.upstream_dead, "ocp", seed=107, how="auth", both=False)
variant("v-upstream-rcode-backend-first", upstream.upstream_dead, "kubespray", seed=108, how="rcode", first=1)
variant("v-upstream-dead-ends", upstream.upstream_dead, "ack", seed=109, t=8, end=28, dur=55, kind="sll1", both=False)
variant("v-truncated-rst", answers.truncated, "k3s", seed=110, how="rst", t=12)
variant("v-tcp-unsupported-tc", upstream.tcp_unsupported, "corp", seed=111, how="tc")
variant("v-aaaa-dropped", upstream.slow_aaaa, "kubespray", seed=112, how="drop", t=9, dur=50, both=True)
variant("v-empty-noerror-glibc-go", answers.empty_noerror, "corp", seed=113, clients=("glibc", "go", "glibc"),
        suffix="lan.example.internal")
variant("v-udp53-admin-prohibited", paths.blocked_udp, "k3s", seed=114, how="admin", filt="port 53 or icmp", end=36)
variant("v-udp53-drop-eth0", paths.blocked_udp, "corp", seed=115, kind="eth0", t=12, end=38, dur=55)
variant("v-conntrack-race-ends", paths.conntrack_race, "kubespray", seed=116, prob=0.4, t=6, end=36,
        clients=("glibc", "musl", "glibc"))
variant("v-loss-9-both", paths.loss, "ocp", seed=117, pct=9, t=10, dur=65, rate=1.4, both=True)
variant("v-loss-8-hostgw", paths.loss, "k3s", seed=118, pct=8, dur=60, rate=1.6, topo=dict(overlay="hostgw"))
variant("v-late-half", paths.late, "corp", seed=119, prob=0.5, node=2, delay=(5100, 6500))
variant("v-imbalance-affinity", backends.imbalance, "kubespray", seed=120, affinity=True, dur=40)
variant("v-stale-vtep-client-only", paths.stale_neighbour, "ack", seed=121, both=False, good=(2,), t=14)
variant("v-overload-backend-first", backends.overload, "ocp", seed=122, first=1, both=True, t=8, end=32, dur=46)
variant("v-healthy-burst-k3s", healthy.burst, "k3s", seed=123, topo=dict(upstream="knot"), kind="sll1", peak=9)
variant("v-healthy-nodata-flannel", healthy.nodata, "ocp", seed=124, topo=dict(upstream="named"), kind="flannel", dur=35)
variant("v-healthy-responses-only", healthy.onesided, "corp", seed=125, filt="udp src port 53")
variant("v-healthy-capture-drops-cni0", healthy.capdrops, "ack", seed=126, kind="cni0",
        stops=((5, 6), (8, 10.5), (14, 15), (19, 22.5)))
variant("v-healthy-mid-transaction-eth0", healthy.midtransaction, "kubespray", seed=127, kind="eth0",
        topo=dict(overlay="hostgw"), cap_start=4.0, cap_stop=24.0, dur=32)
variant("v-healthy-backend-node", healthy.mixed, "k3s", seed=128, cap_node=1, nodes=(0, 2), role="backend-node",
        name="coredns_dns.pcap")
variant("v-healthy-rotated-by-time", healthy.mixed, "corp", seed=129, rate=1.0, rotate=9, name="client_dns_%H%M%S.pcap")
variant("v-healthy-nodelocal", healthy.nodelocal, "flannel", seed=130)


def further(name, family, /, net="flannel", seed=0, topo=None, **opts):
    add("further", name, family, net=net, topo={"seed": seed, **(topo or {})}, **opts)


further("f-death-and-refused", combined.death_and_refused, "ocp", seed=201)
further("f-race-and-storm", combined.race_and_storm, "k3s", seed=202, prob=0.35, clients=("glibc", "musl", "glibc"))
further("f-all-die", combined.all_die, "ack", seed=203)
further("f-cut-off", combined.cut_off, "corp", seed=204)
further("f-healthy-rollout", combined.rollout, "kubespray", seed=205)
further("f-missing-name", combined.missing, "k3s", seed=206)
further("f-upstream-slow", combined.upstream_slow, "corp", seed=207)
further("f-upstream-slow-both", combined.upstream_slow, "ack", seed=208, both=True, ms=(900, 2300))
further("f-blocked-pair", combined.blocked_pair, "ocp", seed=209)
further("f-blocked-pair-both", combined.blocked_pair, "k3s", seed=210, both=True, t=14)
further("f-standstill", combined.restart, "flannel", seed=211, back=8)
further("f-healthy-night", combined.quiet_night, "ack", seed=212)
further("f-healthy-snaplen", healthy.mixed, "k3s", seed=213, extra=["-s", "96"])
further("f-healthy-pod", healthy.mixed, "ocp", seed=214, kind="pod", pod=2, role="client-pod", rate=2.0)
further("f-death-ends-early", backends.node_death, "kubespray", seed=215, t=22, remove_after=None, dur=48,
        expected="stale-backend|dead-backend|timeout-retries")
further("f-death-slow-removal", backends.node_death, "corp", seed=216, t=6, remove_after=66, dur=88, node=2,
        kind="sll1")
further("f-death-ipv6", backends.node_death, "flannel", seed=217, topo=dict(overlay="hostgw", ipv6=V6), t=9,
        remove_after=38)
further("f-upstream-dead-pod", upstream.upstream_dead, "k3s", seed=218, kind="pod", pod=2, role="client-pod",
        both=False, rate=1.5)
further("f-empty-pod", answers.empty_noerror, "ack", seed=219, kind="pod", pod=1, role="client-pod", rate=2.0)
further("f-race-cni0", paths.conntrack_race, "corp", seed=221, kind="cni0", prob=0.25)
further("f-vtep-backend-side", paths.stale_neighbour, "k3s", seed=222, both=False, good=(3,))
further("f-large-client-only", paths.large_lost, "ocp", seed=224, both=False)
further("f-deadns-one-pod", paths.dead_nameserver_first, "k3s", seed=225, pods=(3,))
further("f-wrong-source-cni0", paths.wrong_source, "ack", seed=226, kind="cni0")
further("f-loss-4", paths.loss, "corp", seed=227, pct=4, rate=2.0, dur=60)
further("f-loss-30-starts", paths.loss, "ack", seed=228, pct=30, t=22, dur=55, kind="sll1")
further("f-affinity-hostgw", backends.affinity_dead, "k3s", seed=229, topo=dict(overlay="hostgw"), pinned=(2, 3))
further("f-statefulset-shop", answers.statefulset, "corp", seed=230)
further("f-imbalance-7-3", backends.imbalance, "ack", seed=231, weights=(17, 3), service=(12, 18))
further("f-udp-blocked-rst-cni0", paths.blocked_udp, "ack", seed=232, how="port", filt="port 53 or icmp",
        kind="cni0", end=35)
further("f-refused-zone", combined.refused_zone, "k3s", seed=301)
further("f-slow-aaaa-zone", combined.slow_aaaa_zone, "ocp", seed=302)
further("f-death-no-flush", combined.death_no_flush, "kubespray", seed=303)
further("f-spark", combined.spark, "ack", seed=304)
further("f-late-and-death", combined.late_and_death, "corp", seed=305)
further("f-healthy-slow-upstream", combined.slow_outside, "k3s", seed=306)
further("f-healthy-two-nodes", combined.two_nodes, "ocp", seed=307)
further("f-overload-survivor", backends.overload, "kubespray", seed=308, both=True, first=0, t=8, end=34, dur=46,
        kind="sll1")
further("f-race-mild", paths.conntrack_race, "ack", seed=309, prob=0.08, clients=("glibc", "glibc", "glibc"), rate=2.0)
further("f-blocked-admin-hidden", paths.blocked_udp, "k3s", seed=310, how="admin", filt="port 53", end=38)
