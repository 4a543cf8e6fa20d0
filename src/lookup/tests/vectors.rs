//! The measured timelines of rulebook section 10, each with the duration that its vector states.

use crate::testkit::lookups;

/// V1; V25 is the same: Java's `InetAddress` stands on libc.
#[test]
fn v1_glibc_and_one_silent_server() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            5.00200 pod:40001 > s1 id 1111 rd A api.example.com.
            5.00202 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA timeout 10.0 s 4 attempts glibc "Temporary failure in name resolution"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V2.
#[test]
fn v2_glibc_and_two_silent_servers() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            s2 = 10.96.0.11
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            5.00400 pod:40002 > s2 id 1111 rd A api.example.com.
            5.00402 pod:40002 > s2 id 9f3c rd AAAA api.example.com.
            10.01000 pod:40001 > s1 id 1111 rd A api.example.com.
            10.01002 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            15.01500 pod:40002 > s2 id 1111 rd A api.example.com.
            15.01502 pod:40002 > s2 id 9f3c rd AAAA api.example.com.
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA timeout 20.0 s 8 attempts glibc "Temporary failure in name resolution"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V3: the k-th of n servers is waited for `(timeout << k) / n`.
#[test]
fn v3_glibc_and_three_silent_servers() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            s2 = 10.96.0.11
            s3 = 10.96.0.12
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            5.00500 pod:40002 > s2 id 1111 rd A api.example.com.
            5.00502 pod:40002 > s2 id 9f3c rd AAAA api.example.com.
            8.00900 pod:40003 > s3 id 1111 rd A api.example.com.
            8.00902 pod:40003 > s3 id 9f3c rd AAAA api.example.com.
            14.01500 pod:40001 > s1 id 1111 rd A api.example.com.
            14.01502 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            19.02000 pod:40002 > s2 id 1111 rd A api.example.com.
            19.02002 pod:40002 > s2 id 9f3c rd AAAA api.example.com.
            22.02300 pod:40003 > s3 id 1111 rd A api.example.com.
            22.02302 pod:40003 > s3 id 9f3c rd AAAA api.example.com.
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA timeout 28.0 s 12 attempts glibc "Temporary failure in name resolution"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V4.
#[test]
fn v4_glibc_and_no_aaaa_ever() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            0.001 pod:40001 < s1 id 1111 api.example.com. 5 A 192.0.2.7
            5.004 pod:40001 > s1 id 1111 rd A api.example.com.
            5.0041 pod:40001 < s1 id 1111 api.example.com. 5 A 192.0.2.7
            5.0042 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            10.008 pod:40002 > s1 id 1111 rd A api.example.com.
            10.0085 pod:40002 < s1 id 1111 api.example.com. 5 A 192.0.2.7
            10.009 pod:40003 > s1 id 9f3c rd AAAA api.example.com.
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA ok 15.0 s 6 attempts glibc
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    ");
}

/// V5: the thread asks one family after the other from then on.
#[test]
fn v5_glibc_and_one_lost_aaaa() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            0.001 pod:40001 < s1 id 1111 api.example.com. 5 A 192.0.2.7
            5.0025 pod:40001 > s1 id 1111 rd A api.example.com.
            5.0030 pod:40001 < s1 id 1111 api.example.com. 5 A 192.0.2.7
            5.0045 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            5.0050 pod:40001 < s1 id 9f3c NOERROR auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            7 pod:40009 > s1 id 2222 rd A api.example.com.
            7.0005 pod:40009 < s1 id 2222 api.example.com. 5 A 192.0.2.7
            7.001 pod:40009 > s1 id 8e2b rd AAAA api.example.com.
            7.0015 pod:40009 < s1 id 8e2b NOERROR auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA ok 5.00 s 4 attempts glibc
    10:00:07.000 10.244.0.2 api.example.com A+AAAA ok 1.5 ms 2 attempts glibc
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    ");
}

/// V6: after a timeout it skips to the name as it is.
#[test]
fn v6_glibc_with_three_suffixes_and_silence() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.shop.svc.cluster.local.
            0.00002 pod:40001 > s1 id 9f3c rd AAAA api.example.com.shop.svc.cluster.local.
            5.00300 pod:40001 > s1 id 1111 rd A api.example.com.shop.svc.cluster.local.
            5.00302 pod:40001 > s1 id 9f3c rd AAAA api.example.com.shop.svc.cluster.local.
            10.00700 pod:40002 > s1 id 2222 rd A api.example.com.
            10.00702 pod:40002 > s1 id 8e2b rd AAAA api.example.com.
            15.01100 pod:40002 > s1 id 2222 rd A api.example.com.
            15.01102 pod:40002 > s1 id 8e2b rd AAAA api.example.com.
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA timeout 20.0 s 8 attempts glibc "Temporary failure in name resolution"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V7: sixteen queries in 1.1 ms.
#[test]
fn v7_glibc_with_three_suffixes_and_servfail() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.shop.svc.cluster.local.
            0.00002 pod:40001 > s1 id 9f3c rd AAAA api.example.com.shop.svc.cluster.local.
            0.00010 pod:40001 < s1 id 1111 SERVFAIL
            0.00012 pod:40001 < s1 id 9f3c SERVFAIL
            0.00014 pod:40001 > s1 id 1111 rd A api.example.com.shop.svc.cluster.local.
            0.00016 pod:40001 > s1 id 9f3c rd AAAA api.example.com.shop.svc.cluster.local.
            0.00024 pod:40001 < s1 id 1111 SERVFAIL
            0.00026 pod:40001 < s1 id 9f3c SERVFAIL
            0.00028 pod:40002 > s1 id 2222 rd A api.example.com.svc.cluster.local.
            0.00030 pod:40002 > s1 id 8e2b rd AAAA api.example.com.svc.cluster.local.
            0.00038 pod:40002 < s1 id 2222 SERVFAIL
            0.00040 pod:40002 < s1 id 8e2b SERVFAIL
            0.00042 pod:40002 > s1 id 2222 rd A api.example.com.svc.cluster.local.
            0.00044 pod:40002 > s1 id 8e2b rd AAAA api.example.com.svc.cluster.local.
            0.00052 pod:40002 < s1 id 2222 SERVFAIL
            0.00054 pod:40002 < s1 id 8e2b SERVFAIL
            0.00056 pod:40003 > s1 id 3333 rd A api.example.com.cluster.local.
            0.00058 pod:40003 > s1 id 7d1a rd AAAA api.example.com.cluster.local.
            0.00066 pod:40003 < s1 id 3333 SERVFAIL
            0.00068 pod:40003 < s1 id 7d1a SERVFAIL
            0.00070 pod:40003 > s1 id 3333 rd A api.example.com.cluster.local.
            0.00072 pod:40003 > s1 id 7d1a rd AAAA api.example.com.cluster.local.
            0.00080 pod:40003 < s1 id 3333 SERVFAIL
            0.00082 pod:40003 < s1 id 7d1a SERVFAIL
            0.00084 pod:40004 > s1 id 4444 rd A api.example.com.
            0.00086 pod:40004 > s1 id 6c09 rd AAAA api.example.com.
            0.00094 pod:40004 < s1 id 4444 SERVFAIL
            0.00096 pod:40004 < s1 id 6c09 SERVFAIL
            0.00098 pod:40004 > s1 id 4444 rd A api.example.com.
            0.00100 pod:40004 > s1 id 6c09 rd AAAA api.example.com.
            0.00108 pod:40004 < s1 id 4444 SERVFAIL
            0.00110 pod:40004 < s1 id 6c09 SERVFAIL
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA error 1.1 ms 16 attempts glibc "Temporary failure in name resolution"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V8: a second try from a new port, and no further suffix.
#[test]
fn v8_glibc_and_port_unreachable() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.shop.svc.cluster.local.
            0.00002 pod:40001 > s1 id 9f3c rd AAAA api.example.com.shop.svc.cluster.local.
            0.00025 pod:40001 < s1 icmp port-unreachable
            0.00030 pod:40002 > s1 id 1111 rd A api.example.com.shop.svc.cluster.local.
            0.00032 pod:40002 > s1 id 9f3c rd AAAA api.example.com.shop.svc.cluster.local.
            0.0030 pod:40002 < s1 icmp port-unreachable
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com.shop.svc.cluster.local A+AAAA error 3.0 ms 4 attempts glibc "Temporary failure in name resolution"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V9.
#[test]
fn v9_glibc_a_truncated_answer_and_no_tcp() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            0.0015 pod:40001 < s1 id 1111 tc NOERROR
            0.00155 pod:40001 < s1 id 9f3c tc NOERROR
            0.0016 pod:40001 < s1 icmp port-unreachable
            0.0018 pod:40002 > s1 tcp syn
            0.0030 pod:40002 < s1 tcp rst
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA error 3.0 ms 2 attempts glibc "Temporary failure in name resolution"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// The AAAA answer was whole, and glibc asks for both over TCP all the same.
#[test]
fn what_goes_over_one_connection_for_a_truncated_answer_is_one_lookup() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            0.0015 pod:40001 < s1 id 1111 tc NOERROR
            0.00155 pod:40001 < s1 id 9f3c NOERROR
            0.0018 pod:40002 > s1 tcp syn
            0.0020 pod:40002 < s1 tcp syn-ack
            0.0021 pod:40002 > s1 tcp ack
            0.0022 pod:40002 > s1 tcp id 1111 rd A api.example.com.
            0.0023 pod:40002 > s1 tcp id 9f3c rd AAAA api.example.com.
            0.0030 pod:40002 < s1 tcp id 1111 api.example.com. 5 A 10.0.0.1
            0.0031 pod:40002 < s1 tcp id 9f3c NOERROR
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA ok 3.1 ms 4 attempts glibc
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    ");
}

/// V10.
#[test]
fn v10_glibc_timeout_1_and_a_good_second_server() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            s2 = 10.96.0.11
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            1.00100 pod:40002 > s2 id 1111 rd A api.example.com.
            1.00102 pod:40002 > s2 id 9f3c rd AAAA api.example.com.
            1.0015 pod:40002 < s2 id 1111 api.example.com. 5 A 192.0.2.7
            1.0016 pod:40002 < s2 id 9f3c NOERROR auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA ok 1.00 s 4 attempts glibc
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    ");
}

/// V11 with SERVFAIL: the second server is asked within 0.3 ms, on a new port.
#[test]
fn v11_glibc_and_a_first_server_that_says_servfail() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            s2 = 10.96.0.11
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            0.0005 pod:40001 < s1 id 1111 SERVFAIL
            0.00070 pod:40002 > s2 id 1111 rd A api.example.com.
            0.00072 pod:40002 > s2 id 9f3c rd AAAA api.example.com.
            0.0012 pod:40002 < s2 id 1111 api.example.com. 5 A 192.0.2.7
            0.0013 pod:40002 < s2 id 9f3c NOERROR auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA ok 1.3 ms 4 attempts glibc
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    ");
}

/// V11 with REFUSED: the second server is asked within 0.3 ms, on a new port.
#[test]
fn v11_glibc_and_a_first_server_that_says_refused() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            s2 = 10.96.0.11
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            0.0005 pod:40001 < s1 id 1111 REFUSED
            0.00070 pod:40002 > s2 id 1111 rd A api.example.com.
            0.00072 pod:40002 > s2 id 9f3c rd AAAA api.example.com.
            0.0012 pod:40002 < s2 id 1111 api.example.com. 5 A 192.0.2.7
            0.0013 pod:40002 < s2 id 9f3c NOERROR auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA ok 1.3 ms 4 attempts glibc
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    ");
}

/// V12: final at once.
#[test]
fn v12_glibc_and_formerr() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            0.00050 pod:40001 < s1 id 1111 FORMERR
            0.00052 pod:40001 < s1 id 9f3c FORMERR
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA error 0.5 ms 2 attempts glibc "Name or service not known"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V13.
#[test]
fn v13_musl_and_silence() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 11c0 rd AAAA api.example.com.
            2.50300 pod:40001 > s1 id 1111 rd A api.example.com.
            2.50302 pod:40001 > s1 id 11c0 rd AAAA api.example.com.
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA timeout 5.01 s 4 attempts musl "Try again"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V14: only what is missing is asked again, and the whole lookup fails.
#[test]
fn v14_musl_and_a_lost_aaaa() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 11c0 rd AAAA api.example.com.
            0.001 pod:40001 < s1 id 1111 api.example.com. 5 A 192.0.2.7
            2.501 pod:40001 > s1 id 11c0 rd AAAA api.example.com.
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA timeout 5.00 s 3 attempts musl "Try again"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V15: three sends for each type, twice.
#[test]
fn v15_musl_and_servfail() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 11c0 rd AAAA api.example.com.
            0.00015 pod:40001 < s1 id 1111 SERVFAIL
            0.00017 pod:40001 < s1 id 11c0 SERVFAIL
            0.00020 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00022 pod:40001 > s1 id 11c0 rd AAAA api.example.com.
            0.00035 pod:40001 < s1 id 1111 SERVFAIL
            0.00037 pod:40001 < s1 id 11c0 SERVFAIL
            0.00040 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00042 pod:40001 > s1 id 11c0 rd AAAA api.example.com.
            0.00055 pod:40001 < s1 id 1111 SERVFAIL
            0.00057 pod:40001 < s1 id 11c0 SERVFAIL
            2.50300 pod:40001 > s1 id 1111 rd A api.example.com.
            2.50302 pod:40001 > s1 id 11c0 rd AAAA api.example.com.
            2.50315 pod:40001 < s1 id 1111 SERVFAIL
            2.50317 pod:40001 < s1 id 11c0 SERVFAIL
            2.50320 pod:40001 > s1 id 1111 rd A api.example.com.
            2.50322 pod:40001 > s1 id 11c0 rd AAAA api.example.com.
            2.50335 pod:40001 < s1 id 1111 SERVFAIL
            2.50337 pod:40001 < s1 id 11c0 SERVFAIL
            2.50340 pod:40001 > s1 id 1111 rd A api.example.com.
            2.50342 pod:40001 > s1 id 11c0 rd AAAA api.example.com.
            2.50355 pod:40001 < s1 id 1111 SERVFAIL
            2.50357 pod:40001 < s1 id 11c0 SERVFAIL
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA error 5.01 s 12 attempts musl "Try again"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V16.
#[test]
fn v16_musl_and_refused() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 11c0 rd AAAA api.example.com.
            0.00050 pod:40001 < s1 id 1111 REFUSED
            0.00052 pod:40001 < s1 id 11c0 REFUSED
            2.50100 pod:40001 > s1 id 1111 rd A api.example.com.
            2.50102 pod:40001 > s1 id 11c0 rd AAAA api.example.com.
            2.50150 pod:40001 < s1 id 1111 REFUSED
            2.50152 pod:40001 < s1 id 11c0 REFUSED
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA error 5.00 s 4 attempts musl "Try again"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V16: musl does not hear ICMP.
#[test]
fn v16_musl_and_port_unreachable() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 11c0 rd AAAA api.example.com.
            0.0005 pod:40001 < s1 icmp port-unreachable
            2.50100 pod:40001 > s1 id 1111 rd A api.example.com.
            2.50102 pod:40001 > s1 id 11c0 rd AAAA api.example.com.
            2.5015 pod:40001 < s1 icmp port-unreachable
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA timeout 5.00 s 4 attempts musl "Try again"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V17: the search stops.
#[test]
fn v17_musl_and_nodata_under_the_first_suffix() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.shop.svc.cluster.local.
            0.00002 pod:40001 > s1 id 11c0 rd AAAA api.example.com.shop.svc.cluster.local.
            0.0002 pod:40001 < s1 id 1111 NOERROR auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            0.0003 pod:40001 < s1 id 11c0 NOERROR auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com.shop.svc.cluster.local A+AAAA negative 0.3 ms 2 attempts musl "Name does not resolve"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V18: the data of the other come too late.
#[test]
fn v18_musl_nxdomain_from_the_faster_of_two_servers() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            s2 = 10.96.0.11
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 11c0 rd AAAA api.example.com.
            0.00005 pod:40001 > s2 id 1111 rd A api.example.com.
            0.00007 pod:40001 > s2 id 11c0 rd AAAA api.example.com.
            0.0005 pod:40001 < s1 id 1111 NXDOMAIN auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            0.0006 pod:40001 < s1 id 11c0 NXDOMAIN auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            0.0012 pod:40001 < s2 id 1111 api.example.com. 5 A 192.0.2.7
            0.0013 pod:40001 < s2 id 11c0 NOERROR auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA negative 0.6 ms 4 attempts musl "Name does not resolve"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V19.
#[test]
fn v19_musl_and_an_answer_after_six_seconds() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 11c0 rd AAAA api.example.com.
            2.50300 pod:40001 > s1 id 1111 rd A api.example.com.
            2.50302 pod:40001 > s1 id 11c0 rd AAAA api.example.com.
            6.0 pod:40001 < s1 id 1111 api.example.com. 5 A 192.0.2.7
            6.0001 pod:40001 < s1 id 11c0 NOERROR auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA timeout 5.01 s 4 attempts musl "Try again"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V20: new ports and new ids.
#[test]
fn v20_go_and_silence() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd edns 1232 A api.example.com.
            0.00030 pod:40002 > s1 id 9f3c rd edns 1232 AAAA api.example.com.
            5.00100 pod:40003 > s1 id 2222 rd edns 1232 A api.example.com.
            5.00130 pod:40004 > s1 id 8e2b rd edns 1232 AAAA api.example.com.
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA timeout 10.0 s 4 attempts go "i/o timeout"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V20.
#[test]
fn v20_go_and_two_silent_servers() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            s2 = 10.96.0.11
            0.00000 pod:40001 > s1 id 1111 rd edns 1232 A api.example.com.
            0.00030 pod:40002 > s1 id 9f3c rd edns 1232 AAAA api.example.com.
            5.00100 pod:40003 > s2 id 2222 rd edns 1232 A api.example.com.
            5.00130 pod:40004 > s2 id 8e2b rd edns 1232 AAAA api.example.com.
            10.00200 pod:40005 > s1 id 3333 rd edns 1232 A api.example.com.
            10.00230 pod:40006 > s1 id 7d1a rd edns 1232 AAAA api.example.com.
            15.00400 pod:40007 > s2 id 4444 rd edns 1232 A api.example.com.
            15.00430 pod:40008 > s2 id 6c09 rd edns 1232 AAAA api.example.com.
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA timeout 20.0 s 8 attempts go "i/o timeout"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V20: it walks all names.
#[test]
fn v20_go_with_three_suffixes_and_silence() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd edns 1232 A api.example.com.shop.svc.cluster.local.
            0.00030 pod:40002 > s1 id 2c3d rd edns 1232 AAAA api.example.com.shop.svc.cluster.local.
            5.00600 pod:40003 > s1 id 2345 rd edns 1232 A api.example.com.shop.svc.cluster.local.
            5.00630 pod:40004 > s1 id 3f94 rd edns 1232 AAAA api.example.com.shop.svc.cluster.local.
            10.01200 pod:40005 > s1 id 3579 rd edns 1232 A api.example.com.svc.cluster.local.
            10.01230 pod:40006 > s1 id 52eb rd edns 1232 AAAA api.example.com.svc.cluster.local.
            15.01800 pod:40007 > s1 id 47ad rd edns 1232 A api.example.com.svc.cluster.local.
            15.01830 pod:40008 > s1 id 6642 rd edns 1232 AAAA api.example.com.svc.cluster.local.
            20.02400 pod:40009 > s1 id 59e1 rd edns 1232 A api.example.com.cluster.local.
            20.02430 pod:40010 > s1 id 7999 rd edns 1232 AAAA api.example.com.cluster.local.
            25.03000 pod:40011 > s1 id 6c15 rd edns 1232 A api.example.com.cluster.local.
            25.03030 pod:40012 > s1 id 8cf0 rd edns 1232 AAAA api.example.com.cluster.local.
            30.03600 pod:40013 > s1 id 7e49 rd edns 1232 A api.example.com.
            30.03630 pod:40014 > s1 id a047 rd edns 1232 AAAA api.example.com.
            35.04200 pod:40015 > s1 id 907d rd edns 1232 A api.example.com.
            35.04230 pod:40016 > s1 id b39e rd edns 1232 AAAA api.example.com.
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA timeout 40.0 s 16 attempts go "i/o timeout"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V20: it goes on to the name as it is.
#[test]
fn v20_go_and_nodata_under_every_suffix() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd edns 1232 A api.example.com.shop.svc.cluster.local.
            0.00030 pod:40002 > s1 id 2c3d rd edns 1232 AAAA api.example.com.shop.svc.cluster.local.
            0.00050 pod:40001 < s1 id 1111 NOERROR auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            0.00080 pod:40002 < s1 id 2c3d NOERROR auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            0.00100 pod:40003 > s1 id 2345 rd edns 1232 A api.example.com.svc.cluster.local.
            0.00130 pod:40004 > s1 id 3f94 rd edns 1232 AAAA api.example.com.svc.cluster.local.
            0.00150 pod:40003 < s1 id 2345 NOERROR auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            0.00180 pod:40004 < s1 id 3f94 NOERROR auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            0.00200 pod:40005 > s1 id 3579 rd edns 1232 A api.example.com.cluster.local.
            0.00230 pod:40006 > s1 id 52eb rd edns 1232 AAAA api.example.com.cluster.local.
            0.00250 pod:40005 < s1 id 3579 NOERROR auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            0.00280 pod:40006 < s1 id 52eb NOERROR auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            0.00300 pod:40007 > s1 id 7aaa rd edns 1232 A api.example.com.
            0.00330 pod:40008 > s1 id 7bbb rd edns 1232 AAAA api.example.com.
            0.00350 pod:40007 < s1 id 7aaa api.example.com. 5 A 192.0.2.7
            0.00380 pod:40008 < s1 id 7bbb NOERROR auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA ok 3.8 ms 8 attempts go
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    ");
}

/// V21.
#[test]
fn v21_nslookup_of_bind_9_18_and_silence() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0 pod:40001 > s1 id 1111 rd A api.example.com.
            5.006 pod:40002 > s1 id 1111 rd A api.example.com.
            10.012 pod:40003 > s1 id 1111 rd A api.example.com.
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A timeout 15.0 s 3 attempts bind-tools "no servers could be reached"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V21: thirty seconds for one name.
#[test]
fn v21_nslookup_of_bind_9_18_and_a_silent_first_server() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            s2 = 10.96.0.11
            0 pod:40001 > s1 id 1111 rd A api.example.com.
            5.004 pod:40002 > s1 id 1111 rd A api.example.com.
            10.008 pod:40003 > s1 id 1111 rd A api.example.com.
            15.009 pod:40004 > s2 id 1111 rd A api.example.com.
            15.0095 pod:40004 < s2 id 1111 api.example.com. 5 A 192.0.2.7
            15.010 pod:40005 > s1 id 9f3c rd AAAA api.example.com.
            20.014 pod:40006 > s1 id 9f3c rd AAAA api.example.com.
            25.018 pod:40007 > s1 id 9f3c rd AAAA api.example.com.
            30.0785 pod:40008 > s2 id 9f3c rd AAAA api.example.com.
            30.079 pod:40008 < s2 id 9f3c NOERROR auth example.com. 30 SOA ns.example.com. host.example.com. 1 2 3 4 30
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA ok 30.1 s 8 attempts bind-tools
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    ");
}

/// V21: dig, with OPT, AD and a cookie.
#[test]
fn v21_dig_and_silence() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0 pod:40001 > s1 id 1111 rd ad edns 1232 cookie A api.example.com.
            5.006 pod:40002 > s1 id 1111 rd ad edns 1232 cookie A api.example.com.
            10.012 pod:40003 > s1 id 1111 rd ad edns 1232 cookie A api.example.com.
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A timeout 15.0 s 3 attempts bind-tools "no servers could be reached"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V22: `resolve4` and `resolve6` of Node; the last wait, which nothing shows, is taken for twice the one before.
#[test]
fn v22_c_ares_and_silence() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0 pod:40001 > s1 id 1111 rd A api.example.com.
            2.93 pod:40002 > s1 id 1111 rd A api.example.com.
            6.93 pod:40003 > s1 id 1111 rd A api.example.com.
            13.94 pod:40004 > s1 id 1111 rd A api.example.com.
            0.00005 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            2.93 pod:40012 > s1 id 9f3c rd AAAA api.example.com.
            5.93 pod:40013 > s1 id 9f3c rd AAAA api.example.com.
            13.94 pod:40014 > s1 id 9f3c rd AAAA api.example.com.
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA timeout 30.0 s 8 attempts c-ares "ETIMEOUT"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V23.
#[test]
fn v23_jndi_and_silence() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0 pod:40001 > s1 id 1111 rd A api.example.com.
            1.003 pod:40002 > s1 id 1111 rd A api.example.com.
            3.006 pod:40003 > s1 id 1111 rd A api.example.com.
            7.010 pod:40004 > s1 id 1111 rd A api.example.com.
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @"
    10:00:00.000 10.244.0.2 api.example.com A timeout 15.0 s 4 attempts jndi
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    ");
}

/// V24.
#[test]
fn v24_busybox_nslookup_and_silence() {
    let said = lookups(
        "
            pod = 10.244.0.2
            s1 = 10.96.0.10
            0.00000 pod:40001 > s1 id 1111 rd A api.example.com.
            0.00002 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            2.50300 pod:40001 > s1 id 1111 rd A api.example.com.
            2.50302 pod:40001 > s1 id 9f3c rd AAAA api.example.com.
            60 pod:50000 > s1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @r#"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA timeout 5.01 s 4 attempts busybox "no servers could be reached"
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    "#);
}

/// V26, from S2: the A from another socket, then AAAA three times.
#[test]
fn v26_nslookup_of_bind_9_16_after_an_answered_a() {
    let said = lookups(
        "
            pod = 10.244.0.2
            service s1 = 10.96.0.10
            dns1 = 10.244.1.10
            capture node sll2
            0 pod:41804 > s1 via dns1 id c0de rd A api.example.com.
            0.0005 pod:41804 < s1 id c0de api.example.com. 5 A 192.0.2.7
            0.001 pod:41805 > s1 via dns1 id cb11 rd AAAA api.example.com. until bridge
            5.001346 pod:41805 > s1 via dns1 id cb11 rd AAAA api.example.com. until bridge
            10.002263 pod:41805 > s1 via dns1 id cb11 rd AAAA api.example.com. until bridge
            60 pod:50000 > s1 via dns1 id 7777 rd A end.example.
            60.001 pod:50000 < s1 id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    insta::assert_snapshot!(said, @"
    10:00:00.000 10.244.0.2 api.example.com A+AAAA ok 15.0 s 4 attempts bind-tools
    10:01:00.000 10.244.0.2 end.example A ok 1.0 ms 1 attempts unknown
    ");
}
