//! Answers that find no room in the socket's buffer (`ENOBUFS`): what was lost is "unknown", never "done" and never a
//! table that is shorter than the kernel's.

use lvs_ipvs::{
    Client, Command, CommandError, Destination, DestinationSettings, Error, Options, Service, ServiceKey,
    ServiceSettings,
};

use crate::host::{Host, destination};

const SERVICES: u16 = 300;

/// From the kernel's minimum, which holds a few answers, to one that holds most of them; the last loses none.
const BUFFERS: [usize; 4] = [1, 16 << 10, 64 << 10, 4 << 20];

fn key(number: u16) -> ServiceKey {
    ServiceKey::tcp(([192, 0, 2, 10], 10_000 + number))
}

fn add(number: u16) -> [Command; 2] {
    let settings = ServiceSettings::new("wlc");
    let destination = Destination {
        key: destination("192.0.2.11", 10_000 + number),
        settings: DestinationSettings::direct(1),
    };
    [
        Command::NewService(Service { key: key(number), settings }),
        Command::NewDestination { service: key(number), destination },
    ]
}

fn by_ipvsadm() -> Host {
    let host = Host::new();
    let rule = |port| {
        format!("-A -t 192.0.2.10:{port} -s wlc\n-a -t 192.0.2.10:{port} -r 192.0.2.11:{port} -g -w 1\n")
    };
    host.restore(&(10_000..10_000 + SERVICES).map(rule).collect::<String>());
    host
}

fn small(host: &Host, receive_buffer: usize) -> Client {
    host.client_with(&Options { receive_buffer, commands_per_send: 512 })
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn of_each_command_the_truth_is_told_or_that_it_is_unknown() {
    for receive_buffer in BUFFERS {
        let host = Host::new();
        let mut client = small(&host, receive_buffer);
        // Every second service is there already, so that every second command is refused and answered.
        let there: Vec<Command> = (0..SERVICES).step_by(2).flat_map(add).collect();
        assert!(host.client().batch(&there).unwrap().iter().all(Result::is_ok));
        let all: Vec<Command> = (0..SERVICES).flat_map(add).collect();
        let truth = |index: usize| match index / 2 % 2 {
            0 => Err(CommandError::Refused { errno: 17, message: None }),
            _ => Ok(()),
        };
        let results = client.batch(&all).unwrap();
        let unknown = results.iter().filter(|result| **result == Err(CommandError::Unknown)).count();
        println!("a receive buffer of {receive_buffer}: {unknown} of {} unknown", results.len());
        for (index, result) in results.iter().enumerate() {
            assert!(
                *result == truth(index) || *result == Err(CommandError::Unknown),
                "{}: {result:?}, buffer {receive_buffer}",
                all[index]
            );
        }
        assert_eq!(unknown > 0, receive_buffer < 1 << 20, "buffer {receive_buffer}");
        // Unknown does not mean undone.
        let expected = by_ipvsadm();
        assert_eq!(host.everything(), expected.everything(), "buffer {receive_buffer}");
    }
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn who_reads_again_what_was_unknown_and_asks_for_the_rest_gets_the_table_that_was_asked_for() {
    let (host, expected) = (Host::new(), by_ipvsadm());
    let mut client = small(&host, 1);
    // Some are there already: their refusals are what overflows.
    let there: Vec<Command> = (0..SERVICES).step_by(3).flat_map(add).collect();
    assert!(host.client().batch(&there).unwrap().iter().all(Result::is_ok));
    let mut wanted: Vec<Command> = (0..SERVICES).flat_map(add).collect();
    let mut rounds = 0;
    while !wanted.is_empty() {
        rounds += 1;
        assert!(rounds < 10, "{} commands left", wanted.len());
        let results = client.batch(&wanted).unwrap();
        let lost = results.contains(&Err(CommandError::Unknown));
        wanted = if lost { missing(&mut client) } else { Vec::new() };
    }
    println!("{rounds} rounds");
    assert!(rounds < 3, "the first round did it all, and the second had nothing to do");
    assert_eq!(host.everything(), expected.everything());
}

/// What is not in the table, as each service's own answer says.
fn missing(client: &mut Client) -> Vec<Command> {
    let mut missing = Vec::new();
    for number in 0..SERVICES {
        let [service, destination] = add(number);
        if client.service(&key(number)).unwrap().is_none() {
            missing.push(service);
        }
        if client.destinations(&key(number)).unwrap().is_empty() {
            missing.push(destination);
        }
    }
    missing
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn a_dump_through_a_small_buffer_is_whole_or_an_error() {
    let host = by_ipvsadm();
    let all = usize::from(SERVICES) + 2;
    for receive_buffer in BUFFERS {
        let mut client = small(&host, receive_buffer);
        // Its refusals fill the buffer first, and are given up.
        let refused: Vec<Command> = (0..SERVICES).flat_map(add).collect();
        client.batch(&refused).unwrap();
        match client.services() {
            Ok(services) => {
                println!("a receive buffer of {receive_buffer}: all {}", services.len());
                assert_eq!(services.len(), all, "buffer {receive_buffer}");
            }
            Err(error) => {
                println!("a receive buffer of {receive_buffer}: {error}");
                assert!(matches!(error, Error::CutShort { .. }), "{error:?}");
            }
        }
    }
}
