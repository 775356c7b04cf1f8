//! Whether the nodes join the cluster: how long they have, who is given up, and when all is started once more.

use std::time::Duration;

use anyhow::Result;

use super::network::NodeName;
use crate::guest::Lost;

/// From the boot to Ready: half a minute on a calm machine without KVM, and up to five times that on one that
/// is compiling.
const LIMIT: Duration = Duration::from_mins(5);

/// A node that is to join, as it is seen now.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) node: NodeName,
    pub(super) state: State,
}

/// How far a node is.
#[derive(Debug)]
pub(super) enum State {
    /// It is ready and has its images.
    Joined,
    /// It is doing this.
    Joining(String),
    /// It won't be ready any more, for this reason.
    Ended(String),
}

/// What comes of the nodes that were seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All have joined.
    Joined,
    /// Some have not yet; what they are doing.
    Waiting(String),
    /// These have not, and are given up for that reason.
    Lost(Vec<NodeName>, String),
}

/// Judges nodes that have been joining for so long.
pub(super) fn judge(sights: &[Sight], waited: Duration) -> Verdict {
    let (mut ended, mut joining) = (Vec::new(), Vec::new());
    for Sight { node, state } in sights {
        match state {
            State::Joined => {}
            State::Joining(stage) => joining.push((*node, format!("{node}: {stage}"))),
            State::Ended(why) => ended.push((*node, format!("{node}: {why}"))),
        }
    }
    let split = |nodes: Vec<(NodeName, String)>| -> (Vec<_>, Vec<_>) { nodes.into_iter().unzip() };
    if !ended.is_empty() {
        let (nodes, texts) = split(ended);
        return Verdict::Lost(nodes, texts.join(", "));
    }
    if joining.is_empty() {
        return Verdict::Joined;
    }
    let (nodes, texts) = split(joining);
    let stages = texts.join(", ");
    if waited > LIMIT {
        return Verdict::Lost(nodes, format!("not ready {} s after the boot ({stages})", waited.as_secs()));
    }
    Verdict::Waiting(stages)
}

/// Starts a cluster, and once more if a guest was lost: an emulated one may lock up or crash (seen once each),
/// and nothing has been tested by then. Any other error would come again. `start` is told which start it is,
/// from 1.
pub(super) fn start<T>(mut start: impl FnMut(u32) -> Result<T>, say: impl FnOnce(&str)) -> Result<T> {
    let error = match start(1) {
        Err(error) if error.is::<Lost>() => error,
        outcome => return outcome,
    };
    say(&format!("{error:#}\nA guest was lost while the nodes joined; the whole cluster once more"));
    start(2)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use anyhow::{Context as _, anyhow};

    use super::*;

    const SOON: Duration = Duration::from_mins(1);
    const LATE: Duration = Duration::from_secs(301);

    fn see<const N: usize>(states: [State; N], waited: Duration) -> Verdict {
        let nodes = (1..).map(NodeName);
        let sights: Vec<_> = nodes.zip(states).map(|(node, state)| Sight { node, state }).collect();
        judge(&sights, waited)
    }

    fn kubelet() -> State {
        State::Joining("the kubelet runs".to_owned())
    }

    #[test]
    fn nodes_that_are_on_their_way_are_waited_for() {
        assert_eq!(
            see([State::Joined, kubelet()], SOON),
            Verdict::Waiting("n2: the kubelet runs".to_owned())
        );
        assert_eq!(
            see([State::Joining("booted".to_owned()), kubelet()], SOON),
            Verdict::Waiting("n1: booted, n2: the kubelet runs".to_owned())
        );
    }

    #[test]
    fn nodes_that_have_joined_have_joined_however_long_it_took() {
        assert_eq!(see([State::Joined, State::Joined], LATE), Verdict::Joined);
    }

    #[test]
    fn after_the_limit_those_that_have_not_joined_are_given_up() {
        let why = "not ready 301 s after the boot (n2: the kubelet runs)".to_owned();
        assert_eq!(see([State::Joined, kubelet()], LATE), Verdict::Lost(vec![NodeName(2)], why));
    }

    #[test]
    fn a_node_that_has_ended_is_not_waited_for() {
        let ended = State::Ended("the kubelet ended".to_owned());
        let why = "n1: the kubelet ended".to_owned();
        assert_eq!(see([ended, kubelet()], SOON), Verdict::Lost(vec![NodeName(1)], why));
    }

    /// What comes of starts that end like this, and what is said.
    fn starts(outcomes: [Result<u32>; 2]) -> (Result<u32>, u32, String) {
        let mut outcomes = outcomes.into_iter();
        let (count, said) = (Cell::new(0), Cell::new(String::new()));
        let outcome = start(
            |number| {
                count.set(number);
                outcomes.next().unwrap()
            },
            |line| said.set(line.to_owned()),
        );
        (outcome, count.get(), said.take())
    }

    fn lost(why: &str) -> anyhow::Error {
        anyhow!(Lost { why: why.to_owned(), words: "--- console\nsoft lockup".to_owned() })
    }

    #[test]
    fn a_cluster_that_lost_a_guest_is_started_once_more_and_says_why() {
        let (outcome, count, said) = starts([Err(lost("n2 is late")), Ok(7)]);
        assert_eq!((outcome.unwrap(), count), (7, 2));
        assert!(said.starts_with("n2 is late\n--- console\nsoft lockup\n"), "{said}");
        assert!(said.ends_with("the whole cluster once more"), "{said}");
        // However far up it is told of.
        let (outcome, ..) = starts([Err(lost("n2 is late")).context("booting"), Ok(7)]);
        assert_eq!(outcome.unwrap(), 7);
    }

    #[test]
    fn a_second_loss_is_the_error() {
        let (outcome, count, _) = starts([Err(lost("n2 is late")), Err(lost("n1 is late"))]);
        assert_eq!(outcome.unwrap_err().to_string(), "n1 is late\n--- console\nsoft lockup");
        assert_eq!(count, 2);
    }

    #[test]
    fn what_started_well_or_failed_for_another_reason_is_not_started_again() {
        let (outcome, count, said) = starts([Ok(7), Ok(8)]);
        assert_eq!((outcome.unwrap(), count, said.as_str()), (7, 1, ""));
        let (outcome, count, said) = starts([Err(anyhow!("the control plane ended")), Ok(8)]);
        assert_eq!(outcome.unwrap_err().to_string(), "the control plane ended");
        assert_eq!((count, said.as_str()), (1, ""));
    }
}
