//! Situations that many rules are tested with, as scenario texts.

use std::fmt::Write;

/// A node with one client and a service with two backends, `10.244.1.10` and `10.244.2.10`. The
/// client asks every half second, one backend after the other; the first falls silent at `dead`
/// and is taken out of the service at `removed`. Unanswered queries are repeated after five
/// seconds from the same port.
pub fn failover(dead: f64, removed: Option<f64>, end: f64) -> String {
    let mut text = String::from(
        "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
         dns2 = 10.244.2.10\npod = 10.244.0.2\n",
    );
    let name = "redis.default.svc.cluster.local.";
    let (mut at, mut round) = (0.0, 0_u16);
    while at < end {
        let first = round % 2 == 0;
        let silent = first && at >= dead;
        let gone = removed.is_some_and(|removed| at >= removed);
        let via = if first && !(silent && gone) { "dns1" } else { "dns2" };
        let (port, id) = (40_000 + round, 0x1000 + round);
        let mut say = |at: f64, words: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{at:.3} pod:{port} {words}");
        };
        say(at, &format!("> kube-dns via {via} id {id:x} rd A {name}"));
        if silent && !gone {
            if at + 5.0 < end {
                say(at + 5.0, &format!("> kube-dns via {via} id {id:x} rd A {name}"));
            }
        } else {
            say(at + 0.001, &format!("< kube-dns via {via} id {id:x} {name} 5 A 10.96.0.20"));
        }
        at += 0.5;
        round += 1;
    }
    text
}
