"""The DNS servers of the lab, and the user-space wires."""
import json
import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

KNOT = """server:
    rundir: {work}/{name}-kdb
    listen: {listen}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: {work}/{name}-kdb
template:
  - id: default
    storage: {work}
    zonefile-sync: -1
    journal-content: none
zone:
  - domain: .
    file: root.zone
"""
UNBOUND = """server:
  interface: {ip}
  access-control: 0.0.0.0/0 allow
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{work}"
  pidfile: "{work}/{name}.pid"
  use-syslog: no
  num-threads: 1
  module-config: "iterator"
  do-ip6: no
  do-not-query-localhost: no
  edns-buffer-size: 1232
  cache-max-ttl: 60
  {extra}
remote-control:
  control-enable: yes
  control-interface: {work}/{name}.ctl
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@5300
"""
NAMED = """options {{ directory "{work}"; pid-file none; listen-on {{ {ip}; }}; listen-on-v6 {{ none; }};
 recursion yes; allow-query {{ any; }}; allow-recursion {{ any; }}; dnssec-validation no; session-keyfile "{work}/sk"; }};
controls {{ }};
zone "." {{ type primary; file "root.zone"; }};
"""


class Servers:
    """Part of Topo."""

    def start_backend(self, b, cfg):
        """A server that answers as CoreDNS does, in pod b."""
        name = f"coredns-{b[0]}-{b[1]}"
        base = {"domain": self.domain, "listen": [self.pod_ip(*b)] + ([self.pod_ip6(*b)] if self.ipv6 else []),
                "upstreams": [self.upstream_ip], "knobs": os.path.join(self.work, f"{name}.knobs"),
                "seed": self.rng.randrange(1 << 30)}
        return self._corelike(self.p(*b), name, {**base, **cfg})

    def _corelike(self, ns, name, cfg):
        path = self._file(f"{name}.json", json.dumps(cfg))
        return self.spawn(ns, [sys.executable, os.path.join(HERE, "corelike.py"), path], name)

    def _file(self, name, text):
        path = os.path.join(self.work, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def knobs(self, name, **kv):
        """Change the knobs of a running server: name is coredns-i-j or upstream."""
        self._file(f"{name}.knobs", json.dumps(kv))
        self.stop_proc(name, signal.SIGHUP)

    def start_upstream(self, table, unbound=""):
        """The resolver outside the cluster, of the kind that the topology asks for."""
        ip = self.upstream_ip
        if self.upstream == "py":
            self._corelike(self.up, "upstream", {"role": "upstream", "listen": [ip], "records": table,
                                                 "knobs": os.path.join(self.work, "upstream.knobs")})
            return
        self._file("root.zone", root_zone(table))
        if self.upstream == "named":
            conf = self._file("upstream-named.conf", NAMED.format(work=self.work, ip=ip))
            self.spawn(self.up, ["named", "-g", "-n", "1", "-c", conf], "upstream")
            return
        alone = self.upstream == "knot"
        os.makedirs(os.path.join(self.work, "upstream-kdb"), exist_ok=True)
        listen = f"{ip}@53" if alone else "127.0.0.1@5300"
        conf = self._file("upstream-knot.conf", KNOT.format(work=self.work, name="upstream", listen=listen))
        self.spawn(self.up, ["knotd", "-c", conf], "upstream" if alone else "upstream-auth")
        if not alone:
            conf = self._file("upstream-unbound.conf",
                              UNBOUND.format(work=self.work, name="upstream", ip=ip, extra=unbound))
            self.spawn(self.up, ["unbound", "-d", "-c", conf], "upstream")

    def unbound(self, *args):
        return self.x(self.up, f"unbound-control -c {self.work}/upstream-unbound.conf " + " ".join(args))

    def start_nodelocal(self, i):
        """A cache on node i, as NodeLocal DNSCache is."""
        self.batch(self.n(i), ["link add nodelocaldns type bridge", f"addr add {self.nodelocal}/32 dev nodelocaldns",
                               "link set nodelocaldns up"])
        self.spawn(self.n(i), ["dnsmasq", "-k", "-C", "/dev/null", "-a", self.nodelocal, "-z", "--no-resolv", "--no-hosts",
                               f"--server={self.service_ip}", "--cache-size=1000", "--max-cache-ttl=30", "--pid-file=",
                               "--user=root"], "nodelocal")

    def stop_proc(self, name, sig=signal.SIGTERM):
        for n, p in self.procs:
            if n == name and p.poll() is None:
                p.send_signal(sig)

    def start_wire(self, i):
        path = self._file(f"wire{i}.json", json.dumps({"a": f"w-n{i}", "b": f"x-n{i}", "rules": [], "seed": self.seed}))
        return self.spawn(self.ul, [sys.executable, os.path.join(HERE, "wire.py"), path], f"wire{i}")

    def wire_rules(self, i, rules):
        with open(os.path.join(self.work, f"wire{i}.json")) as f:
            cfg = json.load(f)
        self._file(f"wire{i}.json", json.dumps({**cfg, "rules": list(rules)}))
        self.stop_proc(f"wire{i}", signal.SIGHUP)


def root_zone(table):
    """A root zone that holds every public name of the lab."""
    out = ["$TTL 60", ". 60 IN SOA a.root-servers.net. nstld.verisign-grs.com. 2024010100 1800 900 604800 60",
           ". 60 IN NS a.root-servers.net.", "a.root-servers.net. 60 IN A 198.41.0.4"]
    for owner, entry in table.items():
        ttl = entry.get("ttl", 60)
        for rtype, values in entry.items():
            if rtype == "ttl":
                continue
            for v in [values] if isinstance(values, str) else values:
                value = f'"{v}"' if rtype == "TXT" else v + ("." if rtype == "CNAME" else "")
                out.append(f"{owner}. {ttl} IN {rtype} {value}")
    return "\n".join(out) + "\n"
