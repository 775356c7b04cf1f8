//! A verdict as the status of its object: the one form that `/status` shows and the API server is given.
//!
//! Pure: the time comes in, and so does the status that was there before, because a condition says when it last
//! changed and not when it was last looked at.

use jiff::Timestamp;
use lvs_crds::{
    Condition, DirectorReport, DirectorRole, DirectorStatus, RealServerStatus, VirtualServiceStatus,
};
use lvs_plan::Spec;
use lvs_plan::conditions::ConditionValue;

use crate::board::{DirectorVerdict, Entry};

/// The status of a `VirtualService`, as this Director sees it: `directors` holds its own entry only.
pub fn virtual_service_status(
    entry: &Entry,
    node_name: &str,
    previous: Option<&VirtualServiceStatus>,
    now: Timestamp,
) -> VirtualServiceStatus {
    let verdict = &entry.verdict;
    let own_before =
        previous.and_then(|previous| previous.directors.iter().find(|director| director.name == node_name));
    let own =
        verdict.director.as_ref().map(|director| director_status(entry, director, node_name, own_before));
    // A firewall mark's packets may come to every Director: none of them is the active one.
    let has_vip = matches!(&entry.object.spec, Spec::VirtualService(spec) if spec.vip.is_some());
    let active = has_vip && own.as_ref().is_some_and(|own| own.role == DirectorRole::Active);
    VirtualServiceStatus {
        observed_generation: Some(verdict.observed_generation),
        conditions: conditions(entry, previous.map(|previous| previous.conditions.as_slice()), now),
        active_director: active.then(|| node_name.to_owned()),
        directors: own.into_iter().collect(),
        real_servers: verdict.real_servers,
        ports_summary: match &entry.object.spec {
            Spec::VirtualService(spec) => Some(spec.ports_summary()),
            Spec::RealServer(_) | Spec::Director(_) | Spec::Malformed(_) => None,
        },
        real_servers_summary: verdict.real_servers.map(lvs_crds::RealServerCounts::summary),
    }
}

/// The status of a `RealServer`.
pub fn real_server_status(
    entry: &Entry,
    previous: Option<&RealServerStatus>,
    now: Timestamp,
) -> RealServerStatus {
    RealServerStatus {
        observed_generation: Some(entry.verdict.observed_generation),
        conditions: conditions(entry, previous.map(|previous| previous.conditions.as_slice()), now),
        virtual_services: entry.verdict.virtual_services.iter().map(ToString::to_string).collect(),
    }
}

/// The status of a `Director`: of this one, since nobody else says anything of it.
pub fn director_report(entry: &Entry, previous: Option<&DirectorReport>, now: Timestamp) -> DirectorReport {
    DirectorReport {
        observed_generation: Some(entry.verdict.observed_generation),
        conditions: conditions(entry, previous.map(|previous| previous.conditions.as_slice()), now),
    }
}

fn director_status(
    entry: &Entry,
    verdict: &DirectorVerdict,
    node_name: &str,
    before: Option<&DirectorStatus>,
) -> DirectorStatus {
    let DirectorVerdict { role, programmed, message } = verdict;
    // While a new spec is refused, the kernel holds an older one: the generation stays that of the older.
    let accepted =
        entry.verdict.conditions.iter().any(|condition| condition.type_ == "Accepted" && condition.holds());
    let observed_generation = if *programmed && accepted {
        Some(entry.verdict.observed_generation)
    } else {
        before.and_then(|before| before.observed_generation)
    };
    DirectorStatus {
        name: node_name.to_owned(),
        role: *role,
        programmed: *programmed,
        observed_generation,
        message: message.clone(),
    }
}

fn conditions(entry: &Entry, before: Option<&[Condition]>, now: Timestamp) -> Vec<Condition> {
    let before = before.unwrap_or_default();
    let generation = entry.verdict.observed_generation;
    entry.verdict.conditions.iter().map(|value| condition(value, generation, before, now)).collect()
}

/// `lastTransitionTime` moves with the status alone, not with reason or message (`metav1.Condition`).
fn condition(value: &ConditionValue, generation: i64, before: &[Condition], now: Timestamp) -> Condition {
    let ConditionValue { type_, status, reason, message } = value;
    let unchanged = before.iter().find(|old| old.type_ == *type_ && old.status == *status);
    Condition {
        type_: (*type_).to_owned(),
        status: *status,
        observed_generation: Some(generation),
        last_transition_time: unchanged
            .map_or_else(|| whole_seconds(now), |old| old.last_transition_time.clone()),
        reason: reason.as_str().to_owned(),
        message: message.clone(),
    }
}

/// RFC 3339 in UTC without a fraction, as `metav1.Time` writes it.
fn whole_seconds(now: Timestamp) -> String {
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

#[cfg(test)]
mod tests {
    use lvs_crds::ConditionStatus;
    use lvs_plan::Reason;

    use super::*;
    use crate::board::fixtures;

    fn at(second: i64) -> Timestamp {
        Timestamp::new(second, 123_456_789).unwrap()
    }

    fn time_of<'a>(status: &'a VirtualServiceStatus, type_: &str) -> &'a str {
        &status.conditions.iter().find(|condition| condition.type_ == type_).unwrap().last_transition_time
    }

    #[test]
    fn times_are_whole_seconds_in_utc() {
        let entry = fixtures::virtual_service("web", Reason::Announced);
        let status = virtual_service_status(&entry, "d1", None, at(1_700_000_000));
        assert_eq!(time_of(&status, "Ready"), "2023-11-14T22:13:20Z");
    }

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let good = fixtures::virtual_service("web", Reason::Announced);
        let conflict = fixtures::virtual_service("web", Reason::VIPConflict);
        let pending = fixtures::virtual_service("web", Reason::NoActiveDirector);
        let first = virtual_service_status(&good, "d1", None, at(100));
        let second = virtual_service_status(&conflict, "d1", Some(&first), at(200));
        let third = virtual_service_status(&pending, "d1", Some(&second), at(300));
        assert_eq!(time_of(&second, "Accepted"), time_of(&first, "Accepted"));
        assert_ne!(time_of(&second, "Announced"), time_of(&first, "Announced"));
        assert_eq!(
            time_of(&third, "Announced"),
            time_of(&second, "Announced"),
            "another reason is no transition"
        );
        assert_eq!(third.conditions[2].reason, "NoActiveDirector");
    }

    #[test]
    fn the_same_verdict_gives_the_same_status_however_much_later() {
        let entry = fixtures::virtual_service("web", Reason::Announced);
        let first = virtual_service_status(&entry, "d1", None, at(100));
        assert_eq!(virtual_service_status(&entry, "d1", Some(&first), at(9_999)), first);
        let entry = fixtures::real_server("rs1", &["default/web"]);
        let first = real_server_status(&entry, None, at(100));
        assert_eq!(real_server_status(&entry, Some(&first), at(9_999)), first);
        assert_eq!(first.virtual_services, ["default/web"]);
    }

    #[test]
    fn the_director_that_announces_is_the_active_one() {
        let status =
            |reason| virtual_service_status(&fixtures::virtual_service("web", reason), "d1", None, at(100));
        let announced = status(Reason::Announced);
        assert_eq!(announced.active_director.as_deref(), Some("d1"));
        assert_eq!(
            (announced.directors[0].name.as_str(), announced.directors[0].role),
            ("d1", DirectorRole::Active)
        );
        let conflict = status(Reason::VIPConflict);
        assert_eq!((conflict.active_director, conflict.directors[0].role), (None, DirectorRole::Standby));
    }

    #[test]
    fn a_firewall_mark_has_no_active_director() {
        let status = virtual_service_status(&fixtures::firewall_mark("mark", 7), "d1", None, at(100));
        assert_eq!((status.active_director, status.directors[0].role), (None, DirectorRole::Active));
    }

    #[test]
    fn a_refused_spec_leaves_the_programmed_generation_at_the_one_in_force() {
        let good = fixtures::generation(fixtures::virtual_service("web", Reason::Announced), 2);
        let first = virtual_service_status(&good, "d1", None, at(100));
        assert_eq!(first.directors[0].observed_generation, Some(2));
        let refused = fixtures::generation(fixtures::refused("web", Reason::Invalid), 3);
        let second = virtual_service_status(&refused, "d1", Some(&first), at(200));
        assert_eq!((second.observed_generation, second.directors[0].observed_generation), (Some(3), Some(2)));
        let accepted = second.conditions.iter().find(|condition| condition.type_ == "Accepted").unwrap();
        assert_eq!((accepted.status, accepted.observed_generation), (ConditionStatus::False, Some(3)));
    }
}
