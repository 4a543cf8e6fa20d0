"""What one scenario is to do: topology, servers, workload, events, captures and label."""
from world import EXT, NETS, SERVICES

INTERFACES = {"any": ["-i", "any"], "sll1": ["-i", "any", "-y", "LINUX_SLL"], "sll2": ["-i", "any", "-y", "LINUX_SLL2"],
              "pod": ["-i", "eth0"], "cni0": ["-i", "cni0"], "eth0": ["-i", "eth0"], "flannel": ["-i", "flannel.1"]}
NAMESPACES = ("default", "shop", "team-a")


class Plan:
    """Filled in by a family, carried out by run.Run."""

    def __init__(self, name, net="flannel", **topo):
        self.name = name
        self.topo_args = {**NETS[net], **topo}
        self.duration, self.grace, self.tail = 45, 16, 1.5
        self.load = {}                     # (node, pod) -> [streams]
        self.events = []                   # (seconds from the start of the load, label, fn(plan, topo))
        self.captures = []
        self.backend_cfg, self.upstream_cfg = {}, {}
        self.whole = False                 # the fault was there before the load began
        self.expected, self.acceptable, self.notes = [], [], ""
        self.where, self.harmless = None, False
        self.blamed = lambda topo: []
        self.pinned = lambda topo: None

    # ---- captures ---------------------------------------------------------------
    def cap(self, node=0, kind="any", filt="port 53", size=1, count=30, name="client_dns.pcap", role="client-node", **kw):
        """A capture.  Extra keys: pod, start, stop, rotate, extra, pauses, kill9."""
        self.captures.append(dict(node=node, argv=INTERFACES[kind], filter=filt, size=size, count=count, name=name,
                                  role=role, **kw))
        return self

    def backend_cap(self, kind="any", node=1, name="coredns_dns.pcap", **kw):
        return self.cap(node, kind, name=name, role="backend-node", **kw)

    # ---- workload ---------------------------------------------------------------
    def names(self, ns="default", ext=0.35, fq=0.4):
        """Names with weights: a share `ext` is external, `fq` of the cluster names are full ones."""
        out = []
        for s in SERVICES.get(ns, []):
            out.append([s, (1 - ext) * (1 - fq)])
            out.append([f"{s}.{ns}.svc.{{DOMAIN}}", (1 - ext) * fq])
        out += [["payments.shop", 1 - ext], ["redis-master.default", 1 - ext]]
        out += [[e, 5 * ext / len(EXT) * 2] for e in EXT]
        return out

    def client(self, pod, client, rate, names=None, **kw):
        stream = {"client": client, "names": names or self.names(NAMESPACES[(pod[1] - 1) % 3]), **kw}
        if "phases" not in kw:
            stream["rate"] = rate
        self.load.setdefault(pod, []).append(stream)
        return self

    def mix(self, nodes=(0,), rate=1.0, ext=0.35, extras=True, kinds=("glibc", "musl", "go")):
        """The usual mix: one runtime per pod plus tools."""
        for i in nodes:
            for j, kind in enumerate(kinds, 1):
                names = self.names(NAMESPACES[(j - 1) % 3], ext)
                if kind == "cares":      # no search list there: full names only
                    names = [n for n in names if "{DOMAIN}" in n[0] or n[0] in EXT]
                self.client((i, j), kind, rate, names)
            if extras:
                self.client((i, 1), "dig", 0.12, [
                    ["-x {SVC1}", 1], ["_client._tcp.kafka-headless.default.svc.{DOMAIN} SRV", 2],
                    ["api.example.com A", 2]])
                if len(kinds) > 1:
                    self.client((i, 2), "getent", 0.1, self.names("shop", ext))
        return self

    # ---- events -----------------------------------------------------------------
    def at(self, t, label, fn):
        """At `t` seconds of the load do fn(topo); "fault_start" and "fault_end" go into the label."""
        self.events.append((t, label, fn))
        return self

    def before(self, fn):
        """Before anything is captured."""
        return self.at(-1, None, fn)

    def fault(self, t, fn):
        """A fault from `t` on, or there all along if `t` is 0."""
        if t:
            return self.at(t, "fault_start", fn)
        self.whole = True
        return self.before(fn)

    # ---- label ------------------------------------------------------------------
    def label(self, expected, acceptable=(), blame=None, where=None, notes=""):
        """Rule ids ("a|b" where either is right); `blame` gives the culprit's addresses or names."""
        self.expected, self.acceptable, self.notes, self.where = list(expected), list(acceptable), notes, where
        if blame:
            self.blamed = blame
        return self


def node_and_pods(i):
    """A node as culprit: its own address, and its pods'."""
    return lambda topo: [topo.node_ip(i), topo.pod_cidr(i)]


def backend(k):
    """The k-th backend as culprit."""
    return lambda topo: [topo.pod_ip(*topo.backends[k])]


def upstream(topo):
    """The upstream resolver as culprit."""
    return [topo.upstream_ip]
