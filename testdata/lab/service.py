"""The DNS service address on each node: NAT rules as kube-proxy writes them in iptables mode."""
import subprocess

SLOTS = 6      # chains for so many backends exist on every node


class ServiceRules:
    """Part of Topo."""

    def service(self, i, backends=None, flush_conntrack=True):
        """(Re)write the rules of node i for the given backends."""
        node, vip = self.n(i), self.service_ip
        ips = [self.pod_ip(*b) for b in (self.backends if backends is None else backends)]
        rules = ["*nat", ":KUBE-SERVICES - [0:0]"]
        for proto in ("UDP", "TCP"):
            rules.append(f":KUBE-SVC-DNS-{proto} - [0:0]")
            rules += [f":KUBE-SEP-{k}-{proto} - [0:0]" for k in range(SLOTS)]
        rules.append("-F KUBE-SERVICES")
        for proto in ("UDP", "TCP"):
            rules += self._chains(proto, vip, ips)
        self._restore("iptables", node, rules)
        self.x(node, f"iptables -D FORWARD -d {vip} -p udp --dport 53 -j REJECT --reject-with icmp-port-unreachable",
               check=False)
        if not ips:   # kube-proxy: service without endpoints is rejected
            self.x(node, f"iptables -I FORWARD -d {vip} -p udp --dport 53 -j REJECT --reject-with icmp-port-unreachable")
        if flush_conntrack:
            self.x(node, f"conntrack -D -p udp --orig-dst {vip} --orig-port-dst 53", check=False)

    def _chains(self, proto, vip, ips):
        svc = f"KUBE-SVC-DNS-{proto}"
        rules = [f"-F {svc}"] + [f"-F KUBE-SEP-{k}-{proto}" for k in range(SLOTS)]
        if ips:
            rules.append(f"-A KUBE-SERVICES -d {vip}/32 -p {proto.lower()} --dport 53 -j {svc}")
        if self.affinity:
            rules += [f"-A {svc} -m recent --name DNS{proto}{k} --rcheck --seconds 10800 --reap --rsource "
                      f"-j KUBE-SEP-{k}-{proto}" for k in range(len(ips))]
        for k, ip in enumerate(ips):
            rules.append(f"-A {svc} {self._chance(k, len(ips))}-j KUBE-SEP-{k}-{proto}")
            recent = f"-m recent --name DNS{proto}{k} --set --rsource " if self.affinity else ""
            rules.append(f"-A KUBE-SEP-{k}-{proto} -p {proto.lower()} {recent}-j DNAT --to-destination {ip}:53")
        return rules

    def _chance(self, k, count):
        """The match that gives backend k its share of what those before it left over."""
        left = count - k
        if left == 1:
            return ""
        chance = self.weights[k] / sum(self.weights[k:]) if self.weights else 1 / left
        return f"-m statistic --mode random --probability {chance:.11f} "

    def service6(self, i, backends=None):
        """IPv6 half of a dual-stack service (UDP and TCP, random backend)."""
        node, vip = self.n(i), self.ipv6["service"]
        ips = [self.pod_ip6(*b) for b in (self.backends if backends is None else backends)]
        rules = ["*nat", ":KUBE-SERVICES - [0:0]", "-F KUBE-SERVICES"]
        for proto in ("udp", "tcp"):
            for k, ip in enumerate(ips):
                left = len(ips) - k
                match = f"-m statistic --mode random --probability {1 / left:.11f} " if left > 1 else ""
                rules.append(f"-A KUBE-SERVICES -d {vip}/128 -p {proto} --dport 53 {match}"
                             f"-j DNAT --to-destination [{ip}]:53")
        self._restore("ip6tables", node, rules)
        self.x(node, f"conntrack -D -f ipv6 -p udp --orig-dst {vip} --orig-port-dst 53", check=False)

    def _restore(self, program, node, rules):
        done = subprocess.run(["ip", "netns", "exec", node, f"{program}-restore", "--noflush"],
                              input="\n".join([*rules, "COMMIT"]) + "\n", capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr + "\n".join(rules))
        have = self.x(node, f"{program} -t nat -S")
        for chain in ("PREROUTING", "OUTPUT"):
            if f"-A {chain} -j KUBE-SERVICES" not in have:
                self.x(node, f"{program} -t nat -I {chain} -j KUBE-SERVICES")

    def service_all(self, backends=None, flush_conntrack=True):
        for i in range(self.nodes):
            self.service(i, backends, flush_conntrack)
            if self.ipv6:
                self.service6(i, backends)

    def pin(self, i, j, k):
        """Session affinity remembers that pod j of node i was given backend k."""
        for proto in ("UDP", "TCP"):
            self.x(self.n(i), f"sh -c 'echo +{self.pod_ip(i, j)} > /proc/net/xt_recent/DNS{proto}{k}'")
