//! `--k8s FILE`: who the addresses are, by what `kubectl get … -o json` printed.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::run::complain;
use crate::analysis::Mask;
use crate::report::{Named, Names};

/// Reads all files; says on standard error what could not be understood.
pub(super) fn names(files: &[PathBuf], quiet: bool) -> Result<Names> {
    let mut names = Names::default();
    for file in files {
        let mut reader = Cluster::default();
        reader.file(file)?;
        if reader.odd > 0 && !quiet {
            complain(&format!("{}: {} objects were not understood", file.display(), reader.odd));
        }
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
    Ok(names)
}

/// Names as a masked report may show them.
pub(super) fn masked(names: &Names, mask: &mut Mask) -> Names {
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
        let names = names(&[file.path().to_path_buf()], true).unwrap();
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
        let said = format!("{:#}", names(&[file.path().to_path_buf()], true).unwrap_err());
        assert!(said.contains("-o json"), "{said}");
    }
}
