//! The verdict on a whole capture, and its headline.

use std::fmt;

use super::traffic::Traffic;
use crate::base::MessageCounts;
use crate::base::words::{Text, ToText, count, percent, text};
use crate::incident::{Incident, Residual, Severity};

/// Lookups of a second or more that nobody calls healthy, though no rule explains them.
const SLOW: u64 = 5;
/// One lookup in so many: fewer wait for a far upstream now and then, or for one lost datagram.
const SLOW_OF: u64 = 10;

/// Connections without an answer that nobody calls healthy, if they are the rule.
const SILENT: u64 = 5;

/// How DNS did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Nothing above info.
    Healthy,
    /// Some lookups failed or waited.
    Degraded,
    /// A high or critical incident.
    Failing,
    /// The capture cannot tell.
    Inconclusive,
}

impl ToText for Status {
    fn to_text(&self) -> Text {
        match self {
            Self::Healthy => text!("healthy"),
            Self::Degraded => text!("degraded"),
            Self::Failing => text!("failing"),
            Self::Inconclusive => text!("inconclusive"),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text().fmt(f)
    }
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How DNS did.
    pub status: Status,
    /// One sentence.
    pub headline: Text,
}

impl Verdict {
    /// Judges a capture by its incidents.
    pub fn of(
        incidents: &[Incident],
        residual: &Residual,
        traffic: &Traffic,
        messages: &MessageCounts,
    ) -> Self {
        let loud: Vec<&Incident> =
            incidents.iter().filter(|incident| incident.severity > Severity::Info).collect();
        if let Some(top) = loud.first() {
            let status =
                if top.severity >= Severity::High { Status::Failing } else { Status::Degraded };
            return Self { status, headline: top.cause.title.clone() };
        }
        let judged = traffic.transactions - traffic.unknown;
        if messages.cut_questions * 2 > messages.total {
            let headline = text!(
                "{share} of the DNS messages are cut inside their question by the snap length; nothing \
                 wrong is seen in the others",
                share = percent(messages.cut_questions, messages.total)
            );
            return Self { status: Status::Inconclusive, headline };
        }
        if traffic.transactions == 0 {
            let headline = if traffic.responses > 0 {
                text!("only responses were captured: whether anybody waited cannot be told")
            } else {
                text!("there is no DNS query in this capture")
            };
            return Self { status: Status::Inconclusive, headline };
        }
        if judged == 0 {
            let transactions = count(traffic.transactions, "transaction");
            let headline = text!("this capture can judge none of its {transactions}", transactions);
            return Self { status: Status::Inconclusive, headline };
        }
        if judged * 2 < traffic.transactions {
            let headline = text!(
                "{share} of the transactions cannot be judged by this capture; nothing wrong is \
                 seen in the others",
                share = percent(traffic.unknown, traffic.transactions)
            );
            return Self { status: Status::Inconclusive, headline };
        }
        if traffic.answered * 2 < judged && residual.failed == 0 {
            let headline = text!(
                "{unanswered} of {transactions} were not answered in this capture, yet nobody asked \
                 again: it may show one direction alone",
                unanswered = judged - traffic.answered,
                transactions = count(traffic.transactions, "transaction")
            );
            return Self { status: Status::Inconclusive, headline };
        }
        if residual.failed > 0 {
            let headline = text!(
                "{lookups} of {all} failed, too few or too scattered for a cause",
                lookups = count(residual.failed, "lookup"),
                all = traffic.lookups
            );
            let share = residual.failed * 100 >= traffic.lookups;
            return Self {
                status: if share { Status::Degraded } else { Status::Healthy },
                headline,
            };
        }
        // Whoever asks over TCP alone shows no question where no connection opens.
        let silent = traffic.silent_connections;
        if silent >= SILENT && silent * 2 > traffic.connections {
            let headline = text!(
                "{silent} of {connections} to port 53 were not answered: whoever asks over TCP waits \
                 in vain",
                silent,
                connections = count(traffic.connections, "TCP connection")
            );
            return Self { status: Status::Degraded, headline };
        }
        // Users see that, whatever it is.
        if traffic.slow_lookups >= SLOW && traffic.slow_lookups * SLOW_OF >= traffic.lookups {
            let headline = text!(
                "{lookups} of {all} took a second or more, for no reason that this capture shows",
                lookups = count(traffic.slow_lookups, "lookup"),
                all = traffic.lookups
            );
            return Self { status: Status::Degraded, headline };
        }
        let (share, transactions) =
            (percent(traffic.answered, judged), count(judged, "transaction"));
        let slow = traffic.slow_lookups;
        let headline = if slow > 0 {
            text!(
                "no fault shows: {share} of {transactions} answered in time, no lookup failed, \
                 {lookups} of {all} took a second or more",
                share,
                transactions,
                lookups = count(slow, "lookup"),
                all = traffic.lookups
            )
        } else {
            text!(
                "nothing is wrong: {share} of {transactions} answered in time, no lookup failed",
                share,
                transactions
            )
        };
        Self { status: Status::Healthy, headline }
    }
}

#[cfg(test)]
mod tests {
    use super::Status;
    use crate::testkit::analyse;

    /// One client asks over UDP and is answered; another one asks over TCP alone.
    fn verdict(answer: &str) -> (Status, String) {
        let text = format!(
            "pod = 10.244.0.2\nvc = 10.244.0.3\ndns = 10.96.0.10\nrepeat 20 every 4\n\
             0.0   pod:20000 > dns rd A a.example.\n\
             0.001 pod:20000 < dns a.example. 5 A 192.0.2.1\n\
             0.1   vc:40000 > dns tcp syn\n{answer}\n\
             end\n"
        );
        let verdict = analyse(&text).verdict;
        (verdict.status, verdict.headline.to_string())
    }

    #[test]
    fn connections_that_do_not_open_are_not_healthy() {
        let (status, headline) = verdict("");
        assert_eq!(status, Status::Degraded, "{headline}");
        assert!(headline.contains("TCP connections to port 53 were not answered"), "{headline}");
        assert_eq!(verdict("0.101 vc:40000 < dns tcp syn-ack").0, Status::Healthy);
    }

    #[test]
    fn questions_that_nobody_answers_are_not_healthy() {
        let text = "pod = 10.244.0.2\ndns = 10.96.0.10\nrepeat 40 every 1\n\
                    0.0  pod > dns rd A n{n}.example.\nend\n";
        let verdict = analyse(text).verdict;
        assert_eq!(verdict.status, Status::Inconclusive);
        let says = "35 of 40 transactions were not answered in this capture, yet nobody asked again: \
                    it may show one direction alone";
        assert_eq!(verdict.headline, says);
    }

    /// One datagram in hundreds is lost: no fault, but whoever waited for it asks why.
    #[test]
    fn waits_are_told_even_where_no_fault_shows() {
        let headline = |again: &str| {
            let text = format!(
                "pod = 10.244.0.2\ndns = 10.96.0.10\nrepeat 200 every 1\n\
                 0.0   pod:20000 > dns rd A a.example.\n\
                 0.001 pod:20000 < dns a.example. 5 A 192.0.2.1\nend\n\
                 50.5   pod:40000 > dns id 77 rd A b.example.\n{again}\
                 55.502 pod:40000 < dns id 77 b.example. 5 A 192.0.2.2\n"
            );
            let verdict = analyse(&text).verdict;
            assert_eq!(verdict.status, Status::Healthy);
            verdict.headline.to_string()
        };
        let said = headline("55.501 pod:40000 > dns id 77 rd A b.example.\n");
        assert!(said.contains("no lookup failed, 1 lookup of 201 took a second or more"), "{said}");
    }
}
