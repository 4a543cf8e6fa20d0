//! Services that clients take for headless ones: they ask for pods below them.

use std::collections::BTreeSet;

use super::inquiries::{AskedName, Inquiries};
use crate::base::{Map, Set};
use crate::dns::Name;

/// The pods of `StatefulSet`s that are asked for below each of these `services`, where another Service of
/// their namespace has addresses: a namespace that nothing shows may be a mistyped one.
pub fn pods_below<'a, 'b>(
    answers: &'a Inquiries,
    services: impl Iterator<Item = &'b Name>,
) -> Map<Name, BTreeSet<&'a Name>> {
    let mut pods: Map<Name, BTreeSet<&Name>> =
        services.map(|name| (name.clone(), BTreeSet::new())).collect();
    if pods.is_empty() {
        return pods;
    }
    let mut shown: Set<Name> = Set::default();
    for asked in answers.names() {
        let above = asked.name.ending(1);
        if asked.place.is_service() && asked.resolves() && !shown.contains(&above) {
            shown.extend(asked.name.parent());
        } else if asked.place.is_stateful_pod()
            && let Some(below) = pods.get_mut(&above)
        {
            below.insert(asked.name);
        }
    }
    pods.retain(|service, below| !below.is_empty() && shown.contains(&service.ending(1)));
    pods
}

/// Those of `candidates` that are such a Service, or a pod below one.
pub fn meant_as_headless<'b>(
    answers: &Inquiries,
    candidates: impl Iterator<Item = &'b Name> + Clone,
) -> Set<Name> {
    let services: Set<Name> =
        candidates.clone().flat_map(|name| [Some(name.clone()), name.parent()]).flatten().collect();
    let known = pods_below(answers, services.iter());
    let is_meant = |name: &&Name| {
        answers.name(name).is_some_and(|AskedName { place, .. }| {
            place.is_service() && known.contains_key(*name)
                || place.is_stateful_pod() && known.contains_key(&name.ending(1))
        })
    };
    candidates.filter(is_meant).cloned().collect()
}
