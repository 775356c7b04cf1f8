//! DNS over UDP (RFC 1035): one question; its answer's code, and one of its records.
//!
//! Messages are hickory-proto's, the socket is ours. It is connected, so answers of other addresses never come
//! here; those with another identifier or question are passed over. Answers are taken up to 4 KiB, and a
//! truncated one counts as far as it goes.

mod message;
#[cfg(test)]
mod message_tests;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use lvs_crds::rules::MAX_ANSWER;
use lvs_crds::{DnsCheck, DnsRcode, DnsType};

use crate::deadline::Deadline;
use crate::dial::Datagrams;
use crate::failure::{Awaited, Failure, Peer, excerpt};
use crate::kind::Target;
use crate::ping::random;
use crate::prepared::PrepareError;
use message::{Answer, Question, Record, rcode_name};

/// Nobody asked for more than 512 bytes (no EDNS), but some servers send it.
const ANSWER_LIMIT: usize = MAX_ANSWER;
/// So many records are quoted.
const QUOTED: usize = 3;

/// The question and what its answer must look like.
#[derive(Debug)]
pub(crate) struct DnsProbe {
    question: Question,
    rcode: (ResponseCode, &'static str),
    expected: Option<Record>,
}

impl DnsProbe {
    pub(crate) fn new(check: &DnsCheck) -> Result<Self, PrepareError> {
        let (kind, type_name) = match check.type_ {
            DnsType::A => (RecordType::A, "A"),
            DnsType::Aaaa => (RecordType::AAAA, "AAAA"),
            DnsType::Cname => (RecordType::CNAME, "CNAME"),
            DnsType::Mx => (RecordType::MX, "MX"),
            DnsType::Ns => (RecordType::NS, "NS"),
            DnsType::Ptr => (RecordType::PTR, "PTR"),
            DnsType::Soa => (RecordType::SOA, "SOA"),
            DnsType::Srv => (RecordType::SRV, "SRV"),
            DnsType::Txt => (RecordType::TXT, "TXT"),
        };
        let question =
            Question::new(&check.name, kind).ok_or_else(|| PrepareError::DnsName(check.name.clone()))?;
        let expected = match &check.expected_answer {
            Some(text) => Some(
                Record::parse(kind, text).ok_or_else(|| PrepareError::DnsAnswer(text.clone(), type_name))?,
            ),
            None => None,
        };
        let rcode = match check.expected_rcode {
            DnsRcode::Noerror => (ResponseCode::NoError, "NOERROR"),
            DnsRcode::Nxdomain => (ResponseCode::NXDomain, "NXDOMAIN"),
        };
        Ok(Self { question, rcode, expected })
    }

    /// Whether a datagram, as the answer to the question, is as expected; none if it is something else.
    pub(crate) fn verdict(&self, datagram: &[u8], id: u16, peer: Peer) -> Option<Result<(), Failure>> {
        self.question.answer(datagram, id).map(|answer| self.judge(answer, peer))
    }

    /// The message that asks.
    pub(crate) fn query(&self, id: u16) -> Vec<u8> {
        self.question.encode(id)
    }

    fn judge(&self, answer: Answer<'_>, peer: Peer) -> Result<(), Failure> {
        let (expected_rcode, expected) = self.rcode;
        if answer.rcode != expected_rcode {
            let (rcode, question) = (rcode_name(answer.rcode), self.question.to_string());
            return Err(Failure::Rcode { rcode, peer, question, expected });
        }
        let Some(expected) = &self.expected else { return Ok(()) };
        let truncated = answer.truncated;
        let Some(records) = answer.records(self.question.kind()) else {
            let fault = "its answer's records cannot be read".to_owned();
            return Err(Failure::Protocol { peer, protocol: "DNS", fault });
        };
        if records.contains(expected) {
            return Ok(());
        }
        let mut quoted: Vec<_> =
            records.iter().take(QUOTED).map(|record| excerpt(&record.to_string())).collect();
        if records.is_empty() {
            quoted.push("nothing".to_owned());
        } else if records.len() > QUOTED {
            quoted.push("…".to_owned());
        }
        let cut = if truncated { " (truncated)" } else { "" };
        Err(Failure::Answer {
            peer,
            answer: format!("{} with {}{cut}", self.question, quoted.join(", ")),
            expected: excerpt(&expected.to_string()),
        })
    }
}

pub(crate) async fn check(probe: &DnsProbe, target: &Target, deadline: &Deadline) -> Result<(), Failure> {
    let id = u16::from_ne_bytes(random()?);
    let socket = Datagrams::udp(target)?;
    socket.send(&probe.query(id))?;
    let answer = async {
        let mut buffer = vec![0; ANSWER_LIMIT];
        loop {
            let length = socket.receive(&mut buffer).await?;
            if let Some(verdict) = probe.verdict(&buffer[..length], id, target.peer()) {
                return verdict;
            }
        }
    };
    deadline.within(Awaited::Answer, answer).await
}
