//! What can be typed.

use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Says why DNS failed, from packet captures alone.
#[derive(Debug, Parser)]
#[command(
    name = "dnswhy",
    version,
    about,
    long_about = "dnswhy reads packet captures offline and says why DNS failed: a ranked incident \
                  report with the root cause, the culprit, the time window, who was hurt, the \
                  frames that prove it, and the next command to type.",
    after_help = "Record on the nodes of the failing pod and of the DNS pods:\n  \
                  tcpdump -i any -s 0 -C 20 -W 200 -w client_dns.pcap '(port 53) or icmp or icmp6 \
                  or (ip[6:2] & 0x1fff != 0)'\nThen:\n  dnswhy analyze client_dns.pcap*"
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
    /// When to colour the output
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto)]
    pub(super) color: Colour,
    /// Show no progress bar
    #[arg(long, global = true)]
    pub(super) no_progress: bool,
    /// Say nothing on standard error but errors
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Analyse captures and print a report
    Analyze(Analyze),
    /// Print one line for each lookup, as the application felt it
    Lookups(List),
    /// Print one line for each transaction, with its attempts, legs and frames
    Transactions(List),
    /// Tell the story of the lookup that a frame belongs to
    Explain(Explain),
    /// Say what a rule means, needs, and cannot tell
    Rules {
        /// A rule's id; without one, all rules are listed
        id: Option<String>,
    },
}

/// What to read.
#[derive(Debug, Args)]
pub(super) struct Input {
    /// Capture files, globs, directories, or - for standard input
    #[arg(required = true, value_name = "CAPTURE")]
    pub(super) captures: Vec<PathBuf>,
    /// Further DNS ports beside 53
    #[arg(long, value_name = "N", num_args = 1..)]
    pub(super) port: Vec<u16>,
    /// Which files make one capture point
    #[arg(long, value_name = "NAME=GLOB", value_parser = point)]
    pub(super) point: Vec<(String, String)>,
    /// Threads to work with; the result is the same for any number [default: one for each core]
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<NonZero<usize>>,
}

#[derive(Debug, Args)]
pub(super) struct Analyze {
    #[command(flatten)]
    pub(super) input: Input,
    /// Form of the report [default: text]
    #[arg(short, long, value_enum)]
    pub(super) format: Option<ReportFormat>,
    /// Write the report there; repeatable, all from one analysis
    ///
    /// The format is taken from the file's ending (.txt, .md, .html, .json), or named as in
    /// json=report.out; - is standard output. Files are written whole or not at all.
    #[arg(short, long, value_name = "[FORMAT=]FILE")]
    pub(super) output: Vec<String>,
    /// Exit with status 1 if an incident of that severity or worse is found
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub(super) fail_on: Option<Level>,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    pub(super) input: Input,
    /// Form of the lines
    #[arg(short, long, value_enum, default_value_t = ListFormat::Jsonl)]
    pub(super) format: ListFormat,
}

#[derive(Debug, Args)]
#[command(after_help = "FILE:FRAME is a frame as Wireshark counts it, as in `dnswhy explain \
                        client_dns.pcap07:1234`. Name the other captures of the ring or of other \
                        nodes beside it, and the story goes on across files and nodes:\n  \
                        dnswhy explain client_dns.pcap07:1234 client_dns.pcap*\n\
                        Without a frame, the lookup that fits --client, --name and --at is told: \
                        the nearest in time, or the worst.")]
pub(super) struct Explain {
    #[command(flatten)]
    pub(super) input: Input,
    /// The lookup of this client
    #[arg(long, value_name = "IP")]
    pub(super) client: Option<std::net::IpAddr>,
    /// The lookup of this name; * and ? stand for anything
    #[arg(long, value_name = "GLOB")]
    pub(super) name: Option<glob::Pattern>,
    /// The lookup nearest to this time: RFC 3339, or '2022-12-22 20:00:03' in UTC
    #[arg(long, value_name = "TIME", value_parser = super::explain::instant)]
    pub(super) at: Option<crate::base::Timestamp>,
    /// Form of the story
    #[arg(short, long, value_enum, default_value_t = StoryFormat::Text)]
    pub(super) format: StoryFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StoryFormat {
    /// For a terminal
    Text,
    /// For programs: schema dnswhy.explain/1
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// For a terminal
    Text,
    /// For a ticket
    #[value(alias = "md")]
    Markdown,
    /// For a browser: one file that needs no other
    Html,
    /// For programs: schema dnswhy.report/1
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ListFormat {
    /// One JSON object a line
    Jsonl,
    /// A header and one record a line; lists are separated by spaces
    Csv,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Colour {
    /// If standard output is a terminal that shows colours
    Auto,
    /// Even into a file
    Always,
    /// Not at all
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Level {
    Critical,
    High,
    Medium,
    Low,
}

fn point(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, glob)) if !name.is_empty() && !glob.is_empty() => {
            Ok((name.to_owned(), glob.to_owned()))
        }
        _ => Err("expected NAME=GLOB, such as client='node-a/*.pcap'".to_owned()),
    }
}
