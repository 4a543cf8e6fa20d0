//! Link types: the `LINKTYPE_` values of <https://www.tcpdump.org/linktypes.html>.
//!
//! Files carry LINKTYPE values. They equal the `DLT_` values of libpcap, by which people know them
//! from `tcpdump -L`, except for a few that were given different numbers by different systems; of
//! these, raw IP matters here. Names are those that tcpdump prints.

use std::fmt;

/// What the first byte of a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback: an address family in the byte order of the capturing host, then IP.
    pub const NULL: Self = Self(0);
    /// IEEE 802.3 Ethernet (EN10MB).
    pub const ETHERNET: Self = Self(1);
    /// IEEE 802.5 token ring.
    pub const IEEE802_5: Self = Self(6);
    /// BSD ARCNET.
    pub const ARCNET_BSD: Self = Self(7);
    /// SLIP with its pseudo header (RFC 1055).
    pub const SLIP: Self = Self(8);
    /// PPP (RFC 1661), with or without HDLC framing.
    pub const PPP: Self = Self(9);
    /// FDDI.
    pub const FDDI: Self = Self(10);
    /// Raw IP as `DLT_RAW` of most systems wrote it into files.
    pub const RAW_DLT: Self = Self(12);
    /// Raw IP as `DLT_RAW` of OpenBSD wrote it into files.
    pub const RAW_OPENBSD: Self = Self(14);
    /// PPP in HDLC-like framing (RFC 1662).
    pub const PPP_HDLC: Self = Self(50);
    /// `PPPoE` session data (RFC 2516).
    pub const PPP_ETHER: Self = Self(51);
    /// Raw IP: version 4 or 6 by the first four bits.
    pub const RAW: Self = Self(101);
    /// Cisco PPP with HDLC framing.
    pub const C_HDLC: Self = Self(104);
    /// IEEE 802.11 without a radio header.
    pub const IEEE802_11: Self = Self(105);
    /// Frame relay (Q.922).
    pub const FRELAY: Self = Self(107);
    /// OpenBSD loopback: an address family in network byte order, then IP.
    pub const LOOP: Self = Self(108);
    /// OpenBSD `IPsec` encapsulating interface.
    pub const ENC: Self = Self(109);
    /// Linux "cooked" capture, version 1.
    pub const LINUX_SLL: Self = Self(113);
    /// OpenBSD packet filter log.
    pub const PFLOG: Self = Self(117);
    /// IEEE 802.11 behind a Prism header.
    pub const IEEE802_11_PRISM: Self = Self(119);
    /// IEEE 802.11 behind a radiotap header.
    pub const IEEE802_11_RADIO: Self = Self(127);
    /// Linux ARCNET.
    pub const ARCNET_LINUX: Self = Self(129);
    /// IEEE 802.11 behind an AVS header.
    pub const IEEE802_11_AVS: Self = Self(163);
    /// Per-packet information header, then what it names.
    pub const PPI: Self = Self(192);
    /// PPP behind a direction byte.
    pub const PPP_WITH_DIR: Self = Self(204);
    /// Raw IPv4.
    pub const IPV4: Self = Self(228);
    /// Raw IPv6.
    pub const IPV6: Self = Self(229);
    /// D-Bus messages.
    pub const DBUS: Self = Self(231);
    /// Linux netfilter log.
    pub const NFLOG: Self = Self(239);
    /// USB as `USBPcap` records it.
    pub const USBPCAP: Self = Self(249);
    /// Apple PKTAP.
    pub const PKTAP: Self = Self(258);
    /// Linux "cooked" capture, version 2.
    pub const LINUX_SLL2: Self = Self(276);
    /// Elektrobit high speed capture and replay.
    pub const EBHSCR: Self = Self(279);

    /// No link at all: a record that Wireshark numbers as a frame but that carries no packet, such
    /// as a pcapng Custom Block. Not a value of the registry, which ends far below.
    pub const NONE: Self = Self(u16::MAX);

    /// The one value for all that mean the same; raw IP has three numbers.
    #[must_use]
    pub fn meaning(self) -> Self {
        match self {
            Self::RAW_DLT | Self::RAW_OPENBSD => Self::RAW,
            other => other,
        }
    }

    /// Whether a frame of it carries a packet; see [`LinkType::NONE`].
    pub fn carries_packets(self) -> bool {
        self != Self::NONE
    }

    /// The longest record of it that is believed, in bytes.
    ///
    /// These are the bounds of Wireshark's `wtap_max_snaplen_for_encap`: a longer record is damage
    /// there too, so frame numbers agree.
    pub fn max_captured(self) -> u32 {
        match self {
            Self::DBUS | Self::USBPCAP => 128 << 20,
            Self::EBHSCR => 8 << 20,
            _ => 256 << 10,
        }
    }

    /// Its name, as tcpdump prints it; `None` if it is not in our table.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "NULL",
            1 => "EN10MB",
            3 => "AX25",
            6 => "IEEE802",
            7 => "ARCNET",
            8 => "SLIP",
            9 => "PPP",
            10 => "FDDI",
            12 | 14 | 101 => "RAW",
            50 => "PPP_SERIAL",
            51 => "PPP_ETHER",
            99 => "SYMANTEC_FIREWALL",
            100 => "ATM_RFC1483",
            104 => "C_HDLC",
            105 => "IEEE802_11",
            107 => "FRELAY",
            108 => "LOOP",
            109 => "ENC",
            113 => "LINUX_SLL",
            114 => "LTALK",
            117 => "PFLOG",
            119 => "PRISM_HEADER",
            122 => "IP_OVER_FC",
            123 => "SUNATM",
            127 => "IEEE802_11_RADIO",
            129 => "ARCNET_LINUX",
            138 => "APPLE_IP_OVER_IEEE1394",
            139 => "MTP2_WITH_PHDR",
            140 => "MTP2",
            141 => "MTP3",
            142 => "SCCP",
            143 => "DOCSIS",
            144 => "LINUX_IRDA",
            147..=162 => "USER",
            163 => "IEEE802_11_RADIO_AVS",
            165 => "BACNET_MS_TP",
            166 => "PPP_PPPD",
            169 => "GPRS_LLC",
            177 => "LINUX_LAPD",
            187 => "BLUETOOTH_HCI_H4",
            189 => "USB_LINUX",
            192 => "PPI",
            195 => "IEEE802_15_4_WITHFCS",
            197 => "ERF",
            201 => "BLUETOOTH_HCI_H4_WITH_PHDR",
            204 => "PPP_WITH_DIR",
            205 => "C_HDLC_WITH_DIR",
            206 => "FRELAY_WITH_DIR",
            220 => "USB_LINUX_MMAPPED",
            226 => "IPNET",
            227 => "CAN_SOCKETCAN",
            228 => "IPV4",
            229 => "IPV6",
            230 => "IEEE802_15_4_NOFCS",
            231 => "DBUS",
            239 => "NFLOG",
            240 => "NETANALYZER",
            241 => "NETANALYZER_TRANSPARENT",
            242 => "IPOIB",
            243 => "MPEG_2_TS",
            247 => "INFINIBAND",
            248 => "SCTP",
            249 => "USBPCAP",
            251 => "BLUETOOTH_LE_LL",
            253 => "NETLINK",
            254 => "BLUETOOTH_LINUX_MONITOR",
            256 => "BLUETOOTH_LE_LL_WITH_PHDR",
            258 => "PKTAP",
            259 => "EPON",
            266 => "USB_DARWIN",
            271 => "VSOCK",
            272 => "NORDIC_BLE",
            274 => "ETHERNET_MPACKET",
            276 => "LINUX_SLL2",
            279 => "EBHSCR",
            280 => "VPP_DISPATCH",
            281 => "DSA_TAG_BRCM",
            282 => "DSA_TAG_BRCM_PREPEND",
            283 => "IEEE802_15_4_TAP",
            284 => "DSA_TAG_DSA",
            285 => "DSA_TAG_EDSA",
            288 => "USB_2_0",
            290 => "ETW",
            u16::MAX => "NONE",
            _ => return None,
        })
    }
}

/// `EN10MB`, `LINUX_SLL2`; a number where there is no name.
impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self.0) {
            (Some(name), 147..=162) => write!(f, "{name}{}", self.0 - 147),
            (Some(name), _) => f.write_str(name),
            (None, number) => write!(f, "LINKTYPE {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_tcpdump() {
        assert_eq!(LinkType::ETHERNET.to_string(), "EN10MB");
        assert_eq!(LinkType::LINUX_SLL2.to_string(), "LINUX_SLL2");
        assert_eq!(LinkType(149).to_string(), "USER2");
        assert_eq!(LinkType(9999).to_string(), "LINKTYPE 9999");
    }

    #[test]
    fn raw_ip_keeps_its_number_and_has_one_meaning() {
        for number in [12, 14, 101] {
            assert_eq!(LinkType(number).meaning(), LinkType::RAW);
        }
        assert_eq!(LinkType::IPV4.meaning(), LinkType::IPV4);
    }
}
