//! Where datagrams are seen.

use super::conversation;
use crate::capture::LinkType;
use crate::testkit::{Compression, Format, PcapOptions, Scenario};

/// One datagram of each fate, on the way to a service.
const SERVICE: &str = "
    pod      = 10.244.0.5:40001
    coredns1 = 10.244.1.9
    service kube-dns = 10.96.0.10
    0.000 pod > kube-dns via coredns1 A a.b
    0.001 pod < kube-dns NXDOMAIN
    5.000 pod > kube-dns until bridge AAAA a.b
    5.001 pod < kube-dns NOERROR otherhost
    5.002 pod < kube-dns icmp port-unreachable 3
";

#[test]
fn a_datagram_is_seen_on_every_interface_of_the_clients_node() {
    let scenario = Scenario::parse(&format!("capture node sll2\n{SERVICE}"));
    insta::assert_snapshot!(conversation(&scenario), @"
    if 5 type 3 0 ttl 64 10.244.0.5 > 10.96.0.10 9e37 a.b. IN A
    if 3 type 0 12 ttl 64 10.244.0.5 > 10.244.1.9 9e37 a.b. IN A
    if 4 type 4 25 ttl 63 10.244.0.5 > 10.244.1.9 9e37 a.b. IN A
    if 4 type 0 1000 ttl 63 10.244.1.9 > 10.244.0.5 9e37 a.b. IN A NXDomain
    if 3 type 4 1003 ttl 62 10.96.0.10 > 10.244.0.5 9e37 a.b. IN A NXDomain
    if 5 type 4 1005 ttl 62 10.96.0.10 > 10.244.0.5 9e37 a.b. IN A NXDomain
    if 5 type 3 5000000 ttl 64 10.244.0.5 > 10.96.0.10 3c6e a.b. IN AAAA
    if 3 type 0 5000012 ttl 64 10.244.0.5 > 10.244.1.9 3c6e a.b. IN AAAA
    if 4 type 3 5001000 ttl 63 10.244.1.9 > 10.244.0.5 3c6e a.b. IN AAAA NoError
    if 4 type 0 5002000 ttl 63 10.244.1.9 > 10.244.0.5 DestinationUnreachable(Port)
    if 3 type 4 5002003 ttl 62 10.96.0.10 > 10.244.0.5 DestinationUnreachable(Port)
    if 5 type 4 5002005 ttl 62 10.96.0.10 > 10.244.0.5 DestinationUnreachable(Port)
    ");
}

#[test]
fn the_backends_node_sees_the_other_half() {
    let scenario = Scenario::parse(&format!("capture backend-node sll2\n{SERVICE}"));
    insta::assert_snapshot!(conversation(&scenario), @"
    if 4 type 0 160 ttl 63 10.244.0.5 > 10.244.1.9 9e37 a.b. IN A
    if 3 type 4 172 ttl 62 10.244.0.5 > 10.244.1.9 9e37 a.b. IN A
    if 5 type 4 174 ttl 62 10.244.0.5 > 10.244.1.9 9e37 a.b. IN A
    if 5 type 3 840 ttl 64 10.244.1.9 > 10.244.0.5 9e37 a.b. IN A NXDomain
    if 3 type 0 845 ttl 64 10.244.1.9 > 10.244.0.5 9e37 a.b. IN A NXDomain
    if 4 type 4 850 ttl 63 10.244.1.9 > 10.244.0.5 9e37 a.b. IN A NXDomain
    if 5 type 3 5000840 ttl 64 10.244.1.9 > 10.244.0.5 3c6e a.b. IN AAAA NoError
    if 3 type 0 5000845 ttl 64 10.244.1.9 > 10.244.0.5 3c6e a.b. IN AAAA NoError
    if 4 type 4 5000850 ttl 63 10.244.1.9 > 10.244.0.5 3c6e a.b. IN AAAA NoError
    if 5 type 3 5001840 ttl 64 10.244.1.9 > 10.244.0.5 DestinationUnreachable(Port)
    if 3 type 0 5001845 ttl 64 10.244.1.9 > 10.244.0.5 DestinationUnreachable(Port)
    if 4 type 4 5001850 ttl 63 10.244.1.9 > 10.244.0.5 DestinationUnreachable(Port)
    ");
}

#[test]
fn a_backend_may_live_next_to_its_client() {
    let scenario = Scenario::parse(
        &format!("capture node sll2 coredns1\n{SERVICE}").replace(" until bridge", ""),
    );
    insta::assert_snapshot!(conversation(&scenario), @"
    if 5 type 3 0 ttl 64 10.244.0.5 > 10.96.0.10 9e37 a.b. IN A
    if 3 type 0 12 ttl 64 10.244.0.5 > 10.244.1.9 9e37 a.b. IN A
    if 3 type 4 20 ttl 63 10.244.0.5 > 10.244.1.9 9e37 a.b. IN A
    if 6 type 4 22 ttl 63 10.244.0.5 > 10.244.1.9 9e37 a.b. IN A
    if 6 type 3 988 ttl 64 10.244.1.9 > 10.244.0.5 9e37 a.b. IN A NXDomain
    if 3 type 0 992 ttl 64 10.244.1.9 > 10.244.0.5 9e37 a.b. IN A NXDomain
    if 3 type 4 1000 ttl 63 10.96.0.10 > 10.244.0.5 9e37 a.b. IN A NXDomain
    if 5 type 4 1002 ttl 63 10.96.0.10 > 10.244.0.5 9e37 a.b. IN A NXDomain
    if 5 type 3 5000000 ttl 64 10.244.0.5 > 10.96.0.10 3c6e a.b. IN AAAA
    if 3 type 0 5000012 ttl 64 10.244.0.5 > 10.244.1.9 3c6e a.b. IN AAAA
    if 3 type 4 5000020 ttl 63 10.244.0.5 > 10.244.1.9 3c6e a.b. IN AAAA
    if 6 type 4 5000022 ttl 63 10.244.0.5 > 10.244.1.9 3c6e a.b. IN AAAA
    if 6 type 3 5000988 ttl 64 10.244.1.9 > 10.244.0.5 3c6e a.b. IN AAAA NoError
    if 3 type 0 5000992 ttl 64 10.244.1.9 > 10.244.0.5 3c6e a.b. IN AAAA NoError
    if 6 type 3 5001988 ttl 64 10.244.1.9 > 10.244.0.5 DestinationUnreachable(Port)
    if 3 type 0 5001992 ttl 64 10.244.1.9 > 10.244.0.5 DestinationUnreachable(Port)
    if 3 type 4 5002000 ttl 63 10.96.0.10 > 10.244.0.5 DestinationUnreachable(Port)
    if 5 type 4 5002002 ttl 63 10.96.0.10 > 10.244.0.5 DestinationUnreachable(Port)
    ");
}

#[test]
fn the_pod_sees_what_reaches_it() {
    let scenario = Scenario::parse(SERVICE);
    insta::assert_snapshot!(conversation(&scenario), @"
    0 ttl 64 10.244.0.5 > 10.96.0.10 9e37 a.b. IN A
    1000 ttl 64 10.96.0.10 > 10.244.0.5 9e37 a.b. IN A NXDomain
    5000000 ttl 64 10.244.0.5 > 10.96.0.10 3c6e a.b. IN AAAA
    5002000 ttl 64 10.96.0.10 > 10.244.0.5 DestinationUnreachable(Port)
    ");
}

#[test]
fn the_node_itself_rejects_what_has_no_backend() {
    let scenario = Scenario::parse(
        "
        capture node sll2
        pod = 10.244.0.5
        gateway = 10.244.0.1
        service kube-dns = 10.96.0.10
        0.0 pod > kube-dns A a.b until bridge ipid 0
        0.1 pod < kube-dns icmp port-unreachable from gateway since bridge
        ",
    );
    assert_eq!(Scenario::try_parse("").map(|s| s.frames().len()), Ok(0));
    insta::assert_snapshot!(conversation(&scenario), @"
    if 5 type 3 0 ttl 64 10.244.0.5 > 10.96.0.10 9e37 a.b. IN A
    if 3 type 0 12 ttl 64 10.244.0.5 > 10.96.0.10 9e37 a.b. IN A
    if 3 type 4 100003 ttl 64 10.244.0.1 > 10.244.0.5 DestinationUnreachable(Port)
    if 5 type 4 100005 ttl 64 10.244.0.1 > 10.244.0.5 DestinationUnreachable(Port)
    ");
}

#[test]
fn files_are_written_in_every_form() {
    let scenario = Scenario::parse(SERVICE);
    let magic = |options: PcapOptions| scenario.write_pcap(&options)[0][..4].to_vec();
    let default = PcapOptions::default;
    assert_eq!(magic(default()), [0xd4, 0xc3, 0xb2, 0xa1]);
    let big_endian = true;
    assert_eq!(magic(PcapOptions { big_endian, ..default() }), [0xa1, 0xb2, 0xc3, 0xd4]);
    let nanoseconds = true;
    assert_eq!(magic(PcapOptions { nanoseconds, ..default() }), [0x4d, 0x3c, 0xb2, 0xa1]);
    let format = Format::PcapNg;
    assert_eq!(magic(PcapOptions { format, ..default() }), [10, 13, 13, 10]);
    let compression = Compression::Gzip;
    assert_eq!(magic(PcapOptions { compression, ..default() })[..2], [0x1f, 0x8b]);
    let compression = Compression::Zstd;
    assert_eq!(magic(PcapOptions { compression, ..default() }), [0x28, 0xb5, 0x2f, 0xfd]);

    let frames_per_file = Some(3);
    let ring = scenario.write_pcap(&PcapOptions { frames_per_file, ..default() });
    assert_eq!(ring.len(), 2);
    let link = Some(LinkType::RAW);
    let snap_length = Some(30);
    let options = PcapOptions { link, snap_length, ..default() };
    let file = scenario.write_pcap(&options).remove(0);
    let frames = scenario.frames().len();
    assert_eq!(file.len(), 24 + frames * (16 + 30));
    assert_eq!(file[20..24], [101, 0, 0, 0]);
    assert_eq!(Scenario::parse("").write_pcap(&default())[0].len(), 24);
}
