//! Command line.

use std::path::PathBuf;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Sll2,
    Sll,
    En10mb,
}

pub struct Opts {
    pub out: PathBuf,
    pub prefix: String,
    pub files: u32,
    pub mb: f64,
    pub packets: u64,
    pub link: Link,
    pub seed: u64,
    pub clients: u32,
    pub servers: u32,
    pub names: usize,
    pub zipf: f64,
    pub rate: f64,
    pub copies: (u8, u8),
    pub timeout: f64,
    pub servfail: f64,
    pub refused: f64,
    pub tcp: f64,
    pub truncated: f64,
    pub edns: f64,
    pub ipv6: f64,
    pub mixed_case: f64,
    pub nano: bool,
    pub big_endian: bool,
    pub snaplen: u32,
    pub ring_start: u32,
    pub cut_last: u64,
    pub start: u64,
    pub truth: Option<PathBuf>,
}

/// The options.
pub const HELP: &str = "\
dnscapgen - write rotated DNS-only captures, the same bytes for the same options

usage: dnscapgen --out DIR [options]

  --out DIR            folder for the files (made if missing)
  --prefix NAME        file name before the rotation number       [dns.pcap]
  --files N            number of files                            [1]
  --mb M               size of one file in 10^6 bytes (tcpdump -C) [20]
  --packets N          stop after N packets, 0 = when files full  [0]
  --link L             sll2 | sll | en10mb                        [sll2]
  --seed N             seed                                       [1]
  --clients N          client pods                                [4000]
  --servers N          DNS servers behind the ClusterIP           [3]
  --names N            distinct names asked for                   [50000]
  --zipf S             exponent of the name popularity            [1.0]
  --rate R             name lookups begun per second              [400]
  --copies A-B         copies of each message, pre/post DNAT      [2-4; en10mb: 1-1]
  --timeout P          share of query attempts that stay unanswered [0.003]
  --servfail P         share answered SERVFAIL                    [0.004]
  --refused P          share answered REFUSED                     [0.0005]
  --tcp P              share of queries sent over TCP             [0.02]
  --truncated P        share of UDP answers with TC, retried on TCP [0.005]
  --edns P             share of clients that send an OPT record   [0.4]
  --ipv6 P             share of clients that use IPv6             [0.05]
  --mixed-case P       share of queries with 0x20 mixed case      [0.02]
  --nano               nanosecond pcap
  --big-endian         big-endian pcap
  --snaplen N          snap length                                [262144]
  --ring-start K       number of the first file, as -W leaves a wrapped ring [0]
  --cut-last N         drop the last N bytes of the newest file   [0]
  --start SECONDS      epoch second of the first packet           [1760000000]
  --truth FILE         write what was generated as JSON
";

pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Opts, String> {
    let mut o = Opts {
        out: PathBuf::new(),
        prefix: "dns.pcap".into(),
        files: 1,
        mb: 20.0,
        packets: 0,
        link: Link::Sll2,
        seed: 1,
        clients: 4000,
        servers: 3,
        names: 50_000,
        zipf: 1.0,
        rate: 400.0,
        copies: (0, 0),
        timeout: 0.003,
        servfail: 0.004,
        refused: 0.0005,
        tcp: 0.02,
        truncated: 0.005,
        edns: 0.4,
        ipv6: 0.05,
        mixed_case: 0.02,
        nano: false,
        big_endian: false,
        snaplen: 262_144,
        ring_start: 0,
        cut_last: 0,
        start: 1_760_000_000,
        truth: None,
    };
    let mut args = args.into_iter();
    while let Some(a) = args.next() {
        match a.as_str() {
            "--nano" => {
                o.nano = true;
                continue;
            }
            "--big-endian" => {
                o.big_endian = true;
                continue;
            }
            _ => {}
        }
        let v = args.next().ok_or_else(|| format!("{a} needs a value"))?;
        fn num<T: std::str::FromStr>(a: &str, v: &str) -> Result<T, String> {
            v.parse().map_err(|_| format!("{a}: not a usable value: {v}"))
        }
        match a.as_str() {
            "--out" => o.out = v.into(),
            "--prefix" => o.prefix = v,
            "--files" => o.files = num(&a, &v)?,
            "--mb" => o.mb = num(&a, &v)?,
            "--packets" => o.packets = num(&a, &v)?,
            "--link" => {
                o.link = match v.as_str() {
                    "sll2" => Link::Sll2,
                    "sll" => Link::Sll,
                    "en10mb" => Link::En10mb,
                    _ => return Err(format!("--link: {v}")),
                }
            }
            "--seed" => o.seed = num(&a, &v)?,
            "--clients" => o.clients = num(&a, &v)?,
            "--servers" => o.servers = num(&a, &v)?,
            "--names" => o.names = num(&a, &v)?,
            "--zipf" => o.zipf = num(&a, &v)?,
            "--rate" => o.rate = num(&a, &v)?,
            "--copies" => {
                let (x, y) = v.split_once('-').unwrap_or((&v, &v));
                o.copies = (num(&a, x)?, num(&a, y)?);
            }
            "--timeout" => o.timeout = num(&a, &v)?,
            "--servfail" => o.servfail = num(&a, &v)?,
            "--refused" => o.refused = num(&a, &v)?,
            "--tcp" => o.tcp = num(&a, &v)?,
            "--truncated" => o.truncated = num(&a, &v)?,
            "--edns" => o.edns = num(&a, &v)?,
            "--ipv6" => o.ipv6 = num(&a, &v)?,
            "--mixed-case" => o.mixed_case = num(&a, &v)?,
            "--snaplen" => o.snaplen = num(&a, &v)?,
            "--ring-start" => o.ring_start = num(&a, &v)?,
            "--cut-last" => o.cut_last = num(&a, &v)?,
            "--start" => o.start = num(&a, &v)?,
            "--truth" => o.truth = Some(v.into()),
            _ => return Err(format!("unknown option {a}")),
        }
    }
    if o.out.as_os_str().is_empty() {
        return Err("--out is required".into());
    }
    if o.copies == (0, 0) {
        o.copies = if o.link == Link::En10mb { (1, 1) } else { (2, 4) };
    }
    if o.copies.0 < 1 || o.copies.1 > 4 || o.copies.0 > o.copies.1 {
        return Err("--copies: between 1 and 4".into());
    }
    if o.files == 0 || o.clients == 0 || o.servers == 0 || o.names == 0 || o.rate <= 0.0 {
        return Err("counts and rate must be above zero".into());
    }
    Ok(o)
}
