//! What dnswhy says of a scenario, in lines that a snapshot test can hold.

use std::fmt::Write;
use std::time::Duration;

use super::Scenario;
use crate::analysis::{Analysis, Options, Sinks, run_frames};
use crate::base::words::{clock, duration};
use crate::lookup::Lookup;

/// Analyses a scenario as one capture point.
pub fn analyse(text: &str) -> Analysis {
    analyse_frames(&Scenario::parse(text).frames())
}

/// Analyses a scenario whose capture ended after so many seconds.
pub fn analyse_until(text: &str, seconds: f64) -> Analysis {
    let mut made = Scenario::parse(text).frames();
    if let Some(start) = made.first().map(|first| first.ts) {
        let end = start.after(Duration::from_secs_f64(seconds));
        made.retain(|frame| frame.ts <= end);
    }
    analyse_frames(&made)
}

fn analyse_frames(made: &[super::MadeFrame]) -> Analysis {
    let frames = || made.iter().map(super::MadeFrame::frame);
    let analysis = run_frames(frames(), &Options::default(), Sinks::default());
    #[cfg(test)]
    {
        let unasked = crate::analysis::run_frames_unasked(frames(), &Options::default());
        let same = format!("{:?}", analysis.incidents) == format!("{:?}", unasked.incidents);
        assert!(same, "a rule looks at more than its interest says");
    }
    analysis
}

/// The incidents of a scenario, one a line: severity, rule, culprits, confidence, window,
/// lookups failed of lookups harmed; symptoms below, indented. `quiet` if there is none.
pub fn findings(text: &str) -> String {
    incidents(&analyse(text))
}

/// The same of a capture that ended after so many seconds.
pub fn findings_until(text: &str, seconds: f64) -> String {
    incidents(&analyse_until(text, seconds))
}

fn incidents(analysis: &Analysis) -> String {
    let mut lines = String::new();
    for incident in &analysis.incidents {
        let cause = &incident.cause;
        let culprits: Vec<String> =
            cause.culprits.iter().map(|culprit| format!("{} {culprit}", culprit.kind())).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            lines,
            "{} {} [{}] {} {}-{} {}/{}",
            incident.severity,
            cause.rule.id,
            culprits.join(", "),
            cause.confidence,
            clock(cause.span.start),
            clock(cause.span.end),
            incident.affected.failed,
            incident.affected.lookups,
        );
        for symptom in &incident.symptoms {
            let _ = writeln!(lines, "  explains {}", symptom.rule);
        }
    }
    if lines.is_empty() { "quiet\n".to_owned() } else { lines }
}

/// What the capture of a scenario cannot show, one a line: rule (`!` behind those to be careful
/// about) and what it says.
pub fn health(text: &str) -> String {
    let mut lines = String::new();
    for health in analyse(text).health {
        let mark = if health.serious { "!" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{}{mark}: {}", health.rule, health.detail);
    }
    lines
}

/// The lookups of a scenario, one a line: start, client, name, types, outcome, duration,
/// attempts, resolver, and what the application will have printed.
pub fn lookups(text: &str) -> String {
    let made = Scenario::parse(text).frames();
    let mut lines = String::new();
    let mut keep = |lookup: &Lookup| {
        let types: Vec<String> = lookup.types.iter().map(ToString::to_string).collect();
        let printed = lookup.printed().map(|text| format!(" {text:?}")).unwrap_or_default();
        let _ = writeln!(
            lines,
            "{} {} {} {} {} {} {} attempts {}{printed}",
            clock(lookup.start.ts),
            lookup.client,
            lookup.name,
            types.join("+"),
            lookup.outcome.word(),
            lookup.duration().map_or_else(|| "-".to_owned(), |took| duration(took).to_string()),
            lookup.attempts(),
            lookup.resolver,
        );
    };
    let sinks = Sinks { lookups: Some(&mut keep), transactions: None };
    run_frames(made.iter().map(super::MadeFrame::frame), &Options::default(), sinks);
    lines
}
