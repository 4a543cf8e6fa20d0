//! Addresses as keys of hash tables.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use super::digest;

/// An address that is hashed in one step, where the enumeration takes several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host(pub IpAddr);

/// An address as two numbers, to be part of a key; versions are not told apart.
pub fn halves(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(v4) => [0, u64::from(v4.to_bits())],
        IpAddr::V6(v6) => {
            let mut words = [0; 2];
            for (word, bytes) in words.iter_mut().zip(v6.octets().as_chunks().0) {
                *word = u64::from_be_bytes(*bytes);
            }
            words
        }
    }
}

impl Hash for Host {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.0 {
            IpAddr::V4(v4) => state.write_u32(v4.to_bits()),
            IpAddr::V6(v6) => state.write_u128(v6.to_bits()),
        }
    }
}

/// A socket in eight bytes instead of 32, for tables of very many.
///
/// One of IPv4 is spelled out; one of IPv6 is its digest, and two of them look alike once in 10^18.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(u64);

impl From<SocketAddr> for SocketId {
    fn from(socket: SocketAddr) -> Self {
        let port = u64::from(socket.port());
        Self(match socket.ip() {
            IpAddr::V4(address) => u64::from(address.to_bits()) << 16 | port,
            IpAddr::V6(address) => {
                let mut bytes = [0; 18];
                bytes[..16].copy_from_slice(&address.octets());
                bytes[16..].copy_from_slice(&socket.port().to_be_bytes());
                digest(&bytes) | 1 << 63
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_one_host_are_told_apart() {
        let id = |text: &str| SocketId::from(text.parse::<SocketAddr>().unwrap());
        assert_eq!(id("10.0.0.1:53"), id("10.0.0.1:53"));
        assert_ne!(id("10.0.0.1:53"), id("10.0.0.1:54"));
        assert_ne!(id("10.0.0.1:53"), id("10.0.0.2:53"));
        assert_ne!(id("[2001:db8::1]:53"), id("[2001:db8::1]:54"));
    }
}
