"""What exists in the lab: address plans, public names, and the cluster's own names."""

# Address plans, as different installers choose them.
NETS = {
    "flannel": dict(pod_net="10.244", pod_octets=[0, 1, 2, 3], node_net="192.168.10", service_ip="10.96.0.10",
                    upstream_ip="100.100.2.136"),
    "flannel88": dict(pod_net="10.244", pod_octets=[88, 67, 8, 6], node_net="10.100.139", node_first=245,
                      service_ip="10.96.0.10", upstream_ip="100.100.2.138"),
    "ack": dict(pod_net="172.20", pod_octets=[2, 3, 4, 5], node_net="192.168.0", node_first=198,
                service_ip="172.21.0.10", upstream_ip="100.100.2.136"),
    "k3s": dict(pod_net="10.42", pod_octets=[0, 1, 2, 3], node_net="172.31.5", node_first=20,
                service_ip="10.43.0.10", upstream_ip="10.0.0.2"),
    "ocp": dict(pod_net="10.128", pod_octets=[2, 4, 6, 8], node_net="10.0.130", node_first=31,
                service_ip="172.30.0.10", upstream_ip="10.0.0.53"),
    "kubespray": dict(pod_net="10.233", pod_octets=[64, 65, 66, 67], node_net="10.11.12", node_first=5,
                      service_ip="10.233.0.3", upstream_ip="10.11.0.53"),
    "corp": dict(pod_net="100.64", pod_octets=[16, 17, 18, 19], node_net="172.16.8", node_first=101,
                 service_ip="10.254.0.2", upstream_ip="172.16.255.53", domain="k8s.prod.corp"),
}

V6 = dict(pod="fd00:10:244", service="fd00:10:96::a", node="fd00:192:168:10")

EXTERNAL = {
    "api.example.com": {"A": ["93.184.216.34"], "AAAA": ["2606:2800:220:1::34"], "ttl": 20},
    "www.aliyun.com": {"CNAME": "www-jp-de-intl-adns.aliyun.com", "ttl": 15},
    "www-jp-de-intl-adns.aliyun.com": {"CNAME": "xjp-adns.aliyun.com.gds.alibabadns.com", "ttl": 15},
    "xjp-adns.aliyun.com.gds.alibabadns.com": {"A": ["47.88.198.24", "47.88.251.168"], "AAAA": ["2400:3200::1"],
                                               "ttl": 15},
    "oss-cn-hangzhou.aliyuncs.com": {"A": ["118.31.219.250"], "ttl": 12},
    "login.partner.example": {"A": ["198.51.100.20", "198.51.100.21"], "ttl": 20},
    "git.example.org": {"A": ["203.0.113.7"], "AAAA": ["2001:db8:7::7"], "ttl": 25},
    "cdn.example.net": {"CNAME": "edge-7.cdn.example.net", "ttl": 10},
    "edge-7.cdn.example.net": {"A": ["203.0.113.80", "203.0.113.81", "203.0.113.82"], "ttl": 10},
    "alauda.cn": {"A": ["39.106.12.5"], "ttl": 15},
    "mail.example.com": {"A": ["192.0.2.25"], "ttl": 30},
    "*.tenant.example.com": {"A": ["192.0.2.88"], "ttl": 5},
    "big.example.com": {"TXT": ["v=spf1 " + " ".join(f"ip4:203.0.113.{i}" for i in range(k, k + 12))
                                for k in range(0, 120, 12)], "ttl": 5},
    "pools.example.com": {"A": [f"198.18.{i // 200}.{i % 200 + 1}" for i in range(90)], "ttl": 5},
}
# The names that pods ask for in daily life.
EXT = ["api.example.com", "www.aliyun.com", "oss-cn-hangzhou.aliyuncs.com", "login.partner.example",
       "git.example.org", "cdn.example.net", "alauda.cn"]
SERVICES = {"default": ["kubernetes", "redis-master", "mysql", "auth"],
            "shop": ["payments", "cart", "orders", "frontend"],
            "team-a": ["ingest", "billing", "search"], "monitoring": ["prometheus", "alertmanager"]}


def cluster_records(domain, service_ip, pod_net):
    """The cluster zone: (records by name, names by reverse name)."""
    base, recs, ptr, k = ".".join(service_ip.split(".")[:2]), {}, {}, 1
    for ns, names in SERVICES.items():
        for s in names:
            ip = f"{base}.{k // 20}.{k % 20 * 11 + 1}" if k > 1 else f"{base}.0.1"
            recs[f"{s}.{ns}.svc.{domain}"] = {"A": [ip]}
            ptr[".".join(reversed(ip.split("."))) + ".in-addr.arpa"] = f"{s}.{ns}.svc.{domain}"
            k += 1
    for ns, svc, sts, n in (("default", "kafka-headless", "kafka", 3), ("shop", "mongo", "mongo", 3)):
        ips = [f"{pod_net}.{200 + len(svc) % 7}.{i + 20}" for i in range(n)]
        recs[f"{svc}.{ns}.svc.{domain}"] = {"A": ips}
        for i in range(n):
            recs[f"{sts}-{i}.{svc}.{ns}.svc.{domain}"] = {"A": [ips[i]]}
        recs[f"_client._tcp.{svc}.{ns}.svc.{domain}"] = {
            "SRV": [[0, 33, 9092, f"{sts}-{i}.{svc}.{ns}.svc.{domain}"] for i in range(n)]}
    recs[f"workers.default.svc.{domain}"] = {"A": [f"{pod_net}.{210 + i // 100}.{i % 100 + 10}" for i in range(72)]}
    recs[f"spark-exec.default.svc.{domain}"] = {
        "A": [f"{pod_net}.{220 + i // 200}.{i % 200 + 10}" for i in range(190)]}
    recs[f"etcd-old.default.svc.{domain}"] = {"A": [f"{pod_net}.205.{i + 30}" for i in range(3)]}
    return recs, ptr
