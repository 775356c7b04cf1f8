//! The client: what is asked, and in how many pieces.

use neli::consts::nl::NlmF;
use rustix::io::Errno;

use crate::{
    Command, CommandError, Daemon, DestinationEntry, Error, Info, Options, ServiceEntry, ServiceKey,
    Timeouts,
    socket::{Received, Socket},
    wire::{
        Header,
        attrs::{FAMILY_NAME, cmd},
        decode, encode,
        frame::{self, Answer, Malformed},
    },
};

/// How much one `recv` takes of a dump of services: the most that the kernel puts into one piece.
const SERVICES_DATAGRAM: usize = 32 << 10;

/// How much one `recv` takes of anything else. The kernel allocates each piece of a dump at full length before
/// it knows that a service has three destinations.
const DATAGRAM: usize = 4 << 10;

/// How often a dump is asked for that did not fit.
const DUMP_ATTEMPTS: usize = 3;

/// A connection to the IPVS of the network namespace in which it was made.
///
/// Calls block, mostly for microseconds, but as long as other writers take: one lock guards the IPVS of all
/// namespaces. In an asynchronous program they belong on a thread of their own.
///
/// The family's number is learned once. If `ip_vs` is unloaded and loaded again while a client lives, its calls
/// fail with `ENOENT`; connect again.
#[derive(Debug)]
pub struct Client {
    /// For all but the dump of services: a dump's pieces are as long as the longest `recv` of the socket.
    socket: Socket,
    services: Socket,
    family: u16,
    commands_per_send: usize,
    request: Vec<u8>,
}

/// How an exchange failed.
enum Failure {
    Send(std::io::Error),
    Receive(std::io::Error),
    Refused(CommandError),
    CutShort,
    Malformed(Malformed),
}

impl Failure {
    fn during(self, what: impl Into<String>) -> Error {
        let what = what.into();
        match self {
            Self::Send(source) => Error::Send { what, source },
            Self::Receive(source) => Error::Receive { what, source },
            Self::Refused(source) => Error::Refused { what, source },
            Self::CutShort => Error::CutShort { what },
            Self::Malformed(reason) => Error::Malformed { what, reason: reason.to_string() },
        }
    }

    fn is_refusal(&self, errno: Errno) -> bool {
        matches!(self, Self::Refused(error) if error.errno() == Some(errno.raw_os_error()))
    }
}

impl Client {
    /// Connects, with large buffers. The kernel loads `ip_vs` if it is not there.
    pub fn connect() -> Result<Self, Error> {
        Self::connect_with(&Options::default())
    }

    /// Connects with buffers of another size.
    pub fn connect_with(options: &Options) -> Result<Self, Error> {
        let mut socket = Socket::open(options.receive_buffer, DATAGRAM).map_err(Error::Open)?;
        let services = Socket::open(options.receive_buffer, SERVICES_DATAGRAM).map_err(Error::Open)?;
        let mut request = Vec::new();
        let sequence = socket.take_sequence(1);
        encode::family(&mut request, sequence, NlmF::ACK, FAMILY_NAME);
        let family = match exchange(&mut socket, &request, sequence, decode::family) {
            Ok(families) => families.first().copied().ok_or(Error::NotAvailable)?,
            Err(failure) if failure.is_refusal(Errno::NOENT) => return Err(Error::NotAvailable),
            Err(failure) => return Err(failure.during("find the IPVS family")),
        };
        let commands_per_send = options.commands_per_send.clamp(1, 512);
        Ok(Self { socket, services, family, commands_per_send, request })
    }

    /// What the kernel says about its IPVS.
    pub fn info(&mut self) -> Result<Info, Error> {
        let what = "read the version of IPVS";
        self.get(cmd::GET_INFO, None, decode::info).map_err(|failure| failure.during(what))
    }

    /// All services, in the order of the kernel's hash table.
    ///
    /// A dump is not a snapshot. Between its pieces the kernel keeps its place by counting services, those of all
    /// network namespaces (`ip_vs_genl_dump_services`): whoever adds or deletes one meanwhile, anywhere, can make
    /// others be left out or come twice, and nothing tells. So that a service is missing here does not prove that
    /// it is gone: before you forget one, or conclude anything else from its absence, ask [`Client::service`],
    /// which is exact.
    pub fn services(&mut self) -> Result<Vec<ServiceEntry>, Error> {
        self.dump(cmd::GET_SERVICE, None, decode::service)
            .map_err(|failure| failure.during("read the services"))
    }

    /// One service; `None` if it is not there.
    pub fn service(&mut self, key: &ServiceKey) -> Result<Option<ServiceEntry>, Error> {
        match self.get(cmd::GET_SERVICE, Some(key), decode::service) {
            Ok(entry) => Ok(Some(entry)),
            Err(failure) if failure.is_refusal(Errno::SRCH) => Ok(None),
            Err(failure) => Err(failure.during(format!("read service {key}"))),
        }
    }

    /// The destinations of a service. For a service that is not there the kernel reports none.
    ///
    /// From a dozen destinations on the answer comes in pieces. Between them the kernel keeps its place by counting
    /// the destinations of this service (`ip_vs_genl_dump_dests`), so one that is deleted meanwhile can hide another.
    pub fn destinations(&mut self, service: &ServiceKey) -> Result<Vec<DestinationEntry>, Error> {
        let family = service.family();
        self.dump(cmd::GET_DEST, Some(service), |data| decode::destination(data, family))
            .map_err(|failure| failure.during(format!("read the destinations of {service}")))
    }

    /// The timeouts of connections.
    pub fn timeouts(&mut self) -> Result<Timeouts, Error> {
        self.get(cmd::GET_CONFIG, None, decode::timeouts)
            .map_err(|failure| failure.during("read the timeouts"))
    }

    /// The synchronisation daemons that run: none, one, or one of each role.
    pub fn daemons(&mut self) -> Result<Vec<Daemon>, Error> {
        self.dump(cmd::GET_DAEMON, None, decode::daemon)
            .map_err(|failure| failure.during("read the sync daemons"))
    }

    /// Carries out one command.
    pub fn execute(&mut self, command: &Command) -> Result<(), Error> {
        let mut results = self.batch(std::slice::from_ref(command))?;
        match results.pop() {
            Some(Err(CommandError::Unknown)) => Err(Error::CutShort { what: command.to_string() }),
            Some(Err(source)) => Err(Error::Refused { what: command.to_string(), source }),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Carries out every command in order, whatever becomes of the others, and says what became of each:
    /// there are as many results as commands. Nothing is undone when one fails.
    ///
    /// An error of the whole batch means that the socket failed on the way. What was sent before it was
    /// carried out, so read the table again.
    pub fn batch(&mut self, commands: &[Command]) -> Result<Vec<Result<(), CommandError>>, Error> {
        let mut results = Vec::with_capacity(commands.len());
        for chunk in commands.chunks(self.commands_per_send) {
            self.send_chunk(chunk, &mut results)
                .map_err(|failure| failure.during(format!("carry out {} commands", commands.len())))?;
        }
        Ok(results)
    }

    /// Sends commands at once and asks for one acknowledgement, of the last. Refusals come back anyway, so no
    /// news of the others is good news, unless answers were lost.
    fn send_chunk(
        &mut self,
        chunk: &[Command],
        results: &mut Vec<Result<(), CommandError>>,
    ) -> Result<(), Failure> {
        let first = self.socket.take_sequence(chunk.len());
        let last = chunk.len() - 1;
        self.request.clear();
        for (index, command) in chunk.iter().enumerate() {
            let flags = if index == last { NlmF::ACK } else { NlmF::empty() };
            let header = Header { family: self.family, flags, sequence: first.wrapping_add(index as u32) };
            encode::command(&mut self.request, header, command);
        }
        self.socket.send(&self.request).map_err(Failure::Send)?;

        let mut answers: Vec<Option<Result<(), CommandError>>> = vec![None; chunk.len()];
        let mut complete = true;
        while answers[last].is_none() || !complete {
            let datagram = match self.socket.receive().map_err(Failure::Receive)? {
                Received::Datagram(datagram) => datagram,
                Received::Overrun | Received::Truncated => {
                    complete = false;
                    continue;
                }
                Received::Empty => break,
            };
            for message in frame::messages(datagram) {
                let message = message.map_err(Failure::Malformed)?;
                let index = message.sequence.wrapping_sub(first) as usize;
                // Another sequence number answers an earlier request that was given up.
                let Some(answer) = answers.get_mut(index) else { continue };
                match message.answer {
                    Answer::Done => *answer = Some(Ok(())),
                    Answer::Refused(error) => *answer = Some(Err(error)),
                    Answer::Data(_) => {}
                }
            }
        }
        let nothing_lost = complete && answers[last].is_some();
        let silence = if nothing_lost { Ok(()) } else { Err(CommandError::Unknown) };
        results.extend(answers.into_iter().map(|answer| answer.unwrap_or_else(|| silence.clone())));
        Ok(())
    }

    /// Asks for one thing.
    fn get<T>(
        &mut self,
        command: u8,
        about: Option<&ServiceKey>,
        decode: impl FnMut(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T, Failure> {
        let sequence = self.socket.take_sequence(1);
        self.request.clear();
        let header = Header { family: self.family, flags: NlmF::ACK, sequence };
        encode::question(&mut self.request, header, command, about);
        let mut found = exchange(&mut self.socket, &self.request, sequence, decode)?;
        found.pop().ok_or(Failure::CutShort)
    }

    /// Asks for everything of a kind. What did not fit is asked for again, with the longer buffer.
    fn dump<T>(
        &mut self,
        command: u8,
        about: Option<&ServiceKey>,
        mut decode: impl FnMut(&[u8]) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Failure> {
        let socket = if command == cmd::GET_SERVICE { &mut self.services } else { &mut self.socket };
        let mut result = Err(Failure::CutShort);
        for _ in 0..DUMP_ATTEMPTS {
            let sequence = socket.take_sequence(1);
            self.request.clear();
            let header = Header { family: self.family, flags: NlmF::DUMP, sequence };
            encode::question(&mut self.request, header, command, about);
            result = exchange(socket, &self.request, sequence, &mut decode);
            if !matches!(result, Err(Failure::CutShort)) {
                break;
            }
        }
        result
    }
}

/// Sends one request and collects what answers it, up to the acknowledgement or the end of the dump. Whatever
/// goes wrong, the queue is read empty: the kernel goes on with a dump only as it is read, and refuses another
/// until then.
fn exchange<T>(
    socket: &mut Socket,
    request: &[u8],
    sequence: u32,
    mut decode: impl FnMut(&[u8]) -> Result<T, Malformed>,
) -> Result<Vec<T>, Failure> {
    socket.send(request).map_err(Failure::Send)?;
    let mut found = Vec::new();
    let mut failure = None;
    loop {
        let datagram = match socket.receive().map_err(Failure::Receive)? {
            Received::Datagram(datagram) => datagram,
            Received::Overrun | Received::Truncated => {
                failure.get_or_insert(Failure::CutShort);
                continue;
            }
            // The last answer was lost.
            Received::Empty => return Err(failure.unwrap_or(Failure::CutShort)),
        };
        for message in frame::messages(datagram) {
            let outcome = message.and_then(|message| match message.answer {
                _ if message.sequence != sequence => Ok(None),
                Answer::Data(data) => decode(data).map(|value| {
                    found.push(value);
                    None
                }),
                Answer::Done => Ok(Some(Ok(()))),
                Answer::Refused(error) => Ok(Some(Err(error))),
            });
            match outcome {
                Ok(None) => {}
                Ok(Some(Ok(()))) => return failure.map_or(Ok(found), Err),
                Ok(Some(Err(error))) => return Err(failure.unwrap_or(Failure::Refused(error))),
                Err(malformed) => failure = Some(failure.unwrap_or(Failure::Malformed(malformed))),
            }
        }
    }
}
