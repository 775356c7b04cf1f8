//! A host: a network namespace with a link and services of others.

use std::{
    cell::RefCell,
    fs::File,
    io::Write as _,
    net::IpAddr,
    os::fd::AsFd,
    process::{Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use lvs_ipvs::{Client, DestinationKey, Forwarding, Options, Protocol, ServiceKey};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A dump goes on where it stopped by counting the services of **all** namespaces (`ip_vs_genl_dump_services`), so
/// a test that adds or deletes makes the dumps of others miss services, ours and those of `ipvsadm`. While a test
/// has hosts, no other test has any.
static ONE_TEST_AT_A_TIME: Mutex<()> = Mutex::new(());

thread_local! {
    static TURN: RefCell<(usize, Option<MutexGuard<'static, ()>>)> = const { RefCell::new((0, None)) };
}

fn take_turn() {
    TURN.with_borrow_mut(|(hosts, turn)| {
        *hosts += 1;
        turn.get_or_insert_with(|| ONE_TEST_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner));
    });
}

fn give_turn_back() {
    TURN.with_borrow_mut(|(hosts, turn)| {
        *hosts -= 1;
        if *hosts == 0 {
            *turn = None;
        }
    });
}

/// What belongs to others, in every namespace, before a test begins. The address and the mark are theirs alone.
const FOREIGN: &str = "-A -f 4242 -s rr\n\
                       -a -f 4242 -r 192.0.2.201 -g -w 7 -x 9 -y 5\n\
                       -A -t 203.0.113.99:9999 -s sh -b sh-port -p 77 -M 255.255.0.0\n\
                       -a -t 203.0.113.99:9999 -r 192.0.2.202:9999 -i -w 3 --tun-type gue --tun-port 7777\n\
                       -a -t 203.0.113.99:9999 -r 192.0.2.203:9999 -m -w 0\n";

/// A namespace; gone when the value is dropped, which first checks that what belongs to others is as it was.
pub(crate) struct Host {
    name: String,
    foreign: String,
}

impl Host {
    /// A host with `192.0.2.1/24` and `2001:db8::1/64` on a link of its own.
    pub(crate) fn new() -> Self {
        take_turn();
        let name = format!("lvs-ipvs-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        ip(&format!("netns add {name}"));
        let mut host = Self { name, foreign: String::new() };
        for arguments in [
            "link set lo up",
            "link add d0 type dummy",
            "link set d0 up",
            "address add 192.0.2.1/24 dev d0",
            "address add 2001:db8::1/64 dev d0 nodad",
        ] {
            ip(&format!("-n {} {arguments}", host.name));
        }
        host.restore(FOREIGN);
        host.foreign = host.foreign_lines();
        assert_eq!(host.foreign.lines().count(), 2 * FOREIGN.lines().count(), "{}", host.foreign);
        host
    }

    /// Runs `body` on a thread that is in this namespace. Sockets that it opens stay there.
    pub(crate) fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name);
        let inside = move || {
            let namespace = File::open(path).unwrap();
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            body()
        };
        thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    pub(crate) fn client(&self) -> Client {
        self.client_with(&Options::default())
    }

    pub(crate) fn client_with(&self, options: &Options) -> Client {
        self.run(|| Client::connect_with(options)).unwrap()
    }

    /// Runs `ipvsadm` and gives what it printed.
    pub(crate) fn ipvsadm(&self, arguments: &str) -> String {
        self.run(|| run(Command::new("ipvsadm").args(arguments.split_whitespace()), ""))
    }

    /// Feeds rules to `ipvsadm -R`.
    pub(crate) fn restore(&self, rules: &str) {
        self.run(|| run(Command::new("ipvsadm").arg("-R"), rules));
    }

    /// Runs `ip` in this namespace.
    pub(crate) fn ip(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.name));
    }

    /// All that `ipvsadm` can say about this table, in an order that does not depend on the namespace: rules,
    /// thresholds, tunnels.
    pub(crate) fn everything(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.ipvsadm("-Sn").lines().map(str::to_owned).collect();
        lines.sort();
        for listing in ["-Ln --thresholds", "-Ln --tun-info"] {
            lines.extend(self.ipvsadm(listing).lines().map(|line| line.trim_end().to_owned()));
        }
        lines
    }

    fn foreign_lines(&self) -> String {
        let theirs =
            |line: &&str| ["4242", "203.0.113.99", "192.0.2.20"].iter().any(|mark| line.contains(mark));
        let listings = [self.ipvsadm("-Sn"), self.ipvsadm("-Ln --thresholds")];
        let mut lines: Vec<&str> = listings.iter().flat_map(|text| text.lines().filter(theirs)).collect();
        lines.sort_unstable();
        lines.join("\n")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // An unwinding test has said what is wrong already.
        let now = if thread::panicking() { self.foreign.clone() } else { self.foreign_lines() };
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
        give_turn_back();
        assert_eq!(now, self.foreign, "what belongs to others changed");
    }
}

/// `-t 192.0.2.10:80`, as `ipvsadm` takes and prints it.
pub(crate) fn service_arguments(key: &ServiceKey) -> String {
    match key {
        ServiceKey::Address { address, protocol, port } => {
            let flag = match protocol {
                Protocol::Tcp => "-t",
                Protocol::Udp => "-u",
                Protocol::Sctp => "--sctp-service",
                Protocol::Other(number) => panic!("ipvsadm has no protocol {number}"),
            };
            format!("{flag} {}", std::net::SocketAddr::new(*address, *port))
        }
        ServiceKey::FirewallMark { mark, family: lvs_ipvs::Family::Ipv4 } => format!("-f {mark}"),
        ServiceKey::FirewallMark { mark, family: lvs_ipvs::Family::Ipv6 } => format!("-f {mark} -6"),
    }
}

/// The flag of a forwarding method.
pub(crate) fn forwarding_flag(forwarding: Forwarding) -> &'static str {
    match forwarding {
        Forwarding::Masquerade => "-m",
        Forwarding::Tunnel(_) => "-i",
        Forwarding::Direct => "-g",
        other => panic!("ipvsadm cannot ask for {other:?}"),
    }
}

/// The key of a destination.
pub(crate) fn destination(address: &str, port: u16) -> DestinationKey {
    DestinationKey { address: address.parse::<IpAddr>().unwrap(), port }
}

/// Asks again and again until `probe` has an answer; fails after 10 s.
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "not within 10 s: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn ip(arguments: &str) {
    run(Command::new("ip").args(arguments.split_whitespace()), "");
}

fn run(command: &mut Command, input: &str) -> String {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.trim().is_empty(), "{command:?} failed: {}", errors.trim_end());
    String::from_utf8(output.stdout).unwrap()
}
