//! Lookups whose end the places of an answer, or the resolver's own timers, decide.

use std::time::Duration;

use crate::analysis::{Options, Sinks, run_frames};
use crate::lookup::{Lookup, Sent};
use crate::testkit::{MadeFrame, Scenario, lookups};

/// Ten healthy lookups on a node, and one whose answer is not seen at the pod's own interface; it
/// `goes_on` or does not.
fn stopped(goes_on: &str) -> String {
    let said = lookups(&format!(
        "
        capture node sll2
        service dns = 10.96.0.10
        core = 10.244.1.10
        pod = 10.244.0.2
        repeat 10 every 1
        0.000 pod:40{{n+100}} > dns via core rd A warm{{n}}.example.com.
        0.001 pod:40{{n+100}} < dns via core warm{{n}}.example.com. 5 A 192.0.2.1
        end
        20.000 pod:50000 > dns via core id 0007 rd A api.example.com.
        20.001 pod:50000 < dns via core id 0007 api.example.com. 5 A 192.0.2.2 until bridge
        {goes_on}
        60.000 pod:51000 > dns via core rd A end.example.com.
        60.001 pod:51000 < dns via core end.example.com. 5 A 192.0.2.1
        "
    ));
    said.lines().filter(|line| line.contains("api")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_client_that_asks_no_more_had_its_answer() {
    insta::assert_snapshot!(stopped(""), @"10:00:20.000 10.244.0.2 api.example.com A ok 1.0 ms 1 attempts unknown");
}

#[test]
fn a_client_that_asks_again_had_none() {
    let again = "
        25.000 pod:50000 > dns via core id 0007 rd A api.example.com.
        25.001 pod:50000 < dns via core id 0007 api.example.com. 5 A 192.0.2.2 until bridge
    ";
    insta::assert_snapshot!(stopped(again), @r#"10:00:20.000 10.244.0.2 api.example.com A timeout 10.0 s 2 attempts glibc "Temporary failure in name resolution""#);
}

/// glibc asks one family after the other once a server failed to answer a pair. The timer of a
/// try covers both questions: here it runs out at 15 s, though AAAA was asked at 12.8 s.
#[test]
fn one_timer_covers_both_families_of_a_try() {
    let said = lookups(
        "
        pod = 10.244.0.2
        dns = 10.96.0.10
        0.0000 pod:40001 > dns id 1111 rd A api.example.com.shop.svc.cluster.local.
        0.0001 pod:40001 > dns id 9f3c rd AAAA api.example.com.shop.svc.cluster.local.
        3.0000 pod:40001 < dns id 1111 NXDOMAIN
        5.0010 pod:40001 > dns id 1111 rd A api.example.com.shop.svc.cluster.local.
        7.7200 pod:40001 < dns id 1111 NXDOMAIN
        7.7201 pod:40001 > dns id 9f3c rd AAAA api.example.com.shop.svc.cluster.local.
        10.0020 pod:40002 > dns id 1111 rd A api.example.com.shop.svc.cluster.local.
        12.8000 pod:40002 < dns id 1111 NXDOMAIN
        12.8001 pod:40003 > dns id 9f3c rd AAAA api.example.com.shop.svc.cluster.local.
        15.0030 pod:40004 > dns id 2222 rd A api.example.com.svc.cluster.local.
        15.0031 pod:40004 > dns id 8e2b rd AAAA api.example.com.svc.cluster.local.
        15.0040 pod:40004 < dns id 2222 api.example.com.svc.cluster.local. 5 A 192.0.2.1
        15.0041 pod:40004 < dns id 8e2b auth svc.cluster.local. 5 SOA ns. root. 1 2 3 4 5
        15.8000 pod:40003 < dns id 9f3c ? AAAA api.example.com.shop.svc.cluster.local. NXDOMAIN
        60 pod:50000 > dns id 7777 rd A end.example.
        60.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA ok 15.0 s 8 attempts glibc
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    ");
}

/// It repeats itself because an error came, whenever that was: two and a half seconds are no sign
/// of musl then.
#[test]
fn a_repetition_after_a_late_error_shows_no_interval() {
    let said = lookups(
        "
        pod = 10.244.0.2
        dns = 10.96.0.10
        0.0000 pod:40001 > dns id fe9b rd A api.example.com.
        0.0001 pod:40001 > dns id c29a rd AAAA api.example.com.
        2.6450 pod:40001 < dns id fe9b SERVFAIL
        2.6451 pod:40001 < dns id c29a SERVFAIL
        2.6452 pod:40001 > dns id fe9b rd A api.example.com.
        2.6453 pod:40001 > dns id c29a rd AAAA api.example.com.
        2.6456 pod:40001 < dns id fe9b SERVFAIL
        2.6457 pod:40001 < dns id c29a SERVFAIL
        60 pod:50000 > dns id 7777 rd A end.example.
        60.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA error 2.65 s 4 attempts glibc "Temporary failure in name resolution"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// `send_dg` in glibc's `resolv/res_send.c` waits on for the second reply when the first one is an
/// error.
#[test]
fn glibc_waits_for_the_other_family_after_an_error() {
    let said = lookups(
        "
        pod = 10.244.0.2
        dns = 10.96.0.10
        0.0000 pod:40001 > dns id 1111 rd A api.example.com.
        0.0001 pod:40001 > dns id 9f3c rd AAAA api.example.com.
        0.0004 pod:40001 < dns id 9f3c SERVFAIL
        1.6700 pod:40001 < dns id 1111 api.example.com. 5 A 192.0.2.1
        60 pod:50000 > dns id 7777 rd A end.example.
        60.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA ok 1.67 s 2 attempts glibc
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    ");
}

/// An upstream that is silent: the cluster's DNS says SERVFAIL for A from its cache and for AAAA
/// after its own five seconds, just when glibc's timer runs out.
#[test]
fn an_error_for_one_family_ends_no_try_of_the_other() {
    let said = lookups(
        "
        pod = 10.244.0.2
        dns = 10.96.0.10
        0.0000 pod:40001 > dns id 9f4c rd A api.example.com.
        0.0001 pod:40001 > dns id 184d rd AAAA api.example.com.
        0.0002 pod:40001 < dns id 9f4c SERVFAIL
        5.0014 pod:40001 < dns id 184d SERVFAIL
        5.0016 pod:40001 > dns id 9f4c rd A api.example.com.
        5.0017 pod:40001 > dns id 184d rd AAAA api.example.com.
        5.0020 pod:40001 < dns id 184d SERVFAIL
        9.0051 pod:40001 < dns id 9f4c api.example.com. 5 A 192.0.2.1
        60 pod:50000 > dns id 7777 rd A end.example.
        60.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA ok 9.01 s 4 attempts glibc
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    ");
}

/// Two lookups of one name, one a tenth of a second after the other: an ICMP error ends the search
/// of the first.
#[test]
fn a_search_that_is_turned_away_does_not_go_on() {
    let said = lookups(
        "
        pod = 10.244.0.2
        dns = 10.96.0.10
        0.0000 pod:40001 > dns id 1111 rd A mysql.default.svc.cluster.local.
        0.0001 pod:40001 > dns id 9f3c rd AAAA mysql.default.svc.cluster.local.
        0.0002 pod:40001 < dns icmp port-unreachable
        0.0003 pod:40002 > dns id 1111 rd A mysql.default.svc.cluster.local.
        0.0004 pod:40002 > dns id 9f3c rd AAAA mysql.default.svc.cluster.local.
        0.0005 pod:40002 < dns icmp port-unreachable
        0.0900 pod:40003 > dns id 2222 rd A mysql.default.svc.cluster.local.default.svc.cluster.local.
        0.0901 pod:40003 > dns id 8e2b rd AAAA mysql.default.svc.cluster.local.default.svc.cluster.local.
        0.0902 pod:40003 < dns icmp port-unreachable
        0.0903 pod:40004 > dns id 2222 rd A mysql.default.svc.cluster.local.default.svc.cluster.local.
        0.0904 pod:40004 > dns id 8e2b rd AAAA mysql.default.svc.cluster.local.default.svc.cluster.local.
        0.0905 pod:40004 < dns icmp port-unreachable
        60 pod:50000 > dns id 7777 rd A end.example.
        60.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 mysql.default.svc.cluster.local A+AAAA error 0.5 ms 4 attempts glibc "Temporary failure in name resolution"
    10:00:00.090 10.244.0.2 mysql.default.svc.cluster.local.default.svc.cluster.local A+AAAA error 0.5 ms 4 attempts glibc "Temporary failure in name resolution"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// The same where the first try ran out of time before the second was turned away.
#[test]
fn a_search_that_waited_goes_on_when_it_is_turned_away() {
    let said = lookups(
        "
        pod = 10.244.0.2
        dns = 10.96.0.10
        0.0000 pod:40001 > dns id 1111 rd A mysql.shop.default.svc.cluster.local.
        0.0001 pod:40001 > dns id 9f3c rd AAAA mysql.shop.default.svc.cluster.local.
        5.0020 pod:40001 > dns id 1111 rd A mysql.shop.default.svc.cluster.local.
        5.0021 pod:40001 > dns id 9f3c rd AAAA mysql.shop.default.svc.cluster.local.
        5.0022 pod:40001 < dns icmp port-unreachable
        5.0030 pod:40003 > dns id 2222 rd A mysql.shop.
        5.0031 pod:40003 > dns id 8e2b rd AAAA mysql.shop.
        5.0050 pod:40003 < dns id 2222 NXDOMAIN
        5.0051 pod:40003 < dns id 8e2b NXDOMAIN
        60 pod:50000 > dns id 7777 rd A end.example.
        60.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 mysql.shop A+AAAA negative 5.01 s 6 attempts glibc "Name or service not known"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// The answer to Go's first AAAA comes in the instant in which its timer runs out.
#[test]
fn an_answer_that_meets_the_timer_is_asked_for_again() {
    let said = lookups(
        "
        pod = 10.244.0.2
        dns = 10.96.0.10
        0.0000 pod:40001 > dns id 1111 rd edns 1232 A www.example.com.
        0.0003 pod:40002 > dns id 2222 rd edns 1232 AAAA www.example.com.
        1.9400 pod:40001 < dns id 1111 www.example.com. 5 A 192.0.2.1
        5.00100 pod:40003 > dns id 3333 rd edns 1232 AAAA www.example.com.
        5.00103 pod:40002 < dns id 2222 www.example.com. 5 AAAA 2001:db8::1
        6.1650 pod:40003 < dns id 3333 www.example.com. 5 AAAA 2001:db8::1
        60 pod:50000 > dns id 7777 rd A end.example.
        60.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @"
    10:00:00.000 10.244.0.2 www.example.com A+AAAA ok 6.17 s 3 attempts go
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    ");
}

/// A filter such as `port 53` hides the ICMP errors of vector V8; their effect is to be seen.
#[test]
fn a_client_that_is_turned_away_unseen_does_not_wait() {
    let said = lookups(
        "
        pod = 10.244.0.2
        dns = 10.96.0.10
        0.00000 pod:40001 > dns id 1111 rd A api.example.com.shop.svc.cluster.local.
        0.00002 pod:40001 > dns id 9f3c rd AAAA api.example.com.shop.svc.cluster.local.
        0.00030 pod:40002 > dns id 1111 rd A api.example.com.shop.svc.cluster.local.
        0.00032 pod:40002 > dns id 9f3c rd AAAA api.example.com.shop.svc.cluster.local.
        60 pod:50000 > dns id 7777 rd A end.example.
        60.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com.shop.svc.cluster.local A+AAAA error 0.3 ms 4 attempts glibc "Temporary failure in name resolution"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// The second try of that client was not turned away, or it would not have gone on five seconds
/// later.
#[test]
fn a_client_whose_second_try_is_silent_waits() {
    let said = lookups(
        "
        pod = 10.244.0.2
        dns = 10.96.0.10
        0.00000 pod:40001 > dns id 1111 rd A api.example.com.shop.svc.cluster.local.
        0.00002 pod:40001 > dns id 9f3c rd AAAA api.example.com.shop.svc.cluster.local.
        0.00030 pod:40002 > dns id 1111 rd A api.example.com.shop.svc.cluster.local.
        0.00032 pod:40002 > dns id 9f3c rd AAAA api.example.com.shop.svc.cluster.local.
        5.0040 pod:40003 > dns id 2222 rd A api.example.com.
        5.0041 pod:40003 > dns id 8e2b rd AAAA api.example.com.
        5.0050 pod:40003 < dns id 2222 api.example.com. 5 A 192.0.2.1
        5.0051 pod:40003 < dns id 8e2b api.example.com. 5 AAAA 2001:db8::1
        60 pod:50000 > dns id 7777 rd A end.example.
        60.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA ok 5.01 s 6 attempts glibc
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    ");
}

/// The filter `port 53` shows the first fragment of a large answer alone; it is held back for the
/// others. That is no clock that was set back, behind which nothing could be told.
#[test]
fn a_lone_fragment_makes_nothing_else_unknown() {
    let said = lookups(
        "
        pod = 10.244.0.2
        dns = 10.96.0.10
        1.0000 pod:40009 > dns id 0001 rd edns 4096 TXT big.example.com.
        1.0010 pod:40009 < dns id 0001 big.example.com. 5 TXT \"01234567890123456789012345678901234567890123456789\" fragment 2 alone
        20.0000 pod:40001 > dns id 1111 rd A api.example.com.
        20.0001 pod:40001 > dns id 9f3c rd AAAA api.example.com.
        25.0020 pod:40001 > dns id 1111 rd A api.example.com.
        25.0021 pod:40001 > dns id 9f3c rd AAAA api.example.com.
        60 pod:50000 > dns id 7777 rd A end.example.
        60.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:01.000 10.244.0.2 big.example.com TXT ok 1.0 ms 1 attempts unknown
    10:00:20.000 10.244.0.2 api.example.com A+AAAA timeout 10.0 s 4 attempts glibc "Temporary failure in name resolution"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// A process that is throttled sends AAAA late, through the same socket all the same.
#[test]
fn a_throttled_client_asks_for_the_other_family_late() {
    let said = lookups(
        "
        pod = 10.244.0.2
        dns = 10.96.0.10
        0.0000 pod:40001 > dns id 2e23 rd A api.example.com.shop.svc.cluster.local.
        0.0003 pod:40001 < dns id 2e23 NXDOMAIN
        0.0900 pod:40001 > dns id 2f09 rd AAAA api.example.com.shop.svc.cluster.local.
        0.0903 pod:40001 < dns id 2f09 NXDOMAIN
        0.0910 pod:40002 > dns id cfe5 rd A api.example.com.svc.cluster.local.
        0.0911 pod:40002 > dns id d0c1 rd AAAA api.example.com.svc.cluster.local.
        2.5920 pod:40002 > dns id cfe5 rd A api.example.com.svc.cluster.local.
        2.5921 pod:40002 > dns id d0c1 rd AAAA api.example.com.svc.cluster.local.
        60 pod:50000 > dns id 7777 rd A end.example.
        60.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA timeout 5.09 s 6 attempts musl "Try again"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// On the backend's node the stream shows first where it leaves the pod, addressed to the bridge.
#[test]
fn an_answer_over_tcp_arrives_though_only_its_first_place_is_known() {
    let said = lookups(
        "
        capture backend-node sll2 core
        core = 10.244.1.10
        pod = 10.244.0.2
        0.0000 pod:40001 > core tcp syn
        0.0005 pod:40001 < core tcp syn-ack
        0.0010 pod:40001 > core tcp ack
        0.0011 pod:40001 > core tcp id 1111 rd A api.example.com.
        0.0020 pod:40001 < core tcp id 1111 api.example.com. 5 A 192.0.2.1
        60 pod:50000 > core id 7777 rd A end.example.
        60.001 pod:50000 < core id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    assert!(
        said.lines().next().is_some_and(|line| line.contains(" api.example.com A ok ")),
        "{said}"
    );
}

/// The port of a connection that nobody answered is used again an hour later.
#[test]
fn a_connection_of_long_ago_is_no_part_of_a_lookup() {
    let connection = |at: f64, id: &str| {
        let at = |ms: f64| at + ms / 1_000.0;
        format!(
            "{} pod:40001 > core tcp syn
             {} pod:40001 < core tcp syn-ack
             {} pod:40001 > core tcp id {id} rd A api.example.com.
             {} pod:40001 < core tcp id {id} api.example.com. 5 A 192.0.2.1\n",
            at(0.0),
            at(0.5),
            at(1.1),
            at(2.1)
        )
    };
    let text = format!(
        "pod = 10.244.0.2\ncore = 10.244.1.10
         0.0 pod:40001 > core tcp syn
         1.0 pod:40001 > core tcp syn
         {}{}
         3800 pod:50000 > core id 7777 rd A end.example.
         3800.001 pod:50000 < core id 7777 end.example. 5 A 10.0.0.1",
        connection(3_600.0, "1111"),
        connection(3_700.0, "2222"),
    );
    let made = Scenario::parse(&text).frames();
    let mut opened = Vec::new();
    let mut keep = |lookup: &Lookup| {
        let connects = lookup.steps.iter().filter_map(|step| match &step.sent {
            Sent::Connect(connect) => Some(connect.first().ts),
            Sent::Question(_) => None,
        });
        opened.extend(connects.map(|at| lookup.start.ts.since(at)));
    };
    let sinks = Sinks { lookups: Some(&mut keep), transactions: None };
    run_frames(made.iter().map(MadeFrame::frame), &Options::default(), sinks);
    assert_eq!(opened, [Duration::from_micros(1_100); 2]);
}

/// A cache on the node keeps its connection to the cluster's DNS open for a while.
#[test]
fn a_connection_that_is_closed_long_after_its_answer_holds_nobody_up() {
    let said = lookups(
        "
        pod = 10.244.0.2
        core = 10.244.1.10
        0.0000 pod:40001 > core tcp syn
        0.0005 pod:40001 < core tcp syn-ack
        0.0010 pod:40001 > core tcp ack
        0.0011 pod:40001 > core tcp id 1111 rd A api.example.com.
        0.0021 pod:40001 < core tcp id 1111 api.example.com. 5 A 192.0.2.1
        9.0000 pod:40001 > core tcp fin
        60 pod:50000 > core id 7777 rd A end.example.
        60.001 pod:50000 < core id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    assert!(said.contains("api.example.com A ok 1.0 ms"), "{said}");
}

/// glibc says "try again" then (`EAI_AGAIN`), and not "no such name".
#[test]
fn a_search_past_a_candidate_that_a_server_could_not_tell_about_fails() {
    let search = |first: &str| {
        let said = lookups(&format!(
            "
            pod = 10.244.0.2
            dns = 10.96.0.10
            0.000 pod:40001 > dns id 1111 rd A api.shop.svc.cluster.local.
            0.001 pod:40001 < dns id 1111 {first}
            0.002 pod:40002 > dns id 2222 rd A api.svc.cluster.local.
            0.003 pod:40002 < dns id 2222 NXDOMAIN
            0.004 pod:40003 > dns id 3333 rd A api.
            0.005 pod:40003 < dns id 3333 NXDOMAIN
            60 pod:50000 > dns id 7777 rd A end.example.
            60.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1
            "
        ));
        said.lines().next().unwrap_or_default().to_owned()
    };
    let said = search("SERVFAIL");
    assert!(said.contains(" api A error 5.0 ms 3 attempts"), "{said}");
    let said = search("NXDOMAIN");
    assert!(said.contains(" api A negative 5.0 ms 3 attempts"), "{said}");
}

/// netty asks from one port, and each name server once: there is never a repeat that shows silence.
#[test]
fn silence_in_a_row_behind_answers_needs_no_repeat() {
    let said = lookups(
        "
        pod = 10.244.0.2
        dns = 10.96.0.10
        repeat 10 every 1 same-port
        0.000 pod:40001 > dns rd edns 4096 A warm{n}.example.com.
        0.001 pod:40001 < dns warm{n}.example.com. 5 A 192.0.2.1
        end
        repeat 20 every 1 from 20 same-port
        0.000 pod:40001 > dns rd edns 4096 A cold{n}.example.com.
        end
        60 pod:50000 > dns id 7777 rd A end.example.
        60.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    let of = |name: &str| said.lines().find(|line| line.contains(name)).unwrap_or_default();
    for name in ["cold0.", "cold19."] {
        assert!(of(name).contains(" timeout 5.00 s 1 attempts"), "{said}");
    }
}
