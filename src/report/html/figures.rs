//! The tables of the page: who reached whom, servers, clients.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::analysis::{Analysis, Pair};
use crate::base::Lang;
use crate::base::words::{ToText, count, percent, text};
use crate::report::lines::{clients, looks_like, lost_of, servers, time};
use crate::report::names::Names;

/// Rows and columns of the matrix, and rows of the other tables.
const CLIENTS: usize = 24;
const SERVERS: usize = 8;
const ROWS: usize = 30;

/// Who reached whom.
pub(super) struct Matrix {
    pub(super) servers: Vec<Head>,
    pub(super) rows: Vec<Row>,
    pub(super) left_out: String,
}

/// An address with its name.
pub(super) struct Head {
    pub(super) address: String,
    pub(super) name: String,
}

/// One client.
pub(super) struct Row {
    pub(super) client: Head,
    pub(super) cells: Vec<Cell>,
}

/// What came of one client's questions to one server.
pub(super) struct Cell {
    /// The class of its colour.
    pub(super) class: &'static str,
    pub(super) text: String,
    pub(super) title: String,
}

/// An address with its name.
pub(super) fn head(address: IpAddr, names: &Names, lang: Lang) -> Head {
    Head { address: address.to_string(), name: names.cell(address).render(lang) }
}

/// The matrix of those with the most losses, then of the busiest.
pub(super) fn matrix(analysis: &Analysis, names: &Names, lang: Lang) -> Matrix {
    let pairs = &analysis.series.pairs;
    let clients = ranked(pairs, |(client, _)| client);
    let servers = ranked(pairs, |(_, server)| server);
    let shown_servers: Vec<IpAddr> = servers.iter().take(SERVERS).copied().collect();
    let rows = clients.iter().take(CLIENTS).map(|client| Row {
        client: head(*client, names, lang),
        cells: shown_servers
            .iter()
            .map(|server| cell(pairs.get(&(*client, *server)).copied(), lang))
            .collect(),
    });
    let (more_clients, more_servers) =
        (clients.len().saturating_sub(CLIENTS), servers.len().saturating_sub(SERVERS));
    let left_out = match (more_clients, more_servers) {
        (0, 0) => String::new(),
        (clients, servers) => text!(
            "not shown: {clients} and {servers}, the quieter ones",
            clients = count(clients as u64, "more client"),
            servers = count(servers as u64, "more server")
        )
        .render(lang),
    };
    Matrix {
        rows: rows.collect(),
        servers: shown_servers.iter().map(|server| head(*server, names, lang)).collect(),
        left_out,
    }
}

fn ranked(
    pairs: &BTreeMap<(IpAddr, IpAddr), Pair>,
    side: fn((IpAddr, IpAddr)) -> IpAddr,
) -> Vec<IpAddr> {
    let mut sums: BTreeMap<IpAddr, (u64, u64)> = BTreeMap::new();
    for (key, pair) in pairs {
        let sum = sums.entry(side(*key)).or_default();
        sum.0 += pair.unanswered;
        sum.1 += pair.answered;
    }
    let mut ranked: Vec<_> = sums.into_iter().collect();
    ranked.sort_by_key(|(address, sums)| (std::cmp::Reverse(*sums), *address));
    ranked.into_iter().map(|(address, _)| address).collect()
}

fn cell(pair: Option<Pair>, lang: Lang) -> Cell {
    let Some(Pair { answered, unanswered }) = pair else {
        let title = text!("nothing was asked").render(lang);
        return Cell { class: "none", text: String::new(), title };
    };
    let all = answered + unanswered;
    let class = match (unanswered, unanswered * 100 / all.max(1)) {
        (0, _) => "fine",
        (_, 0..5) => "touched",
        (_, 5..50) => "lossy",
        _ => "dead",
    };
    let text = if unanswered == 0 {
        all.to_string()
    } else {
        text!("{share} of {all} lost", share = percent(unanswered, all), all).render(lang)
    };
    let questions = count(all, "question");
    let title = text!("{questions}, {unanswered} unanswered or late", questions, unanswered);
    Cell { class, text, title: title.render(lang) }
}

/// One row of the table of servers.
pub(super) struct ServerRow {
    pub(super) head: Head,
    pub(super) cells: Vec<String>,
    pub(super) bad: bool,
}

/// The servers, the busiest first.
pub(super) fn server_rows(analysis: &Analysis, names: &Names, lang: Lang) -> Vec<ServerRow> {
    let rows = servers(analysis).into_iter().take(ROWS).map(|(address, server)| {
        let tally = &server.tally;
        let quantile = |per_mille| time(tally.latency.quantile(per_mille)).render(lang);
        let errors = tally.rcodes.iter().filter(|(rcode, _)| {
            !matches!(**rcode, crate::dns::Rcode::NOERROR | crate::dns::Rcode::NXDOMAIN)
        });
        let errors: Vec<String> = errors.map(|(rcode, n)| format!("{rcode} {n}")).collect();
        ServerRow {
            head: head(address, names, lang),
            bad: tally.unanswered * 20 > lost_of(tally),
            cells: vec![
                server.role.to_text().render(lang),
                tally.questions.to_string(),
                tally.answered.to_string(),
                tally.late.to_string(),
                tally.unanswered.to_string(),
                percent(tally.unanswered, lost_of(tally)).render(lang),
                quantile(500),
                quantile(950),
                time(tally.latency.max()).render(lang),
                errors.join(", "),
            ],
        }
    });
    rows.collect()
}

/// The clients, the most hurt first.
pub(super) fn client_rows(analysis: &Analysis, names: &Names, lang: Lang) -> Vec<ServerRow> {
    let rows = clients(analysis).into_iter().take(ROWS).map(|(address, client)| ServerRow {
        head: head(address, names, lang),
        bad: (client.failed_lookups + client.slow_lookups) * 20 > client.lookups,
        cells: vec![
            client.lookups.to_string(),
            client.failed_lookups.to_string(),
            client.slow_lookups.to_string(),
            looks_like(client).render(lang),
        ],
    });
    rows.collect()
}
