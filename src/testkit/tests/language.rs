//! What can be said.

use super::conversation;
use crate::testkit::Scenario;

#[test]
fn a_second_server_answers_what_the_first_refuses() {
    let scenario = Scenario::parse(
        "
        laptop = 10.0.0.5:40001
        dns1   = 192.0.2.53                      # a comment
        dns2   = [2001:db8::53]:5353
        other  = 2001:db8::5

        0.000  laptop > dns1  id 1a2b  rd  A example.com.
        0.012  laptop < dns1  id 1a2b  REFUSED
        --- next file
        0.013  other > dns2  rd  AAAA example.com.
        0.030  other < dns2  example.com. 300 CNAME a.b; a.b 5 AAAA ::7 auth b. 30 SOA n. h. 1 2 3 4 5
        ",
    );
    insta::assert_snapshot!(conversation(&scenario), @"
    0 ttl 64 10.0.0.5 > 192.0.2.53 1a2b example.com. IN A
    12000 ttl 64 192.0.2.53 > 10.0.0.5 1a2b example.com. IN A Refused
    13000 ttl 64 2001:db8::5 > 2001:db8::53 9e37 example.com. IN AAAA
    30000 ttl 64 2001:db8::53 > 2001:db8::5 9e37 example.com. IN AAAA NoError [example.com. 300 IN CNAME a.b.] [a.b. 5 IN AAAA ::7] [b. 30 IN SOA n. h. 1 2 3 4 5]
    ");
    let files: Vec<_> = scenario.frames().iter().map(|f| (f.file.0, f.number)).collect();
    assert_eq!(files, [(0, 1), (0, 2), (1, 1), (1, 2)]);
}

#[test]
fn a_block_is_repeated_with_other_ports_ids_and_names() {
    let scenario = Scenario::parse(
        "
        dns = 192.0.2.53
        repeat 3 every 1.5 from 10
          0.0 10.0.0.{n+7}:40001 > dns id 00ff A n{n}.example.
          0.1 10.0.0.{n+7}:40001 < dns id 00ff NXDOMAIN
        end
        repeat 2 every 1 same-port same-id
          0.0 10.0.0.7:40001 > dns id 00ff A a. lost
          0.1 icmp host-unreachable 1 from 10.0.0.1
        end
        ",
    );
    insta::assert_snapshot!(conversation(&scenario), @"
    100000 ttl 64 10.0.0.1 > 10.0.0.7 DestinationUnreachable(Host)
    1100000 ttl 64 10.0.0.1 > 10.0.0.7 DestinationUnreachable(Host)
    10000000 ttl 64 10.0.0.7 > 192.0.2.53 00ff n0.example. IN A
    10100000 ttl 64 192.0.2.53 > 10.0.0.7 00ff n0.example. IN A NXDomain
    11500000 ttl 64 10.0.0.8 > 192.0.2.53 010f n1.example. IN A
    11600000 ttl 64 192.0.2.53 > 10.0.0.8 010f n1.example. IN A NXDomain
    13000000 ttl 64 10.0.0.9 > 192.0.2.53 011f n2.example. IN A
    13100000 ttl 64 192.0.2.53 > 10.0.0.9 011f n2.example. IN A NXDomain
    ");
    let ports: Vec<u16> = scenario
        .frames()
        .iter()
        .filter(|frame| frame.ts.nanos() >= 1_767_607_210_000_000_000)
        .map(|frame| u16::from_be_bytes([frame.bytes[34], frame.bytes[35]]))
        .collect();
    assert_eq!(ports, [40_001, 53, 40_017, 53, 40_033, 53]);
}

#[test]
fn messages_travel_over_tcp_and_in_pieces() {
    let scenario = Scenario::parse(
        "
        a = 10.0.0.5:40001
        b = 192.0.2.53
        0.000 a > b tcp syn
        0.001 a < b tcp syn-ack
        0.002 a > b tcp split 5 id 1 TXT example.
        0.003 a < b tcp example. 5 TXT \"one\" \"two\"
        0.004 a > b tcp again id 1 TXT example.
        0.005 a > b tcp fin
        0.006 a < b tcp rst
        0.007 a > b TXT example. edns 1232 do cookie
        0.008 a < b BADVERS example. 5 TXT \"0123456789012345678901234567890\" fragment 2
        0.009 a < b raw 0a0b cut 43
        0.010 a > b opcode NOTIFY class CH aa SOA example. stamped -1.5
        ",
    );
    let frames = scenario.frames();
    assert_eq!(frames.len(), 13);
    let payload = |n: usize| frames[n].bytes[54..].to_vec();
    assert_eq!([payload(2), payload(3)].concat(), payload(5));
    let fragment = |n: usize| (frames[n].bytes[20] & 0x20, frames[n].bytes[21]);
    assert_eq!((fragment(9), fragment(10).0), ((0x20, 0), 0));
    assert_eq!((frames[11].bytes.len(), frames[11].orig_len), (43, 44));
    assert_eq!(frames[12].bytes[44..46], [0x24, 0x00]);
    assert_eq!(frames[12].ts.to_string(), "2026-01-05T09:59:58.500000000Z");
}

#[test]
fn wrong_lines_are_named() {
    let wrong = |text: &str| Scenario::try_parse(text).unwrap_err().to_string();
    let cases = [
        "0.0 a > b A a.",
        "0.0 10.0.0.1 > 10.0.0.2 A",
        "0.0 10.0.0.1 > 10.0.0.2 hello",
        "\n0.0 10.0.0.1 < 10.0.0.2 NOERROR",
        "0.0 10.0.0.1 > 10.0.0.2 A a. until sky",
        "repeat 2 every 1",
        "end",
        "x 10.0.0.1 > 10.0.0.2 A a.",
        "capture moon sll2",
        "service s = 10.0.0.1\ncapture node sll2\n0.0 10.0.0.9 > s A a.",
        "0.0 10.0.0.1 > 10.0.0.2 a. 5 A 1.2.3",
    ];
    let all: Vec<String> = cases.iter().map(|text| wrong(text)).collect();
    insta::assert_snapshot!(all.join("\n"), @"
    scenario line 1: who is a?
    scenario line 1: a question without a name
    scenario line 1: unknown word: hello
    scenario line 2: a response to what?
    scenario line 1: unknown place: sky
    scenario line 1: a block without end
    scenario line 1: end of what?
    scenario line 1: no time in seconds: x
    scenario line 1: unknown view: moon
    scenario line 3: via which backend?
    scenario line 1: no such number: 1.2.3
    ");
}
