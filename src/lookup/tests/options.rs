//! Resolvers whose `timeout:` and `attempts:` are others than usual (resolv.conf(5)).

use crate::testkit::lookups;

/// `timeout:1 attempts:3`: musl sends three times within its second, and that is all.
#[test]
fn musl_divides_its_timeout_by_its_attempts() {
    let said = lookups(
        "
        pod = 10.244.0.2
        dns = 10.96.0.10
        0.0000 pod:40001 > dns id 1000 rd A api.example.com.
        0.0001 pod:40001 > dns id 10b0 rd AAAA api.example.com.
        0.3340 pod:40001 > dns id 1000 rd A api.example.com.
        0.3341 pod:40001 > dns id 10b0 rd AAAA api.example.com.
        0.6680 pod:40001 > dns id 1000 rd A api.example.com.
        0.6681 pod:40001 > dns id 10b0 rd AAAA api.example.com.
        60 pod:50000 > dns id 7777 rd A end.example.
        60.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    let first = said.lines().next().unwrap_or_default();
    assert!(first.contains("timeout 1.00 s 6 attempts musl"), "{said}");
}

/// Both families are asked for with these ids at each of these times, and told SERVFAIL 12 ms after.
fn told_servfail(ids: [&str; 2], times: impl IntoIterator<Item = f64>) -> String {
    let mut text = String::from("pod = 10.244.0.2\ndns = 10.96.0.10\n");
    for at in times {
        let back = at + 0.0119;
        for (id, rtype) in ids.into_iter().zip(["A", "AAAA"]) {
            text += &format!(
                "{at:.4} pod:40001 > dns id {id} rd {rtype} api.example.com.\n\
                 {back:.4} pod:40001 < dns id {id} SERVFAIL\n"
            );
        }
    }
    text += "60 pod:50000 > dns id 7777 rd A end.example.\n";
    text += "60.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1\n";
    lookups(&text)
}

/// The three tries that SERVFAIL causes at once, from then on.
fn at_once(start: f64) -> [f64; 3] {
    [start, start + 0.012, start + 0.024]
}

/// The same while SERVFAIL comes: what that makes it send at once is no part of its timer.
#[test]
fn musl_goes_by_its_timer_whatever_errors_come() {
    let said = told_servfail(["1000", "10b0"], [0.0, 0.333, 0.666].into_iter().flat_map(at_once));
    let first = said.lines().next().unwrap_or_default();
    assert!(first.contains("error 999 ms 18 attempts musl"), "{said}");
}

/// `attempts:3`: glibc asks three times at once where SERVFAIL comes, and is done then.
#[test]
fn glibc_asks_at_once_as_often_as_it_may() {
    let said = told_servfail(["1561", "496d"], at_once(0.0));
    let first = said.lines().next().unwrap_or_default();
    assert!(first.contains("error 36 ms 6 attempts glibc"), "{said}");
}

/// SERVFAIL that comes slowly makes musl ask again at once: that is no timer.
#[test]
fn what_follows_an_error_is_no_part_of_a_timer() {
    let said = lookups(
        "
        pod = 10.244.0.2
        dns = 10.96.0.10
        0.0000 pod:40001 > dns id 1000 rd A api.example.com.
        0.0001 pod:40001 > dns id 10b0 rd AAAA api.example.com.
        0.1000 pod:40001 < dns id 1000 SERVFAIL
        0.1300 pod:40001 > dns id 1000 rd A api.example.com.
        60 pod:50000 > dns id 7777 rd A end.example.
        60.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    assert!(said.lines().next().is_some_and(|line| line.contains(" 5.00 s 3 attempts")), "{said}");
}

/// Go with `timeout:1` that looks one name up each eight seconds: a new port and id each second. Once that
/// has shown for a while, and no try ever came after the usual five seconds, they are one lookup.
#[test]
fn go_is_known_by_its_seconds_after_a_while() {
    let mut text = String::from("pod = 10.244.0.2\ndns = 10.96.0.10\n");
    for round in 0..4_u16 {
        for again in 0..2_u16 {
            let at = f64::from(round) * 8.0 + f64::from(again) * 1.001;
            let number = 0x1000 + round * 16 + again;
            let line = format!(
                "{at:.4} pod:{number} > dns id {number:x} rd edns 1232 A api.example.com.\n"
            );
            text.push_str(&line);
        }
    }
    text.push_str("90 pod:50000 > dns id 7777 rd A end.example.\n");
    text.push_str("90.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1\n");
    let said = lookups(&text);
    let lookups: Vec<&str> = said.lines().filter(|line| line.contains(" api.")).collect();
    // Of the second one nobody knows yet what it is: the first may have been a poll.
    let tries = lookups.iter().map(|line| if line.contains(" 2 attempts go") { 2 } else { 1 });
    assert_eq!(tries.collect::<Vec<_>>(), [2, 1, 1, 2, 2], "{said}");
}

/// A lookup of Go with `timeout:2` that nobody answers.
#[test]
fn go_is_known_by_its_seconds_at_once_where_a_name_is_asked_for_alone() {
    let said = lookups(
        "
        pod = 10.244.0.2
        dns = 10.96.0.10
        0.0000 pod:40001 > dns id 1000 rd edns 1232 A api.example.com.
        0.0002 pod:40002 > dns id 2000 rd edns 1232 AAAA api.example.com.
        2.0010 pod:40003 > dns id 3000 rd edns 1232 A api.example.com.
        2.0012 pod:40004 > dns id 4000 rd edns 1232 AAAA api.example.com.
        60 pod:50000 > dns id 7777 rd A end.example.
        60.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1
        ",
    );
    let lines: Vec<&str> = said.lines().filter(|line| line.contains(" api.")).collect();
    let [one] = lines.as_slice() else { panic!("{said}") };
    assert!(one.contains("timeout 4.00 s 4 attempts go"), "{said}");
}

/// Who looked a name up each two seconds as long as it was answered goes on with that.
#[test]
fn who_polls_does_not_ask_again() {
    let mut text = String::from("pod = 10.244.0.2\ndns = 10.96.0.10\n");
    for round in 0..8_u16 {
        let (at, number) = (f64::from(round) * 2.0005, 0x4000 + round * 16);
        text.push_str(&format!(
            "{at:.4} pod:{number} > dns id {number:x} rd edns 1232 A api.example.com.\n"
        ));
        if round < 4 {
            let answered = at + 0.001;
            text.push_str(&format!(
                "{answered:.4} pod:{number} < dns id {number:x} api.example.com. 5 A 10.0.0.1\n"
            ));
        }
    }
    text.push_str("60 pod:50000 > dns id 7777 rd A end.example.\n");
    text.push_str("60.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1\n");
    let said = lookups(&text);
    assert_eq!(said.lines().filter(|line| line.contains(" api.")).count(), 8, "{said}");
}
