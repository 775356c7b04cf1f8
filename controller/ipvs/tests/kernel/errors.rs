//! How the kernel says no.

use lvs_ipvs::{
    Command, CommandError, Destination, DestinationSettings, Error, Netmask, Options, Persistence, Protocol,
    Service, ServiceKey, ServiceSettings,
};
use rustix::{
    io::Errno,
    thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities},
};

use crate::host::{Host, destination};

fn web() -> ServiceKey {
    ServiceKey::tcp(([192, 0, 2, 10], 80))
}

fn new(key: ServiceKey, scheduler: &str) -> Command {
    Command::NewService(Service { key, settings: ServiceSettings::new(scheduler) })
}

fn to(address: &str, settings: DestinationSettings) -> Destination {
    Destination { key: destination(address, 80), settings }
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn each_refusal_has_the_errno_that_the_command_names() {
    let host = Host::new();
    let mut client = host.client();
    let one = DestinationSettings::direct(1);
    let existing = to("192.0.2.11", one);
    for command in [new(web(), "rr"), Command::NewDestination { service: web(), destination: existing }] {
        client.execute(&command).unwrap();
    }
    let before = host.everything();

    let absent = ServiceKey::udp(([192, 0, 2, 10], 80));
    let stranger = to("192.0.2.12", one);
    let engine = ServiceSettings { engine: Some("nosuch".to_owned()), ..ServiceSettings::new("rr") };
    let long = ServiceSettings::new("a-name-of-16-b-x");
    let v6 =
        ServiceKey::Address { address: "2001:db8::10".parse().unwrap(), protocol: Protocol::Tcp, port: 80 };
    let wide = Persistence { timeout_seconds: 60, netmask: Netmask::Ipv6(129) };
    let wide = ServiceSettings { persistence: Some(wide), ..ServiceSettings::new("rr") };
    let thresholds = DestinationSettings { upper_threshold: 1, lower_threshold: 2, ..one };
    let cases = [
        (new(web(), "wlc"), Errno::EXIST),
        (new(absent, "nosuch"), Errno::NOENT),
        (Command::NewService(Service { key: absent, settings: engine }), Errno::NOENT),
        (Command::NewService(Service { key: v6, settings: wide }), Errno::INVAL),
        (Command::SetService(Service { key: absent, settings: ServiceSettings::new("rr") }), Errno::SRCH),
        (Command::DelService(absent), Errno::SRCH),
        (Command::Zero(Some(absent)), Errno::SRCH),
        (Command::NewDestination { service: absent, destination: existing }, Errno::SRCH),
        (Command::NewDestination { service: web(), destination: existing }, Errno::EXIST),
        (Command::SetDestination { service: web(), destination: stranger }, Errno::NOENT),
        (Command::DelDestination { service: web(), destination: stranger.key }, Errno::NOENT),
        (Command::NewDestination { service: web(), destination: to("192.0.2.12", thresholds) }, Errno::RANGE),
        (
            Command::SetDestination {
                service: web(),
                destination: to("192.0.2.11", DestinationSettings::direct(1 << 31)),
            },
            Errno::RANGE,
        ),
        (Command::NewDestination { service: web(), destination: to("192.0.2.255", one) }, Errno::INVAL),
        (Command::NewDestination { service: web(), destination: to("224.0.0.1", one) }, Errno::INVAL),
        (Command::NewDestination { service: web(), destination: to("2001:db8::11", one) }, Errno::INVAL),
    ];
    let commands: Vec<Command> = cases.iter().map(|(command, _)| command.clone()).collect();
    let results = client.batch(&commands).unwrap();
    for ((command, errno), result) in cases.iter().zip(results) {
        let got = result.as_ref().err().and_then(CommandError::errno);
        assert_eq!(got, Some(errno.raw_os_error()), "{command}: {result:?}");
    }

    // The policy of the attribute refuses this one, and newer kernels say so in words.
    let refused =
        client.batch(&[Command::NewService(Service { key: absent, settings: long })]).unwrap().remove(0);
    println!("a name of 16 bytes: {}", refused.as_ref().unwrap_err());
    assert!(matches!(refused, Err(CommandError::Refused { .. })), "{refused:?}");

    assert_eq!(host.everything(), before);
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn a_destination_without_a_route_is_not_refused() {
    let host = Host::new();
    let mut client = host.client();
    let unreachable = to("203.0.113.7", DestinationSettings::direct(1));
    client.execute(&new(web(), "rr")).unwrap();
    client.execute(&Command::NewDestination { service: web(), destination: unreachable }).unwrap();
    assert_eq!(client.destinations(&web()).unwrap().remove(0).destination, unreachable);
    assert!(host.run(|| std::net::UdpSocket::bind("0.0.0.0:0").unwrap().connect("203.0.113.7:80")).is_err());
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn a_refusal_names_the_command() {
    let host = Host::new();
    let refused = host.client().execute(&Command::DelService(web())).unwrap_err();
    assert_eq!(refused.to_string(), "the kernel refused to delete service TCP 192.0.2.10:80");
    let source = std::error::Error::source(&refused).unwrap().to_string();
    assert_eq!(source, "No such process (os error 3)");
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn without_the_capability_reading_is_refused_and_the_error_names_it() {
    let host = Host::new();
    let error = host.run(|| {
        let now = capabilities(None).unwrap();
        let kept = now.effective - CapabilitySet::NET_ADMIN;
        set_capabilities(None, CapabilitySets { effective: kept, ..now }).unwrap();
        let mut client = lvs_ipvs::Client::connect().unwrap();
        client.services().unwrap_err()
    });
    let Error::Refused { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.errno(), Some(Errno::PERM.raw_os_error()));
    assert!(source.to_string().contains("CAP_NET_ADMIN in the initial user namespace"), "{source}");
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn answers_that_did_not_fit_are_unknown_and_the_commands_were_carried_out() {
    let host = Host::new();
    // The kernel makes it its minimum, which holds three or four refusals.
    let mut client = host.client_with(&Options { receive_buffer: 1, ..Options::default() });
    let mut commands = vec![Command::DelService(ServiceKey::tcp(([192, 0, 2, 99], 1))); 200];
    commands.push(new(web(), "rr"));

    let results = client.batch(&commands).unwrap();
    assert_eq!(results.len(), commands.len());
    let unknown = results.iter().filter(|result| **result == Err(CommandError::Unknown)).count();
    let refused =
        results.iter().filter(|result| matches!(result, Err(CommandError::Refused { errno: 3, .. }))).count();
    println!("of {} commands {refused} refused, {unknown} unknown", commands.len());
    assert_eq!(results.last(), Some(&Err(CommandError::Unknown)));
    assert!(refused > 0 && unknown > 0 && refused + unknown == commands.len(), "{results:?}");

    // It was carried out all the same, and the next answers are not mixed up with the old.
    assert!(client.service(&web()).unwrap().is_some());
    assert_eq!(client.batch(&[Command::DelService(web())]).unwrap(), [Ok(())]);
    assert_eq!(client.service(&web()).unwrap(), None);
    assert_eq!(client.services().unwrap().len(), 2);
}
