//! Questions that are asked once: by resolvers with `attempts:1` (resolv.conf(5)), or by clients that do not
//! stay to hear the answer.

use crate::testkit::lookups;

/// A pod that is answered ten times, and what comes then, of which the first lookups are returned that are not
/// answered at once.
fn after_ten(text: &str) -> String {
    let said = lookups(&format!(
        "
        pod = 10.244.0.2
        dns = 10.96.0.10
        repeat 10 every 0.5
        0.000 pod > dns rd A n{{n}}.example.
        0.001 pod < dns n{{n}}.example. 5 A 10.0.0.1
        end
        {text}
        90 pod:50000 > dns id 7777 rd A end.example.
        90.001 pod:50000 < dns id 7777 end.example. 5 A 10.0.0.1
        "
    ));
    let unusual = said.lines().filter(|line| !line.contains("ok 1.0 ms"));
    unusual.map(|line| format!("{line}\n")).collect()
}

/// `timeout:2 attempts:1`: each candidate of the search is waited for once.
#[test]
fn silence_that_many_met_in_a_row_needs_no_retry() {
    let said = after_ten(
        "repeat 8 every 5 from 10
         0.000 pod:2000{n} > dns id 100{n} rd A m{n}.shop.svc.cluster.local.
         2.001 pod:3000{n} > dns id 200{n} rd A m{n}.
         end",
    );
    let given_up = said.lines().filter(|line| line.contains("timeout 4.00 s 2 attempts")).count();
    // The first ones are judged before there are many, and before its `timeout:` is known.
    assert!(given_up >= 6, "{said}");
}

/// Each candidate is asked for as soon as the one before was answered: the capture shows one direction.
#[test]
fn a_search_that_goes_on_at_once_was_answered() {
    let said = after_ten(
        "repeat 8 every 5 from 10
         0.000 pod > dns rd A m{n}.shop.svc.cluster.local.
         0.001 pod > dns rd A m{n}.svc.cluster.local.
         0.002 pod > dns rd A m{n}.cluster.local.
         0.003 pod > dns rd A m{n}.
         end",
    );
    assert!(!said.contains("timeout") && said.lines().count() == 8, "{said}");
}

/// Some loss that nobody repeats proves nothing: the capture may have missed the answers.
#[test]
fn silence_now_and_then_proves_nothing() {
    let said = after_ten(
        "repeat 8 every 5 from 10
         0.000 pod > dns rd A m{n}.example.
         1.000 pod > dns rd A o{n}.example.
         1.001 pod < dns o{n}.example. 5 A 10.0.0.1
         end",
    );
    assert!(!said.contains("timeout") && said.lines().count() == 8, "{said}");
}

/// A and AAAA from two sockets: with the address in hand, the other one is closed.
#[test]
fn nobody_waits_for_what_comes_to_a_closed_socket() {
    let said = after_ten(
        "10.000 pod:41000 > dns id 11 rd A m.example.
         10.0001 pod:41001 > dns id 12 rd AAAA m.example.
         10.002 pod:41000 < dns id 11 m.example. 5 A 10.0.0.1
         10.080 pod:41001 < dns id 12 m.example. 5 AAAA fd00::1
         10.0801 pod:41001 > dns icmp port-unreachable",
    );
    assert!(said.lines().count() == 1 && said.contains("ok 2.0 ms 2 attempts"), "{said}");
}

/// The process is gone: what it would have heard nobody knows.
#[test]
fn a_client_that_was_killed_was_not_kept_waiting() {
    let killed = |after: &str| {
        after_ten(&format!(
            "10.000 pod:41000 > dns id 11 rd A m.example.
             {after}00 pod:41000 < dns id 11 m.example. 5 A 10.0.0.1
             {after}01 pod:41000 > dns icmp port-unreachable"
        ))
    };
    assert!(killed("10.3").contains("unknown"), "{}", killed("10.3"));
    // After its timer it had given up.
    assert!(killed("16.3").contains("timeout"), "{}", killed("16.3"));
}
