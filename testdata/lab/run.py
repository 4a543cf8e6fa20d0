"""One scenario from set-up to label."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import world
from label import write_label
from labnet import Topo, sh
from plan import Plan

HERE = os.path.dirname(os.path.abspath(__file__))
BIN = os.path.join(HERE, "build")
LEAD = 1.2            # seconds from the start of the capture to the start of the load


def build_clients():
    """The resolver workers: getaddrinfo of glibc and of musl, Go, c-ares."""
    os.makedirs(BIN, exist_ok=True)
    src = os.path.join(HERE, "clients")
    steps = [("gres-glibc", ["gcc", "-O2", "-pthread", f"{src}/gres.c", "-o", f"{BIN}/gres-glibc"]),
             ("gres-musl", ["musl-gcc", "-static", "-O2", f"{src}/gres.c", "-o", f"{BIN}/gres-musl"]),
             ("gores", ["go", "build", "-o", f"{BIN}/gores", f"{src}/gores.go"])]
    for name, argv in steps:
        if not os.path.exists(os.path.join(BIN, name)):
            subprocess.run(argv, check=True, env={**os.environ, "CGO_ENABLED": "0", "GO111MODULE": "off"})
    shutil.copy(f"{src}/nres.js", f"{BIN}/nres.js")


def filled_in(obj, table):
    """`obj` with the placeholders of `table` replaced in all its strings."""
    if isinstance(obj, str):
        for k, v in table.items():
            obj = obj.replace(k, v)
        return obj
    if isinstance(obj, list):
        return [filled_in(o, table) for o in obj]
    if isinstance(obj, dict):
        return {k: filled_in(v, table) for k, v in obj.items()}
    return obj


class Run:
    def __init__(self, entry, out, tag):
        self.tag = tag
        self.out = os.path.join(out, entry["name"])
        self.plan = Plan(entry["name"], entry["net"], **entry["topo"])
        entry["family"](self.plan, **entry["opts"])
        self.work = tempfile.mkdtemp(prefix=f"lab-{tag}-")
        os.chmod(self.work, 0o755)
        self.loads, self.marks, self.topo = [], {}, None

    def run(self):
        try:
            self.setup()
            self.play()
            write_label(self)
        finally:
            for proc in [c["proc"] for c in self.plan.captures if "proc" in c] + self.loads:
                if proc.poll() is None:
                    proc.kill()
            if self.topo:
                self.topo.destroy()
            if not os.environ.get("LAB_KEEP"):
                shutil.rmtree(self.work, ignore_errors=True)

    # ---- set-up -----------------------------------------------------------------
    def setup(self):
        p = self.plan
        self.topo = t = Topo(self.tag, self.work, **p.topo_args)
        shutil.rmtree(self.out, ignore_errors=True)
        os.makedirs(self.out)
        t.build()
        first_service = t.service_ip.rsplit(".", 2)[0] + ".0.1"
        self.table = {"{DOMAIN}": t.domain, "{VIP}": t.service_ip, "{SVC1}": first_service}
        records, ptr = world.cluster_records(t.domain, t.service_ip, t.pod_net)
        for b in t.backends:
            t.start_backend(b, {"records": records, "ptr": ptr, **filled_in(p.backend_cfg, self.table)})
        t.start_upstream(world.EXTERNAL, **p.upstream_cfg)
        for i in t.wire_nodes:
            t.start_wire(i)
        if t.nodelocal:
            t.start_nodelocal(0)
        self.wait_ready()

    def wait_ready(self):
        t = self.topo
        todo = [(t.p(*b), t.pod_ip(*b), f"kubernetes.default.svc.{t.domain}") for b in t.backends]
        todo.append((t.up, t.upstream_ip, "api.example.com"))
        end = time.time() + 15
        while todo and time.time() < end:
            ns, ip, name = todo[0]
            out = sh(f"ip netns exec {ns} dig +short +time=1 +tries=1 @{ip} {name} A", check=False)
            if out.strip() and out.strip()[0].isdigit():
                todo.pop(0)
            else:
                time.sleep(0.2)
        if todo:
            raise RuntimeError(f"not ready: {todo}")

    # ---- the scenario itself ----------------------------------------------------
    def play(self):
        p, t = self.plan, self.topo
        for _, _, fn in sorted((e for e in p.events if e[0] < 0), key=lambda e: e[0]):
            fn(t)
        time.sleep(0.3)
        timeline = [(when, mark, lambda fn=fn: fn(t)) for when, mark, fn in p.events if when >= 0]
        for c in p.captures:
            timeline += self.capture_events(c)
        self.t0 = time.time() + LEAD
        self.start_loads()
        for when, mark, fn in sorted(timeline, key=lambda e: e[0]):
            time.sleep(max(0, self.t0 + when - time.time()))
            before = time.time()
            fn()
            if mark:
                self.marks.setdefault(mark, (before, time.time()))
        time.sleep(max(0, self.t0 + p.duration - time.time()))
        for proc in self.loads:
            proc.wait(60)
        time.sleep(p.tail)
        self.t1 = time.time()
        for c in p.captures:
            self.stop_capture(c)

    def start_loads(self):
        p, t = self.plan, self.topo
        for (i, j), streams in p.load.items():
            stem = os.path.join(self.work, f"load-{i}-{j}")
            spec = {"log": f"{stem}.jsonl", "bin": BIN, "duration": p.duration, "start_at": self.t0,
                    "seed": t.seed * 1000 + i * 10 + j, "grace": p.grace, "streams": filled_in(streams, self.table)}
            with open(f"{stem}.json", "w") as f:
                json.dump(spec, f)
            with open(f"{stem}.log", "w") as log:
                self.loads.append(subprocess.Popen(
                    ["ip", "netns", "exec", t.p(i, j), sys.executable, os.path.join(HERE, "load.py"), f"{stem}.json"],
                    stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL))

    # ---- captures ---------------------------------------------------------------
    def capture_events(self, c):
        """Starts the capture now, or says when; what is done to it during the run."""
        out = []
        if c.get("start"):
            out.append((c["start"], None, lambda: self.start_capture(c)))
        else:
            self.start_capture(c)
        if c.get("stop"):
            out.append((c["stop"], None, lambda: self.stop_capture(c)))
        for a, b in c.get("pauses", ()):
            out.append((a, None, lambda: c["proc"].send_signal(signal.SIGSTOP)))
            out.append((b, None, lambda: c["proc"].send_signal(signal.SIGCONT)))
        return out

    def start_capture(self, c):
        limits = ["-G", str(c["rotate"])] if c.get("rotate") else ["-C", str(c["size"]), "-W", str(c["count"])]
        argv = ["tcpdump", *c["argv"], *c.get("extra", []), *c["filter"].split(), *limits]
        c["command"] = " ".join([*argv, "-w", c["name"]])
        c["err"] = os.path.join(self.work, c["name"] + ".err")
        ns = self.topo.p(c["node"], c["pod"]) if c.get("pod") else self.topo.n(c["node"])
        with open(c["err"], "w") as err:
            c["proc"] = subprocess.Popen(
                ["ip", "netns", "exec", ns, *argv, "-Z", "root", "-w", os.path.join(self.out, c["name"])],
                stderr=err, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        end = time.time() + 5
        while time.time() < end:
            with open(c["err"]) as f:
                if "listening on" in f.read():
                    break
            time.sleep(0.05)
        c["t_start"] = time.time()

    def stop_capture(self, c):
        if c["proc"].poll() is None:
            c["proc"].send_signal(signal.SIGKILL if c.get("kill9") else signal.SIGINT)
            c["proc"].wait(10)
            c["t_stop"] = time.time()
