//! What is learned of a client's configuration.

use crate::testkit::analyse;

/// What is known of the client 10.244.1.7 after this scenario.
fn profile(scenario: &str) -> String {
    let known = analyse(scenario).profiles.of("10.244.1.7".parse().unwrap()).unwrap();
    let names: Vec<String> = known.search.iter().map(ToString::to_string).collect();
    format!(
        "search {names:?} ({}) ndots {:?}..{:?} servers {:?} timeout {:?}",
        known.search_lookups,
        known.ndots_at_least,
        known.ndots_at_most,
        known.nameservers,
        known.timeout,
    )
}

const HOSTS: &str = "
    pod = 10.244.1.7
    dns = 10.96.0.10
    two = 10.96.0.11
";

#[test]
fn a_search_list_is_put_together_from_what_each_lookup_shows() {
    let scenario = format!(
        "{HOSTS}
        0.000  pod:40000 > dns  rd  A redis.data.shop.svc.cluster.local.
        0.001  pod:40000 < dns  NXDOMAIN
        0.002  pod:40001 > dns  rd  A redis.data.svc.cluster.local.
        0.003  pod:40001 < dns  redis.data.svc.cluster.local. 5 A 10.96.0.20
        1.000  pod:40002 > dns  rd  A api.example.com.shop.svc.cluster.local.
        1.001  pod:40002 < dns  NXDOMAIN
        1.002  pod:40003 > dns  rd  A api.example.com.svc.cluster.local.
        1.003  pod:40003 < dns  NXDOMAIN
        1.004  pod:40004 > dns  rd  A api.example.com.cluster.local.
        1.005  pod:40004 < dns  NXDOMAIN
        1.006  pod:40005 > dns  rd  A api.example.com.
        1.007  pod:40005 < dns  api.example.com. 5 A 192.0.2.1
        "
    );
    insta::assert_snapshot!(profile(&scenario), @r#"search ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"] (2) ndots Some(3)..None servers [10.96.0.10] timeout None"#);
}

#[test]
fn a_name_with_enough_dots_is_asked_as_it_is_first() {
    let scenario = format!(
        "{HOSTS}
        0.000  pod:40000 > dns  rd  A a.b.c.d.example.com.
        0.001  pod:40000 < dns  NXDOMAIN
        0.002  pod:40001 > dns  rd  A a.b.c.d.example.com.shop.svc.cluster.local.
        0.003  pod:40001 < dns  NXDOMAIN
        "
    );
    insta::assert_snapshot!(profile(&scenario), @r#"search ["shop.svc.cluster.local"] (1) ndots None..Some(5) servers [10.96.0.10] timeout None"#);
}

#[test]
fn one_odd_lookup_does_not_change_the_list() {
    let scenario = format!(
        "{HOSTS}
        repeat 3 every 1
        0.000  pod:40000 > dns  rd  A api{{n}}.example.com.shop.svc.cluster.local.
        0.001  pod:40000 < dns  NXDOMAIN
        0.002  pod:40001 > dns  rd  A api{{n}}.example.com.
        0.003  pod:40001 < dns  api{{n}}.example.com. 5 A 192.0.2.1
        end
        5.000  pod:41000 > dns  rd  A odd.example.com.test.svc.cluster.local.
        5.001  pod:41000 < dns  NXDOMAIN
        5.002  pod:41001 > dns  rd  A odd.example.com.
        5.003  pod:41001 < dns  odd.example.com. 5 A 192.0.2.1
        "
    );
    insta::assert_snapshot!(profile(&scenario), @r#"search ["shop.svc.cluster.local"] (2) ndots Some(3)..None servers [10.96.0.10] timeout None"#);
}

#[test]
fn servers_and_the_timer_show_when_one_is_silent() {
    let scenario = format!(
        "{HOSTS}
        0.000  pod:40000 > dns  id 0007  rd  A api.example.com.
        2.000  pod:40001 > two  id 0007  rd  A api.example.com.
        4.000  pod:40000 > dns  id 0007  rd  A api.example.com.
        4.001  pod:40000 < dns  api.example.com. 5 A 192.0.2.1
        "
    );
    insta::assert_snapshot!(profile(&scenario), @r#"search [] (0) ndots None..None servers [10.96.0.10, 10.96.0.11] timeout Some(4s)"#);
}
