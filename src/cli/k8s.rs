//! `--k8s FILE`: who the addresses are, by what `kubectl get … -o json` printed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::run::complain;
use crate::analysis::Mask;
use crate::base::Nodes;
use crate::report::{Named, Names};

/// Who the addresses are, and which ranges of them each node gives to its pods.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Names for reports.
    pub(super) names: Names,
    ranges: Vec<(String, IpNet)>,
}

/// Reads all files; says on standard error what could not be understood.
pub(super) fn known(files: &[PathBuf], quiet: bool) -> Result<Known> {
    let mut names = Names::default();
    let mut ranges = Vec::new();
    for file in files {
        let mut reader = Cluster::default();
        reader.file(file)?;
        if reader.odd > 0 && !quiet {
            complain(&format!("{}: {} objects were not understood", file.display(), reader.odd));
        }
        ranges.append(&mut reader.ranges);
        // Pods know best, endpoints know pods that are gone, nodes own what host pods share.
        for (address, named) in
            reader.nodes.into_iter().chain(reader.services).chain(reader.pods).chain(reader.ends)
        {
            names.add(address, named);
        }
    }
    if names.is_empty() && !files.is_empty() && !quiet {
        complain(
            "--k8s names no address; run: kubectl get pods,svc,endpointslices,nodes -A -o json",
        );
    }
    Ok(Known { names, ranges })
}

impl Known {
    /// The nodes that clients are grouped by: of each pod the one it runs on; of a pod that is not
    /// listed the one whose range its address is from, or that all listed pods of its prefix run on,
    /// lest one node be taken for two.
    pub(super) fn nodes(&self) -> Nodes {
        let placed: Vec<(&str, IpNet)> = self
            .names
            .iter()
            .filter_map(|(address, named)| Some((home(named)?, IpNet::from(address))))
            .collect();
        // Some networks (Calico's own IPAM) ignore the ranges in Node objects: a pod elsewhere than
        // its address says shows it, and then none of them means anything.
        let kept = placed.iter().all(|(node, pod)| {
            self.ranges.iter().all(|(owner, range)| owner == node || !range.contains(pod))
        });
        let ranges = self.ranges.iter().map(|(node, range)| (node.as_str(), *range));
        let all = placed.iter().copied().chain(ranges.filter(|_| kept)).chain(self.prefixes());
        Nodes::new(all.map(|(node, range)| (node, range.network(), range.prefix_len())))
    }

    /// Prefixes of which every listed address lives on one node, pods among them.
    fn prefixes(&self) -> Vec<(&str, IpNet)> {
        let mut prefixes: BTreeMap<IpNet, (BTreeSet<&str>, bool)> = BTreeMap::new();
        for (address, named) in self.names.iter() {
            let bits = if address.is_ipv4() { 24 } else { 64 };
            if let (Some(node), Ok(prefix)) = (home(named), IpNet::new(address, bits)) {
                let (nodes, pods) = prefixes.entry(prefix.trunc()).or_default();
                nodes.insert(node);
                *pods |= named.kind == "pod";
            }
        }
        let alone = prefixes.into_iter().filter(|(_, (nodes, pods))| *pods && nodes.len() == 1);
        alone.filter_map(|(prefix, (nodes, _))| Some((nodes.first().copied()?, prefix))).collect()
    }

    /// The same as a masked report may show it.
    pub(super) fn masked(&self, mask: &mut Mask) -> Self {
        let names = masked(&self.names, mask);
        let ranges = self.ranges.iter();
        let ranges = ranges.map(|(node, range)| (mask.word(node), mask.network(*range))).collect();
        Self { names, ranges }
    }
}

/// The node that something with this name lives on.
fn home(named: &Named) -> Option<&str> {
    match named.kind {
        "pod" => named.node.as_deref(),
        "node" => Some(&named.name),
        _ => None,
    }
}

/// Names as a masked report may show them.
fn masked(names: &Names, mask: &mut Mask) -> Names {
    let mut masked = Names::default();
    for (address, named) in names.iter() {
        masked.add(
            mask.address(address),
            Named {
                kind: named.kind,
                namespace: named.namespace.as_deref().map(|namespace| mask.word(namespace)),
                name: mask.word(&named.name),
                node: named.node.as_deref().map(|node| mask.word(node)),
            },
        );
    }
    masked
}

#[derive(Default)]
struct Cluster {
    pods: Vec<(IpAddr, Named)>,
    services: Vec<(IpAddr, Named)>,
    nodes: Vec<(IpAddr, Named)>,
    ends: Vec<(IpAddr, Named)>,
    /// What nodes give to their pods.
    ranges: Vec<(String, IpNet)>,
    odd: usize,
}

impl Cluster {
    /// A file may hold one object, a list, or several of them one after the other.
    fn file(&mut self, path: &Path) -> Result<()> {
        let failed = || format!("failed to read {}", path.display());
        let bytes = std::fs::read(path).with_context(failed)?;
        let mut values =
            serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>().peekable();
        if values.peek().is_none() {
            bail!("{} is empty: it should hold what kubectl get … -o json prints", path.display());
        }
        for value in values {
            let value = value.with_context(|| {
                format!("{} is not JSON: run kubectl with -o json, not -o yaml", path.display())
            })?;
            self.object(value, None);
        }
        Ok(())
    }

    /// An object, or a list of them; `kind` is what the list says of its items.
    fn object(&mut self, mut value: Value, kind: Option<&str>) {
        let own = value.get("kind").and_then(Value::as_str).map(str::to_owned);
        let kind = own.as_deref().or(kind).unwrap_or_default().to_owned();
        if let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) {
            let of = kind.strip_suffix("List").filter(|of| !of.is_empty());
            for item in items {
                self.object(item, of);
            }
            return;
        }
        let understood = match kind.as_str() {
            "Pod" => parse(value).map(|pod| self.pod(&pod)),
            "Service" => parse(value).map(|service| self.service(&service)),
            "Node" => parse(value).map(|node| self.node(&node)),
            "EndpointSlice" => parse(value).map(|slice| self.slice(&slice)),
            // Other kinds are somebody else's.
            _ => Some(()),
        };
        self.odd += usize::from(understood.is_none());
    }

    fn pod(&mut self, pod: &Pod) {
        let spec = pod.spec.as_ref();
        // Its addresses are those of its node, which others share.
        if spec.and_then(|spec| spec.host_network) == Some(true) {
            return;
        }
        let Some(status) = &pod.status else { return };
        let more = status.pod_ips.iter().flatten().map(|ip| &ip.ip);
        let named = Named {
            kind: "pod",
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            node: spec.and_then(|spec| spec.node_name.clone()),
        };
        // A pod that has ended has given its address back.
        let gone = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let list = if gone { &mut self.ends } else { &mut self.pods };
        add(list, status.pod_ip.iter().chain(more), &named);
    }

    fn service(&mut self, service: &Service) {
        let Some(spec) = &service.spec else { return };
        let named = Named {
            kind: "service",
            namespace: service.metadata.namespace.clone(),
            name: service.metadata.name.clone().unwrap_or_default(),
            node: None,
        };
        let clusters = spec.cluster_ip.iter().chain(spec.cluster_ips.iter().flatten());
        add(&mut self.services, clusters.chain(spec.external_ips.iter().flatten()), &named);
        let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref());
        add(
            &mut self.services,
            ingress.into_iter().flatten().filter_map(|i| i.ip.as_ref()),
            &named,
        );
    }

    fn node(&mut self, node: &Node) {
        let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
        let addresses = addresses.into_iter().flatten().map(|address| &address.address);
        let name = node.metadata.name.clone().unwrap_or_default();
        let spec = node.spec.as_ref();
        let ranges = spec.and_then(|spec| spec.pod_cidrs.as_ref()).into_iter().flatten();
        let ranges = ranges.chain(spec.and_then(|spec| spec.pod_cidr.as_ref()));
        // A node's name is a DNS name; anything else is not to be shown as it is.
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
        let ranges = ranges.filter_map(|range| range.parse::<IpNet>().ok().filter(|_| plain));
        self.ranges.extend(ranges.map(|range| (name.clone(), range.trunc())));
        let named = Named { kind: "node", namespace: None, name, node: None };
        add(&mut self.nodes, addresses, &named);
    }

    fn slice(&mut self, slice: &EndpointSlice) {
        for end in slice.endpoints.iter().flatten() {
            let target = end.target_ref.as_ref();
            let Some(target) = target.filter(|target| target.kind.as_deref() == Some("Pod")) else {
                continue;
            };
            let named = Named {
                kind: "pod",
                namespace: target.namespace.clone().or_else(|| slice.metadata.namespace.clone()),
                name: target.name.clone().unwrap_or_default(),
                node: end.node_name.clone(),
            };
            add(&mut self.ends, &end.addresses, &named);
        }
    }
}

fn parse<T: DeserializeOwned>(value: Value) -> Option<T> {
    serde_json::from_value(value).ok()
}

/// `None` and names of hosts are no addresses.
fn add<'a>(
    list: &mut Vec<(IpAddr, Named)>,
    addresses: impl IntoIterator<Item = &'a String>,
    named: &Named,
) {
    let addresses = addresses.into_iter().filter_map(|address| address.parse().ok());
    list.extend(addresses.map(|address| (address, named.clone())));
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{"apiVersion":"v1","kind":"List","items":[
      {"apiVersion":"v1","kind":"Pod","metadata":{"name":"api-1","namespace":"shop"},
       "spec":{"containers":[],"nodeName":"worker-1"},
       "status":{"phase":"Running","podIP":"10.244.1.7","podIPs":[{"ip":"10.244.1.7"},{"ip":"fd00::7"}]}},
      {"apiVersion":"v1","kind":"Pod","metadata":{"name":"proxy","namespace":"kube-system"},
       "spec":{"containers":[],"hostNetwork":true,"nodeName":"worker-1"},
       "status":{"phase":"Running","podIP":"192.168.0.11"}},
      {"apiVersion":"v1","kind":"Node","metadata":{"name":"worker-1"},
       "status":{"addresses":[{"type":"InternalIP","address":"192.168.0.11"},{"type":"Hostname","address":"worker-1"}]}},
      {"apiVersion":"v1","kind":"Service","metadata":{"name":"kube-dns","namespace":"kube-system"},
       "spec":{"clusterIP":"10.96.0.10","clusterIPs":["10.96.0.10"]}},
      {"apiVersion":"v1","kind":"Service","metadata":{"name":"db","namespace":"shop"},
       "spec":{"clusterIP":"None"}},
      {"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"kube-dns-x","namespace":"kube-system"},
       "addressType":"IPv4","endpoints":[{"addresses":["10.244.2.10"],"nodeName":"worker-2",
       "targetRef":{"kind":"Pod","name":"coredns-a","namespace":"kube-system"}}]},
      {"apiVersion":"v1","kind":"Pod","metadata":7}
    ]}"#;

    #[test]
    fn addresses_get_the_names_of_pods_services_and_nodes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), LIST).unwrap();
        let names = known(&[file.path().to_path_buf()], true).unwrap().names;
        let cell = |address: &str| names.cell(address.parse().unwrap());
        assert_eq!(cell("10.244.1.7"), "pod shop/api-1 on worker-1");
        assert_eq!(cell("fd00::7"), "pod shop/api-1 on worker-1");
        assert_eq!(cell("192.168.0.11"), "node worker-1");
        assert_eq!(cell("10.96.0.10"), "service kube-system/kube-dns");
        assert_eq!(cell("10.244.2.10"), "pod kube-system/coredns-a on worker-2");
        assert_eq!(cell("10.244.9.9"), "");
        assert_eq!(names.len(), 5);
    }

    #[test]
    fn what_is_no_json_is_refused_with_advice() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "apiVersion: v1").unwrap();
        let said = format!("{:#}", known(&[file.path().to_path_buf()], true).unwrap_err());
        assert!(said.contains("-o json"), "{said}");
    }

    fn nodes(items: &str) -> Nodes {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!(r#"{{"kind":"List","items":[{items}]}}"#)).unwrap();
        known(&[file.path().to_path_buf()], true).unwrap().nodes()
    }

    fn pod(name: &str, node: &str, address: &str) -> String {
        format!(
            r#"{{"kind":"Pod","metadata":{{"name":"{name}"}},
                "spec":{{"containers":[],"nodeName":"{node}"}},"status":{{"podIP":"{address}"}}}}"#
        )
    }

    fn node(name: &str, address: &str, range: &str) -> String {
        format!(
            r#"{{"kind":"Node","metadata":{{"name":"{name}"}},
                "spec":{{"podCIDR":"{range}","podCIDRs":["{range}"]}},
                "status":{{"addresses":[{{"type":"InternalIP","address":"{address}"}}]}}}}"#
        )
    }

    fn group(nodes: &Nodes, address: &str) -> String {
        nodes.group(address.parse().unwrap()).to_string()
    }

    #[test]
    fn clients_are_grouped_by_the_node_that_they_run_on() {
        let items = [
            node("worker-1", "192.168.0.11", "10.244.1.0/25"),
            node("worker-2", "192.168.0.12", "10.244.1.128/25"),
            pod("api-1", "worker-1", "10.244.1.7"),
            pod("far", "worker-3", "10.9.0.7"),
        ];
        let nodes = nodes(&items.join(","));
        assert_eq!(group(&nodes, "10.244.1.7"), "worker-1");
        assert_eq!(group(&nodes, "10.244.1.200"), "worker-2", "a pod that is not listed");
        assert_eq!(group(&nodes, "192.168.0.12"), "worker-2", "what shares the node's address");
        assert_eq!(group(&nodes, "10.9.0.7"), "worker-3");
        assert_eq!(group(&nodes, "10.9.0.8"), "worker-3", "as all that is listed of its prefix");
        assert_eq!(group(&nodes, "10.8.0.8"), "10.8.0.0/24");
        assert_eq!(group(&nodes, "192.168.0.13"), "192.168.0.0/24");
    }

    #[test]
    fn ranges_that_the_pods_do_not_keep_to_mean_nothing() {
        let items = [
            node("worker-1", "192.168.0.11", "10.244.1.0/24"),
            node("worker-2", "192.168.0.12", "10.244.2.0/24"),
            pod("api-1", "worker-1", "10.244.2.7"),
            pod("api-2", "worker-2", "10.244.2.9"),
        ];
        let nodes = nodes(&items.join(","));
        assert_eq!(group(&nodes, "10.244.2.7"), "worker-1");
        assert_eq!(group(&nodes, "10.244.2.8"), "10.244.2.0/24");
    }

    #[test]
    fn a_masked_pod_stays_on_its_masked_node() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let items = [
            node("worker-1", "192.168.0.11", "10.244.1.0/24"),
            pod("api-1", "worker-1", "10.9.0.7"),
        ];
        let list = format!(r#"{{"kind":"List","items":[{}]}}"#, items.join(","));
        std::fs::write(file.path(), list).unwrap();
        let known = known(&[file.path().to_path_buf()], true).unwrap();
        let mut mask = Mask::new(b"a secret of some length");
        let nodes = known.masked(&mut mask).nodes();
        for address in ["10.9.0.7", "10.244.1.99", "192.168.0.11"] {
            let strange = mask.address(address.parse().unwrap());
            assert_eq!(nodes.group(strange).to_string(), mask.word("worker-1"), "{address}");
        }
    }
}
