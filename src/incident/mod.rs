//! Findings in, ranked [`Incident`]s out.

mod attribute;
mod contribute;
mod model;
mod names;
mod nested;
mod pattern;
mod rank;

pub use attribute::{Residual, correlate};
pub use model::{Affected, Incident, Pattern, Population, Severity, Symptom};
pub use names::NameKind;
