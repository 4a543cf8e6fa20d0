//! The packet ladder: who sent what to whom, and how long nothing came.

use std::net::IpAddr;
use std::time::Duration;

use super::svg::Svg;
use crate::analysis::Analysis;
use crate::base::Lang;
use crate::base::words::{duration, text};
use crate::report::lines::frame;
use crate::report::names::Names;
use crate::report::table::cut;
use crate::report::{Ladder, Rung, RungKind};

/// Addresses with a line of their own.
const LANES: usize = 5;
/// Packets drawn.
const RUNGS: usize = 22;
const WIDTH: f64 = 960.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 790.0;
const TOP: f64 = 46.0;
const STEP: f64 = 30.0;
/// A pause as long as this is drawn as one: it is what people wait for.
const PAUSE: Duration = Duration::from_millis(400);

/// The drawing; `None` for a ladder without packets.
pub(super) fn rungs(
    ladder: &Ladder,
    analysis: &Analysis,
    names: &Names,
    lang: Lang,
) -> Option<String> {
    let lanes = lanes(ladder);
    let shown = |rung: &&Rung| lanes.contains(&rung.from) && lanes.contains(&rung.to);
    let rungs: Vec<_> = ladder.rungs.iter().filter(shown).take(RUNGS).collect();
    rungs.first()?;
    let pauses = rungs.windows(2).filter(|pair| is_pause(pair)).count();
    let height = TOP + (rungs.len() + pauses) as f64 * STEP + 14.0;
    let mut svg = Svg::new(WIDTH, height);
    let x = |address: IpAddr| {
        let lane = lanes.iter().position(|lane| *lane == address).unwrap_or(0);
        let apart = (RIGHT - LEFT) / (lanes.len().max(2) - 1) as f64;
        LEFT + lane as f64 * apart
    };
    for lane in &lanes {
        svg.line("lane", (x(*lane), TOP - 12.0), (x(*lane), height - 8.0));
        svg.text("lane-name", (x(*lane), 16.0), &lane.to_string());
        if let Some(named) = names.get(*lane) {
            svg.text("tick middle", (x(*lane), 29.0), &cut(&named.short(), 28));
        }
    }
    let mut y = TOP;
    let mut before: Option<&Rung> = None;
    for rung in rungs {
        if let Some(before) = before
            && is_pause(&[before, rung])
        {
            let wait = duration(rung.seen.ts.since(before.seen.ts));
            svg.line("pause", (LEFT, y + 6.0), (RIGHT, y + 6.0));
            svg.text(
                "pause-label",
                (f64::midpoint(LEFT, RIGHT), y + 10.0),
                &text!("{wait} later", wait).render(lang),
            );
            y += STEP;
        }
        let (from, to) = (x(rung.from), x(rung.to));
        let class = match rung.kind {
            RungKind::Query => "query",
            RungKind::Answer => "answer",
            RungKind::Lost | RungKind::Bad => "lost",
        };
        arrow(&mut svg, class, (from, to, y + 10.0), rung.kind == RungKind::Lost);
        svg.text("tick", (4.0, y + 14.0), &analysis.clock(rung.seen.ts).to_string());
        let middle = f64::midpoint(from, to);
        svg.text("rung-label", (middle, y + 4.0), &cut(&rung.what.render(lang), 52));
        svg.text("tick end", (WIDTH - 4.0, y + 14.0), &cut(&frame(analysis, rung.seen.at), 24));
        y += STEP;
        before = Some(rung);
    }
    let label = text!("the packets that prove it, one below the other");
    Some(svg.finish(&label.render(lang)))
}

/// Who takes part: those who ask on the left, those who are asked on the right.
fn lanes(ladder: &Ladder) -> Vec<IpAddr> {
    let mut lanes: Vec<IpAddr> = Vec::new();
    for rung in &ladder.rungs {
        for address in [rung.from, rung.to] {
            if !lanes.contains(&address) && lanes.len() < LANES {
                lanes.push(address);
            }
        }
    }
    let queries =
        || ladder.rungs.iter().filter(|r| matches!(r.kind, RungKind::Query | RungKind::Lost));
    let asks = |address: &IpAddr| queries().any(|rung| rung.from == *address);
    let asked = |address: &IpAddr| queries().any(|rung| rung.to == *address);
    // A forwarder is asked and asks: it stands in the middle.
    lanes.sort_by_key(|lane| (asked(lane), !asks(lane)));
    lanes
}

fn is_pause(pair: &[&Rung]) -> bool {
    matches!(pair, [a, b] if b.seen.ts.since(a.seen.ts) >= PAUSE)
}

/// An arrow from one lane to another; what got lost ends in a cross before it arrives.
fn arrow(svg: &mut Svg, class: &str, place: (f64, f64, f64), lost: bool) {
    let (from, to, y) = place;
    let ahead = if to >= from { 1.0 } else { -1.0 };
    if lost {
        let end = from + (to - from) * 0.8;
        svg.line(class, (from, y), (end, y));
        svg.line(class, (end - 5.0, y - 5.0), (end + 5.0, y + 5.0));
        svg.line(class, (end - 5.0, y + 5.0), (end + 5.0, y - 5.0));
        return;
    }
    svg.line(class, (from, y), (to - ahead * 6.0, y));
    svg.polygon(class, &[(to, y), (to - ahead * 9.0, y - 4.5), (to - ahead * 9.0, y + 4.5)]);
}
