//! DNS over UDP (RFC 1035): one question; its answer's code, and one of its records.
//!
//! Written by hand: hickory-proto would bring IDNA with Unicode's tables for a message of one question. The
//! socket is connected, so answers of other addresses never come here; those with another identifier or
//! question are passed over. Answers are taken up to 4 KiB, and a truncated one counts as far as it goes.

mod name;
mod wire;
#[cfg(test)]
mod wire_tests;

use lvs_crds::{DnsCheck, DnsRcode, DnsType};

use crate::deadline::Deadline;
use crate::dial::Datagrams;
use crate::failure::{Awaited, Failure, Peer, excerpt};
use crate::kind::Target;
use crate::ping::random;
use crate::prepared::PrepareError;
use name::Name;
use wire::{Message, Question, Record};

/// Nobody asked for more than 512 bytes (no EDNS), but some servers send it.
const ANSWER_LIMIT: usize = 4096;
/// So many records are quoted.
const QUOTED: usize = 3;

/// The question and what its answer must look like.
#[derive(Debug)]
pub(crate) struct DnsProbe {
    question: Question,
    /// The question in words: `A example.com`.
    asked: String,
    rcode: (u8, &'static str),
    expected: Option<Record>,
}

impl DnsProbe {
    pub(crate) fn new(check: &DnsCheck) -> Result<Self, PrepareError> {
        let (kind, type_name) = match check.type_ {
            DnsType::A => (wire::A, "A"),
            DnsType::Aaaa => (wire::AAAA, "AAAA"),
            DnsType::Cname => (wire::CNAME, "CNAME"),
            DnsType::Mx => (wire::MX, "MX"),
            DnsType::Ns => (wire::NS, "NS"),
            DnsType::Ptr => (wire::PTR, "PTR"),
            DnsType::Soa => (wire::SOA, "SOA"),
            DnsType::Srv => (wire::SRV, "SRV"),
            DnsType::Txt => (wire::TXT, "TXT"),
        };
        let name = Name::parse(&check.name).ok_or_else(|| PrepareError::DnsName(check.name.clone()))?;
        let expected = match &check.expected_answer {
            Some(text) => Some(
                Record::parse(kind, text).ok_or_else(|| PrepareError::DnsAnswer(text.clone(), type_name))?,
            ),
            None => None,
        };
        Ok(Self {
            asked: format!("{type_name} {name}"),
            question: Question { name, kind },
            rcode: match check.expected_rcode {
                DnsRcode::Noerror => (wire::NOERROR, "NOERROR"),
                DnsRcode::Nxdomain => (wire::NXDOMAIN, "NXDOMAIN"),
            },
            expected,
        })
    }

    /// Whether an answer is as expected.
    fn judge(&self, message: &Message<'_>, peer: Peer) -> Result<(), Failure> {
        let (expected_rcode, expected) = self.rcode;
        if message.rcode != expected_rcode {
            let (rcode, question) = (wire::rcode_name(message.rcode), self.asked.clone());
            return Err(Failure::Rcode { rcode, peer, question, expected });
        }
        let Some(expected) = &self.expected else { return Ok(()) };
        let Some(records) = message.records(self.question.kind) else {
            let fault = "its answer's records cannot be read".to_owned();
            return Err(Failure::Protocol { peer, protocol: "DNS", fault });
        };
        if records.contains(expected) {
            return Ok(());
        }
        let mut answer: Vec<_> =
            records.iter().take(QUOTED).map(|record| excerpt(&record.to_string())).collect();
        if records.is_empty() {
            answer.push("nothing".to_owned());
        } else if records.len() > QUOTED {
            answer.push("…".to_owned());
        }
        let cut = if message.truncated { " (truncated)" } else { "" };
        Err(Failure::Answer {
            peer,
            answer: format!("{} with {}{cut}", self.asked, answer.join(", ")),
            expected: excerpt(&expected.to_string()),
        })
    }
}

pub(crate) async fn check(probe: &DnsProbe, target: &Target, deadline: &Deadline) -> Result<(), Failure> {
    let id = u16::from_ne_bytes(random()?);
    let socket = Datagrams::udp(target)?;
    socket.send(&probe.question.encode(id))?;
    let answer = async {
        let mut buffer = vec![0; ANSWER_LIMIT];
        loop {
            let length = socket.receive(&mut buffer).await?;
            if let Some(message) = wire::answer(&buffer[..length], id, &probe.question) {
                return probe.judge(&message, target.peer());
            }
        }
    };
    deadline.within(Awaited::Answer, answer).await
}
