//! Where a capture is taken, and the places that a datagram passes.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Where the capture was taken.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    kind: Kind,
    /// kube-proxy in IPVS mode: the bridge still shows the service address.
    ipvs: bool,
    only: Option<Place>,
    /// Hosts named as living on the node.
    hosts: BTreeSet<IpAddr>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Pod,
    Node,
    BackendNode,
}

/// An interface that a datagram passes, on the client's node or (far) on the backend's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Veth,
    Bridge,
    Overlay,
    FarOverlay,
    FarBridge,
    FarVeth,
}

/// How far a datagram comes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Route {
    pub(super) until: Option<Place>,
    pub(super) since: Option<Place>,
    pub(super) other_host: bool,
}

impl Place {
    pub(super) fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "veth" => Self::Veth,
            "bridge" => Self::Bridge,
            "overlay" => Self::Overlay,
            "far-overlay" => Self::FarOverlay,
            "far-bridge" => Self::FarBridge,
            "far-veth" => Self::FarVeth,
            _ => return Err(format!("unknown place: {name}")),
        })
    }

    pub(super) fn is_far(self) -> bool {
        matches!(self, Self::FarOverlay | Self::FarBridge | Self::FarVeth)
    }

    /// The same interface of the client's node.
    pub(super) fn kind(self) -> Self {
        match self {
            Self::FarOverlay => Self::Overlay,
            Self::FarBridge => Self::Bridge,
            Self::FarVeth => Self::Veth,
            near => near,
        }
    }
}

impl View {
    /// The view that `capture VIEW LINK …` asks for.
    pub(super) fn parse(
        name: &str,
        words: &[String],
        host: impl Fn(&str) -> Result<IpAddr, String>,
    ) -> Result<Self, String> {
        let kind = match name {
            "pod" => Kind::Pod,
            "node" => Kind::Node,
            "backend-node" => Kind::BackendNode,
            _ => return Err(format!("unknown view: {name}")),
        };
        let mut view = Self { kind, ..Self::default() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "ipvs" => view.ipvs = true,
                "only" => {
                    let place = words.next().ok_or("only where?")?;
                    view.only = Some(Place::named(place)?.kind());
                }
                name => {
                    view.hosts.insert(host(name)?);
                }
            }
        }
        Ok(view)
    }

    pub(super) fn is_pod(&self) -> bool {
        self.kind == Kind::Pod
    }

    pub(super) fn is_ipvs(&self) -> bool {
        self.ipvs
    }

    /// Whether the interface at `place` is captured.
    pub(super) fn shows(&self, place: Place) -> bool {
        self.only.is_none_or(|only| only == place.kind())
    }

    /// Whether `client` lives on the captured node; `backends` are those of all services.
    pub(super) fn client_is_here(&self, client: IpAddr, backends: &BTreeSet<IpAddr>) -> bool {
        let clients_named = self.hosts.iter().any(|host| !backends.contains(host));
        match self.kind {
            _ if self.hosts.contains(&client) => true,
            Kind::Node => !clients_named && !backends.contains(&client),
            _ => self.hosts.is_empty() && backends.contains(&client),
        }
    }

    /// Whether `server` lives there.
    pub(super) fn server_is_here(&self, server: IpAddr, backends: &BTreeSet<IpAddr>) -> bool {
        match self.kind {
            Kind::BackendNode if self.hosts.is_empty() => backends.contains(&server),
            _ => self.hosts.contains(&server),
        }
    }
}
