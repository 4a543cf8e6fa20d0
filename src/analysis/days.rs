//! The day before every time that is told, where a capture holds more than one: a ring of a night and
//! an archive of months have every time of day more than once.

use super::health::Health;
use super::outcome::Analysis;
use crate::base::words::{Text, clock};
use crate::base::{Span, Timestamp};
use crate::detect::Finding;

/// Whether a capture holds more than one day.
fn several(span: Option<Span>) -> bool {
    span.is_some_and(Span::holds_midnight)
}

/// Puts the day before the times of what was found.
pub(super) fn date_findings(span: Option<Span>, findings: &mut [Finding]) {
    if !several(span) {
        return;
    }
    for finding in findings {
        let Finding { title, cause, facts, evidence, actions, ruled_out, .. } = finding;
        let facts = facts.iter_mut().flat_map(|fact| [&mut fact.label, &mut fact.value]);
        let evidence = evidence.iter_mut().map(|proof| &mut proof.summary);
        let actions = actions.iter_mut().map(|action| &mut action.why);
        let ruled_out = ruled_out.iter_mut().map(|out| &mut out.because);
        [title, cause].into_iter().chain(facts).chain(evidence).for_each(date);
        actions.chain(ruled_out).for_each(date);
    }
}

/// The same for what is said of the capture itself.
pub(super) fn date_health(span: Option<Span>, health: &mut [Health]) {
    if several(span) {
        for health in health {
            date(&mut health.detail);
        }
    }
}

fn date(text: &mut Text) {
    *text = std::mem::take(text).with_days();
}

impl Analysis {
    /// A time as this analysis tells it: with its day, where the capture holds more than one.
    pub fn clock(&self, ts: Timestamp) -> Text {
        if several(self.span) { clock(ts).with_days() } else { clock(ts) }
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::analyse;

    /// Two outages of one server, so many seconds apart.
    fn told(apart: u32) -> String {
        let text = format!(
            "pod = 10.244.0.2\ndns = 10.96.0.10\nrepeat 60 every 1
             0.0   pod > dns rd A a{{n}}.example.
             0.001 pod < dns a{{n}}.example. 5 A 192.0.2.1\nend
             repeat 12 every 1 from {apart}
             0.0   pod:41000 > dns id 7000 rd A m{{n}}.example.
             5.0   pod:41000 > dns id 7000 rd A m{{n}}.example.\nend
             repeat 60 every 1 from {apart}.5
             30.0   pod > dns rd A b{{n}}.example.
             30.001 pod < dns b{{n}}.example. 5 A 192.0.2.1\nend\n"
        );
        let analysis = analyse(&text);
        let incident = analysis.incidents.first().unwrap();
        let at = analysis.clock(incident.cause.span.start);
        let title = &incident.cause.title;
        assert!(title.to_string().contains(&at.to_string()), "{at}: {title}");
        at.to_string()
    }

    #[test]
    fn a_time_has_its_day_where_there_are_several() {
        assert!(told(100).starts_with("10:01:"));
        assert!(told(100_000).starts_with("2026-01-06 13:46:"));
    }
}
