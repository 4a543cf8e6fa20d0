//! All that the rules about the capture may look at when it is over.

use super::super::outcome::{FileAccount, PointAccount};
use super::super::traffic::Traffic;
use super::{CAPTURE_RULES, Directions, Health, Loss, Sided, Watch};
use crate::base::{Coverage, Span};

/// How to record a capture that shows what most of these rules miss.
pub(super) const RECORD: &str = "tcpdump -i any -s 0 -B 8192 -C 20 -W 200 -w dns.pcap '(port 53) \
                                 or icmp or icmp6 or (ip[6:2] & 0x1fff != 0)'";

/// The shared view at the end of a capture.
pub(in crate::analysis) struct Facts<'a> {
    /// First and last frame.
    pub(in crate::analysis) span: Option<Span>,
    /// What frames showed.
    pub(in crate::analysis) watch: &'a Watch,
    /// What transactions showed.
    pub(in crate::analysis) directions: &'a Directions,
    /// Where one direction is missing.
    pub(in crate::analysis) sided: &'a Sided,
    /// How much the capture lost.
    pub(in crate::analysis) loss: Option<Loss>,
    /// The account of frames.
    pub(in crate::analysis) coverage: &'a Coverage,
    /// What was asked and answered.
    pub(in crate::analysis) traffic: &'a Traffic,
    /// The files, in analysed order.
    pub(in crate::analysis) files: &'a [FileAccount],
    /// Where they were taken.
    pub(in crate::analysis) points: &'a [PointAccount],
    /// Inputs that were left out because another holds the same.
    pub(in crate::analysis) duplicates: usize,
}

/// Everything there is to say about the capture: what to be careful about first.
pub(in crate::analysis) fn judge(facts: &Facts<'_>) -> Vec<Health> {
    let mut health: Vec<Health> =
        CAPTURE_RULES.iter().flat_map(|rule| (rule.judge)(facts)).collect();
    health.sort_by_key(|health| (!health.serious, health.rule));
    health
}
