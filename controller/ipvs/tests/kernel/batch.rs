//! Many commands at once.

use std::{fmt::Write as _, time::Instant};

use lvs_ipvs::{
    Command, CommandError, Destination, DestinationSettings, Options, Service, ServiceKey, ServiceSettings,
};

use crate::host::{Host, destination};

const SERVICES: u16 = 1000;
const DESTINATIONS: u8 = 4;

fn key(number: u16) -> ServiceKey {
    ServiceKey::tcp(([192, 0, 2, 10], 10_000 + number))
}

fn table() -> Vec<Command> {
    let mut commands = Vec::new();
    for number in 0..SERVICES {
        let settings = ServiceSettings::new("wlc");
        commands.push(Command::NewService(Service { key: key(number), settings }));
        commands.extend((1..=DESTINATIONS).map(|last| add(number, last)));
    }
    commands
}

fn add(number: u16, last: u8) -> Command {
    let key = destination(&format!("192.0.2.{}", 10 + last), 10_000 + number);
    let destination = Destination { key, settings: DestinationSettings::direct(u32::from(last)) };
    Command::NewDestination { service: self::key(number), destination }
}

fn rules() -> String {
    let mut rules = String::new();
    for port in 10_000..10_000 + SERVICES {
        writeln!(rules, "-A -t 192.0.2.10:{port} -s wlc").unwrap();
        for last in 1..=DESTINATIONS {
            writeln!(rules, "-a -t 192.0.2.10:{port} -r 192.0.2.{}:{port} -g -w {last}", 10 + last).unwrap();
        }
    }
    rules
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn errors_in_the_middle_of_a_thousand_services_belong_to_their_commands() {
    let (ours, theirs) = (Host::new(), Host::new());
    let start = Instant::now();
    theirs.restore(&rules());
    let their_time = start.elapsed();

    let mut client = ours.client();
    let good = table();
    let start = Instant::now();
    assert!(client.batch(&good).unwrap().iter().all(Result::is_ok));
    let our_time = start.elapsed();
    println!("{} commands: {our_time:?}, ipvsadm -R {their_time:?}", good.len());
    let expected = theirs.everything();
    assert_eq!(ours.everything(), expected);

    let start = Instant::now();
    let read = client.services().unwrap();
    let services_time = start.elapsed();
    assert_eq!(read.len(), usize::from(SERVICES) + 2);
    let start = Instant::now();
    let found: usize = read.iter().map(|entry| client.destinations(&entry.service.key).unwrap().len()).sum();
    println!(
        "reading: services {services_time:?}, {found} destinations one service at a time {:?}",
        start.elapsed()
    );

    // The same once more, with commands that succeed strewn among thousands of refusals, and one of each kind of
    // refusal in between.
    let mut mixed = good;
    let mut answers: Vec<Result<(), i32>> = vec![Err(17); mixed.len()];
    for (at, command, answer) in [
        (4321, Command::DelService(ServiceKey::udp(([192, 0, 2, 10], 1))), Err(3)),
        (
            2500,
            Command::DelDestination { service: key(7), destination: destination("192.0.2.99", 1) },
            Err(2),
        ),
        (
            1024,
            Command::SetService(Service { key: key(3), settings: ServiceSettings::new("nosuch") }),
            Err(2),
        ),
        (256, Command::SetService(Service { key: key(5), settings: ServiceSettings::new("wlc") }), Ok(())),
        (255, Command::Zero(Some(key(5))), Ok(())),
        (0, Command::Zero(Some(key(6))), Ok(())),
    ] {
        mixed.insert(at, command);
        answers.insert(at, answer);
    }
    let results = client.batch(&mixed).unwrap();
    let got: Vec<Result<(), i32>> = results
        .into_iter()
        .map(|result| result.map_err(|error| error.errno().expect("no answer was lost")))
        .collect();
    assert_eq!(got, answers);
    assert_eq!(ours.everything(), expected);
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn the_size_of_a_piece_changes_nothing_but_the_time() {
    let commands: Vec<Command> = table().into_iter().take(600).collect();
    let mut tables = Vec::new();
    for commands_per_send in [1, 7, 64, 256, 512] {
        let host = Host::new();
        let mut client = host.client_with(&Options { commands_per_send, ..Options::default() });
        let start = Instant::now();
        let first = client.batch(&commands).unwrap();
        println!("{commands_per_send} commands a send: {:?} for {}", start.elapsed(), commands.len());
        assert!(first.iter().all(Result::is_ok));
        let again = client.batch(&commands).unwrap();
        let exists = CommandError::Refused { errno: 17, message: None };
        assert!(again.iter().all(|result| *result == Err(exists.clone())));
        tables.push(host.everything());
    }
    assert!(tables.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn an_empty_batch_is_answered() {
    assert_eq!(Host::new().client().batch(&[]).unwrap(), []);
}
