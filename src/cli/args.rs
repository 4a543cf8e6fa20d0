//! What can be typed.

use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::base::Lang;

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
                  or (ip[6:2] & 0x1fff != 0)'\nThen:\n  \
                  dnswhy analyze client_dns.pcap*                     why it failed, on one screen\n  \
                  dnswhy analyze -o report.html -o ticket.md FOLDER   the same for a browser and a ticket\n  \
                  dnswhy analyze --at '2022-12-22 20:00:03' FOLDER    around the time of the complaint\n  \
                  dnswhy analyze --k8s cluster.json FOLDER            with the names of pods and nodes\n  \
                  dnswhy explain client_dns.pcap07:1234               the story of one lookup\n  \
                  dnswhy extract --incident 1 -w proof.pcapng FOLDER  the packets that prove it\n  \
                  dnswhy compare before.json after.json               whether it got better\n  \
                  dnswhy batch archive/ -o reports/                   months of captures, and an index"
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
    /// When to colour the output
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto)]
    pub(super) color: Colour,
    /// Language of what people read; JSON, CSV, the index of an archive and messages on standard error
    /// stay English
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "LANGUAGE",
        env = "DNSWHY_LANG",
        default_value_t = Language::En
    )]
    pub(super) lang: Language,
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
        /// Print the JSON Schema of the report instead
        #[arg(long, conflicts_with = "id")]
        schema: bool,
    },
    /// Write the packets that prove one incident, for Wireshark
    Extract(Extract),
    /// Compare two JSON reports: what is gone, new, the same
    Compare(Compare),
    /// Analyse every capture set of an archive, and write an index over all
    Batch(Batch),
    /// Put the JSON reports of several runs together into one index
    Merge(Merge),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the man page, or write those of all commands into a folder
    Man {
        /// The folder
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
}

/// A language of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// English
    En,
    /// Chinese
    Zh,
}

impl From<Language> for Lang {
    fn from(language: Language) -> Self {
        match language {
            Language::En => Self::En,
            Language::Zh => Self::Zh,
        }
    }
}

/// What to read.
#[derive(Debug, Args)]
pub(super) struct Input {
    /// Capture files, globs, directories, or - for standard input
    #[arg(required = true, value_name = "CAPTURE")]
    pub(super) captures: Vec<PathBuf>,
    /// Further DNS ports beside 53: one each time, or several with commas between them
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub(super) port: Vec<u16>,
    /// Which files make one capture point
    #[arg(long, value_name = "NAME=GLOB", value_parser = point)]
    pub(super) point: Vec<(String, String)>,
    /// Threads to work with; the result is the same for any number [default: one for each core]
    #[arg(long, value_name = "N", value_parser = some)]
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
    #[command(flatten)]
    pub(super) focus: FocusArgs,
    /// Who the addresses are: kubectl get pods,svc,endpointslices,nodes -A -o json > FILE
    ///
    /// Clients are named, and grouped by the node that they run on instead of by prefix.
    #[arg(long, value_name = "FILE")]
    pub(super) k8s: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) privacy: Privacy,
    /// Exit with status 1 if an incident of that severity or worse is found
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub(super) fail_on: Option<Level>,
}

#[derive(Debug, Default, Args)]
pub(super) struct Privacy {
    /// Make addresses and names strange, the same way for the same key
    ///
    /// Prefixes stay common, private stays private, cluster suffixes stay. A key file that does not
    /// exist is made; without one, the key is thrown away.
    #[arg(long, value_name = "KEYFILE", num_args = 0..=1, require_equals = true)]
    #[expect(clippy::option_option, reason = "not asked for, without a file, with one")]
    pub(super) anonymize: Option<Option<PathBuf>>,
}

/// What to look at. Everything is read and paired first, so nothing is torn at the edges.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Focus")]
pub(super) struct FocusArgs {
    /// Only from that time on: RFC 3339, '2022-12-22 20:00:03', or 20:00:03 of the capture's day
    #[arg(long, value_name = "TIME")]
    pub(super) from: Option<String>,
    /// Only until that time
    #[arg(long, value_name = "TIME")]
    pub(super) to: Option<String>,
    /// What happened around that time: the business log says it failed at …
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "to"])]
    pub(super) at: Option<String>,
    /// How far around --at to look, before and after [default: 60s]
    #[arg(long, value_name = "LENGTH", requires = "at", value_parser = super::focus::length)]
    pub(super) window: Option<std::time::Duration>,
    /// The zone of times that do not say theirs, such as Asia/Shanghai [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub(super) timezone: Option<String>,
    /// Only what this client, or the clients of this prefix, asked
    #[arg(long, value_name = "IP|CIDR", value_parser = super::focus::network)]
    pub(super) client: Vec<ipnet::IpNet>,
    /// Only what this server was asked, before or after translation
    #[arg(long, value_name = "IP|CIDR", value_parser = super::focus::network)]
    pub(super) server: Vec<ipnet::IpNet>,
    /// Only this name, with or without a search suffix; * and ? stand for anything
    #[arg(long, value_name = "GLOB")]
    pub(super) name: Vec<glob::Pattern>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  dnswhy extract --incident 1 -w proof.pcapng client_dns.pcap*\n\
                        Give the same captures, focus and --k8s as to `dnswhy analyze`, whose \
                        report numbers the incidents."
)]
pub(super) struct Extract {
    #[command(flatten)]
    pub(super) input: Input,
    #[command(flatten)]
    pub(super) focus: FocusArgs,
    /// The cluster that the report was made with: it groups clients by their nodes
    #[arg(long, value_name = "FILE")]
    pub(super) k8s: Vec<PathBuf>,
    /// The rank of the incident in the report
    #[arg(long, value_name = "N")]
    pub(super) incident: usize,
    /// The pcapng file to write; - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(super) write: PathBuf,
    /// Tell all times by one clock, where the clocks of several capture points differ
    #[arg(long)]
    pub(super) correct_clocks: bool,
    #[command(flatten)]
    pub(super) privacy: Privacy,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dnswhy analyze -o before.json monday/*.pcap\n  \
                        dnswhy analyze -o after.json tuesday/*.pcap\n  \
                        dnswhy compare before.json after.json")]
pub(super) struct Compare {
    /// The earlier report
    #[arg(value_name = "BEFORE.json")]
    pub(super) before: PathBuf,
    /// The later report
    #[arg(value_name = "AFTER.json")]
    pub(super) after: PathBuf,
    /// Form of the comparison
    #[arg(short, long, value_enum, default_value_t = CompareFormat::Text)]
    pub(super) format: CompareFormat,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A set is the ring of one capture point: the files of one directory whose names \
                  differ only by what rotation adds. Its reports have its path, below REPORTS. Run \
                  it again, and only what is new or has changed is analysed.\nExample:\n  \
                  dnswhy batch archive/ -o reports/ && open reports/index.html"
)]
pub(super) struct Batch {
    /// Folders, files or globs
    #[arg(required = true, value_name = "ARCHIVE")]
    pub(super) archives: Vec<PathBuf>,
    /// The folder that reports and index go to
    #[arg(short, long, value_name = "REPORTS")]
    pub(super) output: PathBuf,
    /// Forms of the reports of sets; the index has all of its own
    #[arg(short, long, value_enum, value_delimiter = ',', default_value = "json,html")]
    pub(super) format: Vec<ReportFormat>,
    /// Cores to work with: on so many sets at once, and within a set where fewer are left
    /// [default: all]
    #[arg(short, long, value_name = "N", value_parser = some)]
    pub(super) jobs: Option<NonZero<usize>>,
    /// A longer pause between two files starts a new set
    #[arg(long, value_name = "LENGTH", default_value = "10m", value_parser = super::focus::length)]
    pub(super) split_gap: std::time::Duration,
    /// Never join incidents of sets whose first N folders differ: addresses mean something else
    /// there, as in another cluster
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) apart: usize,
    /// Further DNS ports beside 53: one each time, or several with commas between them
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub(super) port: Vec<u16>,
    /// Who the addresses are: kubectl get pods,svc,endpointslices,nodes -A -o json > FILE
    #[arg(long, value_name = "FILE")]
    pub(super) k8s: Vec<PathBuf>,
    /// Exit with status 1 if an incident of that severity or worse is in any set
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub(super) fail_on: Option<Level>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dnswhy merge east/index.json west/index.json -o all/\n\
                        In any order and in any grouping the result is the same. A report that is \
                        named twice counts once.")]
pub(super) struct Merge {
    /// JSON reports, and indexes that batch or merge wrote
    #[arg(required = true, value_name = "REPORT.json")]
    pub(super) reports: Vec<PathBuf>,
    /// The folder that the index goes to
    #[arg(short, long, value_name = "FOLDER")]
    pub(super) output: PathBuf,
    /// Never join incidents of sets whose first N folders differ [default: as they were made]
    #[arg(long, value_name = "N")]
    pub(super) apart: Option<usize>,
    /// Exit with status 1 if an incident of that severity or worse is in any set
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub(super) fail_on: Option<Level>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CompareFormat {
    /// For a terminal
    Text,
    /// For a ticket
    #[value(alias = "md")]
    Markdown,
    /// For programs: schema dnswhy.comparison/1
    Json,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Columns of lookups: client, name, types, start, duration_seconds, outcome, \
                        attempts, servers, resolver, suffixes_tried, approximate, file, frame.\n\
                        Columns of transactions: client, server, backend, masquerade, transport, \
                        id, name, type, start, outcome, rcode, latency_ms, attempts, responses, \
                        frames.\ndocs/lists.md says what each holds."
)]
pub(super) struct List {
    #[command(flatten)]
    pub(super) input: Input,
    #[command(flatten)]
    pub(super) focus: FocusArgs,
    #[command(flatten)]
    pub(super) privacy: Privacy,
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
    /// The cluster that the report was made with: it groups clients by their nodes
    #[arg(long, value_name = "FILE")]
    pub(super) k8s: Vec<PathBuf>,
    /// The lookup of this client
    #[arg(long, value_name = "IP")]
    pub(super) client: Option<std::net::IpAddr>,
    /// The lookup of this name; * and ? stand for anything
    #[arg(long, value_name = "GLOB")]
    pub(super) name: Option<glob::Pattern>,
    /// The lookup nearest to this time: RFC 3339, or '2022-12-22 20:00:03' in UTC
    #[arg(long, value_name = "TIME", value_parser = super::explain::instant)]
    pub(super) at: Option<crate::base::Timestamp>,
    #[command(flatten)]
    pub(super) privacy: Privacy,
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
    /// A table for databases and data frames; needs a build with the feature parquet
    Parquet,
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

/// How many at once: somebody has to do it.
fn some(text: &str) -> Result<NonZero<usize>, String> {
    text.parse().map_err(|_| "expected a number of 1 or more".to_owned())
}

fn point(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, glob)) if !name.is_empty() && !glob.is_empty() => {
            Ok((name.to_owned(), glob.to_owned()))
        }
        _ => Err("expected NAME=GLOB, such as client='node-a/*.pcap'".to_owned()),
    }
}
