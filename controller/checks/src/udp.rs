//! UDP: a datagram is sent; an answer is waited for, or that ICMP refuses it.
//!
//! Without an expected answer the check waits for a refusal for a second, or for the timeout if that is
//! less, and succeeds if none came; a datagram that comes back ends the wait. A host that is gone refuses
//! nothing: only `expect` can tell that.
//!
//! Of each answer 4 KiB are looked at.

use std::time::Duration;

use lvs_crds::UdpCheck;

use crate::deadline::Deadline;
use crate::dial::Datagrams;
use crate::failure::{Awaited, Failure, excerpt};
use crate::http::contains;
use crate::kind::Target;

/// A refusal comes within a round trip.
const REFUSAL_WAIT: Duration = Duration::from_secs(1);
const ANSWER_LIMIT: usize = 4096;

/// What is sent and what must come back.
#[derive(Debug)]
pub(crate) struct UdpProbe {
    send: String,
    expect: Option<String>,
}

impl UdpProbe {
    pub(crate) fn new(check: &UdpCheck) -> Self {
        Self { send: check.send.clone(), expect: check.expect.clone() }
    }
}

pub(crate) async fn check(probe: &UdpProbe, target: &Target, deadline: &Deadline) -> Result<(), Failure> {
    let socket = Datagrams::udp(target)?;
    socket.send(probe.send.as_bytes())?;
    let mut buffer = vec![0; ANSWER_LIMIT];
    let Some(expect) = &probe.expect else {
        let wait = deadline.at_most(REFUSAL_WAIT);
        return match wait.within(Awaited::Answer, socket.receive(&mut buffer)).await {
            Ok(_) | Err(Failure::Timeout { .. }) => Ok(()),
            Err(failure) => Err(failure),
        };
    };
    let mut other = None;
    let answer = async {
        loop {
            let length = socket.receive(&mut buffer).await?;
            if contains(&buffer[..length], expect.as_bytes()) {
                return Ok(());
            }
            other = Some(excerpt(&String::from_utf8_lossy(&buffer[..length])));
        }
    };
    // A server may send several datagrams, so the next may be the expected one.
    match (deadline.within(Awaited::Answer, answer).await, other) {
        (Err(Failure::Timeout { .. }), Some(other)) => Err(Failure::Answer {
            peer: target.peer(),
            answer: format!("\"{other}\""),
            expected: format!("\"{}\"", excerpt(expect)),
        }),
        (result, _) => result,
    }
}
