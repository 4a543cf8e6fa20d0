"""Topology of the lab: namespaces, links, overlay, service rules, processes."""
import os
import random
import shutil
import subprocess
import time

from servers import Servers
from service import ServiceRules

PREFIX = "lab-"


def sh(cmd, check=True):
    p = subprocess.run(cmd, shell=isinstance(cmd, str), capture_output=True, text=True)
    if check and p.returncode:
        raise RuntimeError(f"{cmd}: {p.stdout}{p.stderr}")
    return p.stdout


def remove_namespace(ns):
    sh(f"ip netns del {ns}", check=False)
    shutil.rmtree(f"/etc/netns/{ns}", ignore_errors=True)


class Topo(ServiceRules, Servers):
    """One cluster; all parameters are optional."""
    DEFAULTS = dict(
        nodes=3, pods=3, pod_net="10.244", pod_octets=None, node_net="192.168.10", node_first=11,
        service_ip="10.96.0.10", upstream_ip="100.100.2.136", overlay="vxlan", affinity=False,
        backends=[(1, 9), (2, 9)], domain="cluster.local", wire_nodes=(), upstream="unbound",
        search_extra=(), resolv_options="ndots:5", nameservers=None, bridge_nf=1, pod_mtu=None,
        arp_proxy=True, namespaces=("default", "shop", "team-a"), nodelocal=None, seed=7, weights=None,
        ipv6=None,                # e.g. dict(pod="fd00:244", service="fd00:10:96::a", node="fd00:192")
    )

    def __init__(self, tag, work, **params):
        unknown = set(params) - set(self.DEFAULTS)
        if unknown:
            raise TypeError(f"unknown topology parameters {unknown}")
        self.__dict__.update(self.DEFAULTS)
        self.__dict__.update(params)
        self.tag, self.work = tag, work
        self.rng = random.Random(self.seed)
        self.octets = self.pod_octets or list(range(self.nodes))
        self.procs = []          # (name, Popen)
        self.ns_all = []
        self.veth = {}
        os.makedirs(work, exist_ok=True)

    # ---- names ------------------------------------------------------------
    def n(self, i):
        """Namespace of node i."""
        return f"{PREFIX}{self.tag}-n{i}"

    def p(self, i, j):
        """Namespace of pod j of node i."""
        return f"{PREFIX}{self.tag}-n{i}p{j}"

    @property
    def ul(self):
        """Namespace of the underlay switch."""
        return f"{PREFIX}{self.tag}-ul"

    @property
    def up(self):
        """Namespace of the upstream resolver."""
        return f"{PREFIX}{self.tag}-up"

    def node_ip(self, i):
        return f"{self.node_net}.{self.node_first + i}"

    def pod_ip(self, i, j):
        return f"{self.pod_net}.{self.octets[i]}.{j + 1}"

    def pod_cidr(self, i):
        return f"{self.pod_net}.{self.octets[i]}.0/24"

    def pod_ip6(self, i, j):
        return f"{self.ipv6['pod']}:{self.octets[i]}::{j + 1:x}"

    def node_ip6(self, i):
        return f"{self.ipv6['node']}::{self.node_first + i:x}"

    def backend_ips(self):
        return [self.pod_ip(*b) for b in self.backends]

    def search_list(self, j):
        ns, z = self.namespaces[(j - 1) % len(self.namespaces)], self.domain
        return [f"{ns}.svc.{z}", f"svc.{z}", z, *self.search_extra]

    # ---- low level -----------------------------------------------------------
    def x(self, ns, cmd, check=True):
        return sh(f"ip netns exec {ns} {cmd}", check)

    def batch(self, ns, lines):
        p = subprocess.run(["ip", "-n", ns, "-batch", "-"], input="\n".join(lines) + "\n",
                           capture_output=True, text=True)
        if p.returncode:
            raise RuntimeError(f"{ns}: {p.stderr}\n" + "\n".join(lines))

    def sysctl(self, ns, **kv):
        args = " ".join(f"{k.replace('__', '.')}={v}" for k, v in kv.items())
        self.x(ns, f"sysctl -q -w {args}", check=False)

    def add_ns(self, ns):
        sh(f"ip netns add {ns}")
        self.ns_all.append(ns)
        self.batch(ns, ["link set lo up"])
        self.sysctl(ns, net__ipv4__ip_forward=1, net__ipv4__conf__all__rp_filter=0,
                    net__ipv4__conf__default__rp_filter=0)
        off = 0 if self.ipv6 else 1
        self.sysctl(ns, net__ipv6__conf__all__disable_ipv6=off, net__ipv6__conf__default__disable_ipv6=off,
                    net__ipv6__conf__all__forwarding=1 - off, net__ipv6__conf__default__accept_dad=0)

    def spawn(self, ns, argv, name=None, **kw):
        log = open(os.path.join(self.work, f"{name or argv[0]}.log"), "ab")
        p = subprocess.Popen(["ip", "netns", "exec", ns] + argv, stdout=log, stderr=log,
                             stdin=subprocess.DEVNULL, **kw)
        self.procs.append((name or argv[0], p))
        return p

    # ---- build -----------------------------------------------------------------
    def build(self):
        self.add_ns(self.ul)
        self.sysctl(self.ul, **{"net__bridge__bridge-nf-call-iptables": 0})
        self.batch(self.ul, ["link add br0 type bridge forward_delay 0", "link set br0 up",
                             f"addr add {self.node_net}.254/24 dev br0"])
        self.add_ns(self.up)
        base = ".".join(self.upstream_ip.split(".")[:3])
        self.batch(self.ul, [f"link add to-up type veth peer name eth0 netns {self.up}",
                             f"addr add {base}.254/24 dev to-up", "link set to-up up"])
        self.batch(self.up, [f"addr add {self.upstream_ip}/24 dev eth0", "link set eth0 up",
                             f"route add default via {base}.254"])
        for i in range(self.nodes):
            self._node(i)
        for i in range(self.nodes):
            self._overlay(i)
            self.service(i)
            if self.ipv6:
                self._v6_routes(i)
                self.service6(i)
        return self

    def _node(self, i):
        node = self.n(i)
        self.add_ns(node)
        self.sysctl(node, **{"net__bridge__bridge-nf-call-iptables": self.bridge_nf})
        if i in self.wire_nodes:
            self.batch(self.ul, [f"link add w-n{i} type veth peer name eth0 netns {node}",
                                 f"link add x-n{i} type veth peer name p-n{i}",
                                 f"link set w-n{i} up", f"link set x-n{i} up"])
            for ns, dev in ((node, "eth0"), (self.ul, f"w-n{i}"), (self.ul, f"x-n{i}"), (self.ul, f"p-n{i}"),
                            (self.ul, "br0"), (self.ul, "to-up"), (self.up, "eth0")):
                self.x(ns, f"ethtool -K {dev} tx off sg off tso off gso off gro off", check=False)
        else:
            self.batch(self.ul, [f"link add p-n{i} type veth peer name eth0 netns {node}"])
        self.batch(self.ul, [f"link set p-n{i} master br0", f"link set p-n{i} up"])
        self.batch(node, [f"addr add {self.node_ip(i)}/24 dev eth0", "link set eth0 up",
                          f"route add default via {self.node_net}.254",
                          "link add cni0 type bridge forward_delay 0",
                          f"addr add {self.pod_net}.{self.octets[i]}.1/24 dev cni0", "link set cni0 up"])
        if self.ipv6:
            self.batch(node, [f"addr add {self.node_ip6(i)}/64 dev eth0 nodad",
                              f"addr add {self.ipv6['pod']}:{self.octets[i]}::1/64 dev cni0 nodad"])
        mtu = self.pod_mtu or (1450 if self.overlay == "vxlan" else 1500)
        self.batch(node, [f"link set cni0 mtu {mtu}"])
        wanted = list(range(1, self.pods + 1)) + [b[1] for b in self.backends if b[0] == i]
        for j in wanted:
            self._pod(i, j, mtu)
        self.x(node, f"iptables -t nat -A POSTROUTING -s {self.pod_net}.0.0/16 ! -d {self.pod_net}.0.0/16 -j MASQUERADE")
        if i in self.wire_nodes:
            for dev in [self.veth[(i, j)] for j in wanted] + ["cni0"]:
                self.x(node, f"ethtool -K {dev} tx off sg off tso off gso off gro off", check=False)
            for j in wanted:
                self.x(self.p(i, j), "ethtool -K eth0 tx off sg off tso off gso off gro off", check=False)

    def _pod(self, i, j, mtu):
        node, pod = self.n(i), self.p(i, j)
        self.add_ns(pod)
        dev = "veth%08x" % self.rng.getrandbits(32)
        self.veth[(i, j)] = dev
        self.batch(node, [f"link add {dev} type veth peer name eth0 netns {pod}",
                          f"link set {dev} mtu {mtu} master cni0", f"link set {dev} up"])
        self.batch(pod, [f"link set eth0 mtu {mtu}", f"addr add {self.pod_ip(i, j)}/24 dev eth0",
                         "link set eth0 up", f"route add default via {self.pod_net}.{self.octets[i]}.1"])
        if self.ipv6:
            self.batch(pod, [f"addr add {self.pod_ip6(i, j)}/64 dev eth0 nodad",
                             f"route add ::/0 via {self.ipv6['pod']}:{self.octets[i]}::1"])
        self.resolv(i, j)

    def _v6_routes(self, i):
        self.batch(self.n(i), [f"route add {self.ipv6['pod']}:{self.octets[m]}::/64 via {self.node_ip6(m)} dev eth0"
                               for m in range(self.nodes) if m != i])

    def resolv(self, i, j, nameservers=None, options=None):
        """The resolv.conf of a pod."""
        pod = self.p(i, j)
        os.makedirs(f"/etc/netns/{pod}", exist_ok=True)
        servers = nameservers or self.nameservers or [self.ipv6["service"] if self.ipv6 else self.service_ip]
        with open(f"/etc/netns/{pod}/resolv.conf", "w") as f:
            f.write("".join(f"nameserver {s}\n" for s in servers))
            f.write("search " + " ".join(self.search_list(j)) + "\n")
            f.write(f"options {options or self.resolv_options}\n")
        with open(f"/etc/netns/{pod}/hosts", "w") as f:
            f.write(f"127.0.0.1 localhost\n{self.pod_ip(i, j)} pod-{i}-{j}\n")

    def vtep_mac(self, i):
        return "ba:10:0e:%02x:%02x:%02x" % (self.octets[i] & 255, 0x74 + i, 0x89)

    def _overlay(self, i):
        node = self.n(i)
        others = [m for m in range(self.nodes) if m != i]
        if self.overlay == "hostgw":
            self.batch(node, [f"route add {self.pod_cidr(m)} via {self.node_ip(m)} dev eth0" for m in others])
            return
        self.batch(node, [f"link add flannel.1 address {self.vtep_mac(i)} type vxlan id 1 local {self.node_ip(i)} "
                          "dev eth0 dstport 8472 nolearning",
                          f"addr add {self.pod_net}.{self.octets[i]}.0/32 dev flannel.1",
                          f"link set flannel.1 mtu {self.pod_mtu or 1450}", "link set flannel.1 up"])
        lines = []
        for m in others:
            via = f"{self.pod_net}.{self.octets[m]}.0"
            lines += [f"neigh add {via} lladdr {self.vtep_mac(m)} dev flannel.1 nud permanent",
                      f"route add {self.pod_cidr(m)} via {via} dev flannel.1 onlink"]
            self.x(node, f"bridge fdb append {self.vtep_mac(m)} dev flannel.1 dst {self.node_ip(m)}")
        self.batch(node, lines)

    # ---- faults -----------------------------------------------------------------------------
    def link(self, i, up):
        """The cable of node i.  With arp_proxy the router keeps answering ARP
        for the dead node, as a cloud VPC does, so peers lose packets silently."""
        state = "up" if up else "down"
        if not up and self.arp_proxy:
            mac = self.x(self.n(i), "cat /sys/class/net/eth0/address").strip()
            for m in range(self.nodes):
                if m != i:
                    self.batch(self.n(m), [f"neigh replace {self.node_ip(i)} lladdr {mac} dev eth0 nud permanent"])
                    if self.ipv6:
                        self.batch(self.n(m), [f"neigh replace {self.node_ip6(i)} lladdr {mac} dev eth0 nud permanent"])
        sh(f"ip -n {self.ul} link set p-n{i} {state}")

    def ipt(self, ns, rule):
        self.x(ns, f"iptables -w {rule}")

    # ---- end --------------------------------------------------------------------------------
    def destroy(self):
        for _, p in reversed(self.procs):
            if p.poll() is None:
                p.terminate()
        end = time.time() + 3
        for _, p in self.procs:
            try:
                p.wait(max(0.05, end - time.time()))
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        for ns in self.ns_all:
            remove_namespace(ns)
