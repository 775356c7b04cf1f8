use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use Verdict::{Down, Unknown, Up};
use lvs_crds::OnFailure;
use proptest::prelude::*;

use super::*;
use crate::fixtures::{address, settings, tcp};

const SECOND: Duration = Duration::from_secs(1);
const SORRY: &str = "192.168.40.99";

fn rip(index: u8) -> DestinationKey {
    DestinationKey { address: IpAddr::from([192, 168, 40, index]), port: 80 }
}

fn declared(weight: u16, verdict: Option<Verdict>) -> Declared {
    Declared { weight, upper_threshold: 0, lower_threshold: 0, drain: false, maintenance: false, verdict }
}

fn quiesce() -> Policy {
    Policy::of_nothing_said().clone()
}

fn slow(seconds: u64) -> Policy {
    Policy { slow_start: SECOND * seconds as u32, ..quiesce() }
}

fn with_sorry() -> Policy {
    Policy { sorry_server: Some(address(SORRY)), ..quiesce() }
}

/// One service with its kernel, its memory and a clock.
#[derive(Clone, Debug)]
struct World {
    policy: Policy,
    members: Vec<(DestinationKey, Declared)>,
    kernel: Option<Service>,
    memory: Standing,
    now: Instant,
}

impl World {
    /// Destinations with these weights, all checked and none with a result.
    fn new(policy: Policy, weights: &[u16]) -> Self {
        let member = |(index, weight): (u8, &u16)| (rip(index), declared(*weight, Some(Unknown)));
        let members = (1..).zip(weights).map(member).collect();
        Self { policy, members, kernel: None, memory: Standing::default(), now: Instant::now() }
    }

    /// The same, all of them working for long.
    fn working(policy: Policy, weights: &[u16]) -> Self {
        let mut world = Self::new(policy, weights);
        world.members.iter_mut().for_each(|(_, declared)| declared.verdict = Some(Up));
        world.pass();
        world.now += SECOND * 100_000;
        world.pass();
        world
    }

    fn look(&mut self) -> InForce {
        let key = tcp("172.16.21.10", 80);
        let (members, kernel) = (&self.members, self.kernel.as_ref());
        in_force(&key, &self.policy, members, kernel, &mut self.memory, self.now)
    }

    /// Decides, and puts it into the kernel.
    fn pass(&mut self) -> InForce {
        let decided = self.look();
        let destinations: BTreeMap<_, _> = decided.table().collect();
        self.kernel = Some(Service { settings: settings("wlc"), destinations });
        decided
    }

    fn verdict(&mut self, index: usize, verdict: Verdict) -> InForce {
        self.members[index].1.verdict = Some(verdict);
        self.pass()
    }

    fn wait(&mut self, time: Duration) -> InForce {
        self.now += time;
        self.pass()
    }

    /// The agent ends and starts again: no verdict and no memory is left.
    fn restart(&mut self) {
        self.memory = Standing::default();
        for (_, declared) in &mut self.members {
            declared.verdict = declared.verdict.map(|_| Unknown);
        }
    }

    /// The weight of each declared destination in the kernel, and of the sorry server at the end if it is
    /// there.
    fn weights(&self) -> Vec<Option<u32>> {
        let kernel = &self.kernel.as_ref().expect("there was a pass").destinations;
        let mut weights: Vec<_> =
            self.members.iter().map(|(key, _)| kernel.get(key).map(|it| it.weight)).collect();
        let sorry = kernel.get(&DestinationKey { address: address(SORRY), port: 80 });
        weights.extend(sorry.map(|it| Some(it.weight)));
        weights
    }

    fn states(&mut self) -> Vec<State> {
        self.look().destinations.into_iter().map(|(_, destination)| destination.state).collect()
    }
}

#[test]
fn a_new_destination_waits_with_weight_0_for_its_first_check() {
    let mut world = World::new(quiesce(), &[3, 1]);
    let first = world.pass();
    assert_eq!(world.weights(), [Some(0), Some(0)]);
    assert_eq!(world.states(), [State::Waiting, State::Waiting]);
    assert_eq!((first.counts, first.next), (Counts { total: 2, healthy: 0, in_service: 0 }, None));
    assert_eq!(world.verdict(0, Up).counts, Counts { total: 2, healthy: 1, in_service: 1 });
    assert_eq!(world.weights(), [Some(3), Some(0)]);
    world.verdict(1, Up);
    assert!(world.memory.is_empty(), "what works needs no memory");
}

#[test]
fn what_is_not_checked_is_in_service_at_once() {
    let mut world = World::new(slow(60), &[1, 0]);
    world.members.iter_mut().for_each(|(_, declared)| declared.verdict = None);
    assert_eq!(world.pass().counts, Counts { total: 2, healthy: 2, in_service: 1 });
    assert_eq!(world.weights(), [Some(20), Some(0)]);
    assert_eq!(world.states(), [State::InService, State::ZeroWeight]);
}

#[test]
fn a_failed_one_is_quiesced_and_later_removed_and_comes_back_as_it_was() {
    let mut world = World::working(quiesce(), &[3, 1]);
    let failed = world.verdict(0, Down);
    assert_eq!(failed.next, Some(world.now + SECOND * 300));
    assert_eq!(
        (world.weights(), world.states()),
        (vec![Some(0), Some(1)], vec![State::Quiesced, State::InService])
    );
    world.wait(SECOND * 299);
    assert_eq!(world.weights(), [Some(0), Some(1)]);
    let removed = world.wait(SECOND);
    assert_eq!((world.weights(), removed.next), (vec![None, Some(1)], None));
    assert_eq!(world.states(), [State::Removed, State::InService]);
    world.policy.drain_timeout = SECOND * 3_000;
    world.wait(SECOND);
    assert_eq!(world.weights(), [None, Some(1)], "what was removed is not brought back by a longer time");
    world.verdict(0, Up);
    assert_eq!(world.weights(), [Some(3), Some(1)]);
}

#[test]
fn a_failed_one_is_removed_at_once_if_the_policy_says_so() {
    let remove = Policy { on_failure: OnFailure::Remove, ..quiesce() };
    for policy in [remove, Policy { drain_timeout: Duration::ZERO, ..quiesce() }] {
        let mut world = World::working(policy, &[3, 1]);
        assert_eq!(world.verdict(0, Down).next, None);
        assert_eq!(world.weights(), [None, Some(1)]);
    }
}

#[test]
fn flapping_changes_one_weight_each_time_and_nothing_else() {
    let mut world = World::working(quiesce(), &[3, 1]);
    for _ in 0..10 {
        world.wait(SECOND * 5);
        world.verdict(0, Down);
        assert_eq!(world.weights(), [Some(0), Some(1)]);
        world.wait(SECOND * 5);
        world.verdict(0, Up);
        assert_eq!(world.weights(), [Some(3), Some(1)]);
    }
}

#[test]
fn a_new_one_that_fails_before_it_was_added_is_not_added() {
    let mut world = World::new(quiesce(), &[1, 1]);
    world.members[0].1.verdict = Some(Down);
    world.pass();
    assert_eq!(world.weights(), [None, Some(0)]);
}

#[test]
fn a_draining_one_stays_and_one_in_maintenance_does_not() {
    let mut world = World::working(quiesce(), &[3, 1]);
    (world.members[0].1.drain, world.members[1].1.maintenance) = (true, true);
    world.wait(SECOND * 10_000);
    assert_eq!(
        (world.weights(), world.states()),
        (vec![Some(0), None], vec![State::Draining, State::Maintenance])
    );
    (world.members[0].1.drain, world.members[1].1.maintenance) = (false, false);
    world.pass();
    assert_eq!(world.weights(), [Some(3), Some(1)]);
}

#[test]
fn below_the_threshold_checks_are_not_believed() {
    let mut world = World::working(Policy { panic_threshold_percent: 50, ..quiesce() }, &[3, 1, 1, 0]);
    world.members[3].1.verdict = Some(Down);
    assert!(!world.verdict(0, Down).panic, "one of the three with a weight: 66 % work");
    assert_eq!(world.weights(), [Some(0), Some(1), Some(1), Some(0)]);
    world.wait(SECOND * 400);
    assert_eq!(world.weights(), [None, Some(1), Some(1), None]);
    let panic = world.verdict(1, Down);
    assert!(panic.panic && panic.counts == Counts { total: 4, healthy: 1, in_service: 3 });
    assert_eq!(world.weights(), [Some(3), Some(1), Some(1), None]);
    assert_eq!(world.states(), [State::Panic, State::Panic, State::InService, State::Removed]);
    world.wait(SECOND * 400);
    assert_eq!(world.weights(), [Some(3), Some(1), Some(1), None], "nothing is removed in panic");
    world.verdict(1, Up);
    assert_eq!(world.weights(), [Some(0), Some(1), Some(1), None], "its time begins when panic ends");
    world.wait(SECOND * 300);
    assert_eq!(world.weights(), [None, Some(1), Some(1), None]);
}

#[test]
fn what_is_drained_or_in_maintenance_does_not_count_for_panic() {
    let mut world = World::working(Policy { panic_threshold_percent: 50, ..quiesce() }, &[1, 1, 1]);
    (world.members[0].1.drain, world.members[1].1.maintenance) = (true, true);
    world.members[0].1.verdict = Some(Down);
    assert!(!world.pass().panic);
    assert!(world.verdict(2, Down).panic, "the only one that is meant to work");
    assert_eq!(world.weights(), [Some(0), None, Some(1)], "what drains is not used all the same");
}

#[test]
fn the_sorry_server_serves_while_nobody_else_does() {
    let mut world = World::working(with_sorry(), &[3, 1]);
    assert_eq!(world.weights(), [Some(3), Some(1)]);
    world.verdict(0, Down);
    assert!(world.verdict(1, Down).sorry_in_use);
    assert_eq!(world.weights(), [Some(0), Some(0), Some(1)]);
    world.wait(SECOND * 301);
    assert_eq!(world.weights(), [None, None, Some(1)]);
    let back = world.verdict(0, Up);
    assert!(!back.sorry_in_use && back.next == Some(world.now + SECOND * 300));
    assert_eq!(world.weights(), [Some(3), None, Some(0)]);
    world.wait(SECOND * 300);
    assert_eq!(world.weights(), [Some(3), None]);
    world.pass();
    world.verdict(1, Up);
    assert!(world.memory.is_empty());
}

#[test]
fn the_sorry_server_does_not_come_in_while_a_first_check_is_waited_for_and_does_not_go_either() {
    let mut world = World::new(with_sorry(), &[3, 1]);
    world.verdict(0, Down);
    assert!(!world.pass().sorry_in_use, "the second may work");
    world.verdict(1, Down);
    assert_eq!(world.weights().last(), Some(&Some(1)));
    world.members.push((rip(7), declared(1, Some(Unknown))));
    assert!(world.pass().sorry_in_use, "the third may not work");
    world.verdict(2, Up);
    assert_eq!(world.weights()[2..], [Some(1), Some(0)]);
}

#[test]
fn a_member_with_the_sorry_servers_address_is_a_member() {
    let mut world = World::working(with_sorry(), &[]);
    assert_eq!(world.weights(), [Some(1)], "there is nobody else");
    world.members.push((DestinationKey { address: address(SORRY), port: 80 }, declared(5, Some(Down))));
    let decided = world.pass();
    assert!(decided.sorry.is_none() && !decided.sorry_in_use);
}

#[test]
fn a_weight_grows_slowly_after_a_failure() {
    let mut world = World::working(slow(20), &[1, 3]);
    assert_eq!(world.weights(), [Some(20), Some(60)]);
    world.verdict(0, Down);
    let mut decided = world.verdict(0, Up);
    assert_eq!(
        (world.weights(), world.states()[0]),
        (vec![Some(1), Some(60)], State::SlowStart { percent: 5 })
    );
    let (start, mut writes) = (world.now, 0);
    while let Some(next) = decided.next {
        assert!(next - world.now >= SECOND, "at most one change in a second");
        world.now = next;
        decided = world.pass();
        writes += 1;
        assert_eq!(world.weights(), [Some(1 + writes), Some(60)]);
    }
    assert_eq!((writes, world.now - start), (19, SECOND * 20));
    assert_eq!(world.states(), [State::InService; 2]);
}

#[test]
fn a_new_one_starts_slowly_and_one_that_drained_does_not() {
    let mut world = World::working(slow(60), &[1]);
    world.members.push((rip(2), declared(1, Some(Unknown))));
    world.pass();
    assert_eq!(world.weights(), [Some(20), Some(0)]);
    world.verdict(1, Up);
    assert_eq!(world.weights(), [Some(20), Some(1)]);
    world.wait(SECOND * 60);
    world.members[1].1.drain = true;
    world.pass();
    world.members[1].1.drain = false;
    world.pass();
    assert_eq!(world.weights(), [Some(20), Some(20)]);
}

#[test]
fn what_panic_kept_in_service_does_not_start_again() {
    let mut world = World::working(Policy { panic_threshold_percent: 100, ..slow(60) }, &[1, 1]);
    world.verdict(0, Down);
    assert_eq!(world.weights(), [Some(20), Some(20)]);
    world.verdict(0, Up);
    assert_eq!(world.weights(), [Some(20), Some(20)]);
}

#[test]
fn a_restart_goes_on_with_a_ramp_where_it_was() {
    let mut world = World::working(slow(60), &[1, 3]);
    world.verdict(0, Down);
    world.verdict(0, Up);
    world.wait(SECOND * 30);
    assert_eq!(world.weights(), [Some(10), Some(60)]);
    world.restart();
    let decided = world.pass();
    assert_eq!(world.weights(), [Some(10), Some(60)]);
    assert!(decided.next.is_some_and(|next| next <= world.now + SECOND * 4));
    world.verdict(0, Up);
    world.verdict(1, Up);
    assert_eq!(world.weights(), [Some(10), Some(60)]);
    world.wait(SECOND * 33);
    assert_eq!(world.weights(), [Some(20), Some(60)]);
}

#[test]
fn a_foreign_weight_is_repaired_at_once_also_with_slow_start() {
    let mut world = World::working(slow(60), &[1, 3]);
    let kernel = world.kernel.as_mut().expect("there was a pass");
    kernel.destinations.get_mut(&rip(2)).expect("it is there").weight = 7;
    world.pass();
    assert_eq!(world.weights(), [Some(20), Some(60)]);
}

#[derive(Clone, Debug)]
enum Event {
    Verdict(usize, Verdict),
    Weight(usize, u16),
    Drain(usize),
    Maintenance(usize),
    Checked(usize),
    Time(u64),
    Restart,
}

const MEMBERS: usize = 4;

fn any_event() -> impl Strategy<Value = Event> {
    let member = || 0..MEMBERS;
    let verdict = prop::sample::select(vec![Up, Up, Down, Down, Unknown]);
    prop_oneof![
        8 => (member(), verdict).prop_map(|(index, verdict)| Event::Verdict(index, verdict)),
        1 => (member(), prop::sample::select(vec![0, 1, 2, 7, 1_000, 65_535]))
            .prop_map(|(index, weight)| Event::Weight(index, weight)),
        1 => member().prop_map(Event::Drain),
        1 => member().prop_map(Event::Maintenance),
        1 => member().prop_map(Event::Checked),
        4 => (0..400_000_u64).prop_map(Event::Time),
        1 => Just(Event::Restart),
    ]
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let failure = prop::sample::select(vec![OnFailure::Quiesce, OnFailure::Quiesce, OnFailure::Remove]);
    let panic = prop::sample::select(vec![0, 0, 50, 100]);
    let slow_start = prop::sample::select(vec![0, 0, 20, 61, 3_600]);
    let drain = prop::sample::select(vec![0, 30, 300]);
    (failure, panic, slow_start, drain, any::<bool>()).prop_map(|(on_failure, panic, slow, drain, sorry)| {
        Policy {
            check: None,
            on_failure,
            drain_timeout: SECOND * drain,
            sorry_server: sorry.then(|| address(SORRY)),
            panic_threshold_percent: panic,
            slow_start: SECOND * slow,
        }
    })
}

fn any_life() -> impl Strategy<Value = (Policy, Vec<u16>, Vec<Event>)> {
    let weights = prop::collection::vec(prop::sample::select(vec![0, 1, 1, 2, 5, 100, 65_535]), MEMBERS);
    (any_policy(), weights, prop::collection::vec(any_event(), 1..40))
}

/// Leads a life through all its events, with a pass after each, and looks at each decision.
fn live(
    (policy, weights, events): (Policy, Vec<u16>, Vec<Event>),
    mut look: impl FnMut(&World, &InForce) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let mut world = World::new(policy, &weights);
    for event in events {
        match event {
            Event::Verdict(index, verdict) => world.members[index].1.verdict = Some(verdict),
            Event::Weight(index, weight) => world.members[index].1.weight = weight,
            Event::Drain(index) => world.members[index].1.drain ^= true,
            Event::Maintenance(index) => world.members[index].1.maintenance ^= true,
            Event::Checked(index) => {
                let verdict = &mut world.members[index].1.verdict;
                *verdict = if verdict.is_some() { None } else { Some(Unknown) };
            }
            Event::Time(millis) => world.now += Duration::from_millis(millis),
            Event::Restart => world.restart(),
        }
        let decided = world.pass();
        look(&world, &decided)?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn nothing_that_failed_takes_connections_unless_in_panic(life in any_life()) {
        live(life, |world, decided| {
            for ((_, declared), (_, destination)) in world.members.iter().zip(&decided.destinations) {
                let weight = destination.settings.map_or(0, |settings| settings.weight);
                if !declared.is_wanted() {
                    prop_assert_eq!(weight, 0);
                }
                if declared.verdict == Some(Down) && !decided.panic {
                    prop_assert_eq!(weight, 0);
                }
                if matches!(declared.verdict, None | Some(Up)) && declared.is_wanted() {
                    prop_assert!(weight > 0, "what works takes connections: {destination:?}");
                }
                prop_assert!(weight <= 65_535);
            }
            let in_service = decided.table().any(|(_, settings)| settings.weight > 0);
            let waiting = decided.destinations.iter().any(|(_, it)| it.state == State::Waiting);
            prop_assert!(in_service || waiting || world.policy.sorry_server.is_none());
            prop_assert!(!(decided.sorry_in_use && decided.counts.in_service > 0));
            Ok(())
        })?;
    }

    #[test]
    fn a_second_look_asks_for_nothing_else(life in any_life()) {
        live(life, |world, decided| {
            let mut again = world.clone();
            let second = again.look();
            prop_assert_eq!(decided.table().collect::<Vec<_>>(), second.table().collect::<Vec<_>>());
            prop_assert_eq!(&again.look(), &second, "and no other memory");
            prop_assert_eq!(decided.next, second.next);
            Ok(())
        })?;
    }

    #[test]
    fn time_alone_only_raises_weights_and_removes_and_never_without_having_said_when(life in any_life()) {
        live(life, |world, decided| {
            let mut world = world.clone();
            let (mut before, mut next) = (decided.clone(), decided.next);
            for _ in 0..60 {
                let Some(at) = next else { break };
                prop_assert!(at > world.now, "the time to come is in the past");
                let mut just_before = world.clone();
                just_before.now = at.checked_sub(Duration::from_nanos(1)).unwrap();
                prop_assert_eq!(just_before.look().table().collect::<Vec<_>>(), before.table().collect::<Vec<_>>());
                world.now = at;
                let after = world.pass();
                prop_assert_ne!(after.table().collect::<Vec<_>>(), before.table().collect::<Vec<_>>());
                let old: BTreeMap<_, _> = before.table().collect();
                for (key, settings) in after.table() {
                    prop_assert!(old.get(&key).is_some_and(|old| old.weight <= settings.weight), "{key:?}");
                }
                (before, next) = (after.clone(), after.next);
            }
            if next.is_none() {
                world.now += SECOND * 1_000_000;
                prop_assert_eq!(world.look().table().collect::<Vec<_>>(), before.table().collect::<Vec<_>>());
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_restart_changes_nothing_but_brings_back_what_was_removed_with_weight_0(life in any_life()) {
        live(life, |world, decided| {
            let mut restarted = world.clone();
            restarted.restart();
            let after: BTreeMap<_, _> = restarted.pass().table().collect();
            let before: BTreeMap<_, _> = decided.table().collect();
            for (key, settings) in &before {
                prop_assert_eq!(after.get(key), Some(settings));
            }
            for (key, settings) in after.iter().filter(|(key, _)| !before.contains_key(key)) {
                prop_assert_eq!(settings.weight, 0);
                let (_, removed) =
                    decided.destinations.iter().find(|(other, _)| other == key).expect("it is declared");
                prop_assert_eq!(removed.state, State::Removed);
            }
            Ok(())
        })?;
    }

    #[test]
    fn where_nothing_is_unusual_nothing_is_remembered(life in any_life()) {
        live(life, |world, decided| {
            let usual = decided.destinations.iter().all(|(_, it)| {
                matches!(it.state, State::InService | State::Draining | State::ZeroWeight)
            });
            let certain = world.members.iter().all(|(_, it)| matches!(it.verdict, None | Some(Up)));
            if usual && certain && decided.sorry.is_none() && world.policy.slow_start.is_zero() {
                let mut world = world.clone();
                world.pass();
                prop_assert!(world.memory.is_empty(), "{:?}", world.memory);
            }
            Ok(())
        })?;
    }
}
