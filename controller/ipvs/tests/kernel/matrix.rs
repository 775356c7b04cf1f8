//! Every protocol with every scheduler in both families.

use std::{fmt::Write as _, process};

use lvs_ipvs::{Command, Destination, DestinationSettings, Protocol, Service, ServiceKey, ServiceSettings};

use crate::{
    host::{Host, destination, forwarding_flag, service_arguments},
    list,
};

const SCHEDULERS: [&str; 14] =
    ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos"];

fn has_module(scheduler: &str) -> bool {
    let module = format!("ip_vs_{scheduler}");
    process::Command::new("modprobe").args(["-n", "-q", &module]).status().unwrap().success()
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn every_protocol_scheduler_and_family_is_to_ipvsadm_as_if_it_had_made_it() {
    let (ours, theirs) = (Host::new(), Host::new());
    let (there, missing): (Vec<&str>, Vec<&str>) = SCHEDULERS.iter().partition(|name| has_module(name));
    let (mut commands, mut rules, mut asked) = (Vec::new(), String::new(), Vec::new());
    for (number, scheduler) in (0..).zip(&there) {
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            for (vip, rips) in [
                ("192.0.2.10", ["192.0.2.11", "192.0.2.12"]),
                ("2001:db8::10", ["2001:db8::11", "2001:db8::12"]),
            ] {
                let port = 1000 + number;
                let key = ServiceKey::Address { address: vip.parse().unwrap(), protocol, port };
                let service = Service { key, settings: ServiceSettings::new(*scheduler) };
                commands.push(Command::NewService(service.clone()));
                writeln!(rules, "-A {} -s {scheduler}", service_arguments(&key)).unwrap();
                let mut destinations = Vec::new();
                for (weight, rip) in (1..).zip(rips) {
                    let destination = Destination {
                        key: destination(rip, port),
                        settings: DestinationSettings::direct(weight),
                    };
                    commands.push(Command::NewDestination { service: key, destination });
                    let method = forwarding_flag(destination.settings.forwarding);
                    let service = service_arguments(&key);
                    writeln!(rules, "-a {service} -r {} {method} -w {weight}", destination.key).unwrap();
                    destinations.push(destination);
                }
                asked.push((service, destinations));
            }
        }
    }
    theirs.restore(&rules);
    let mut client = ours.client();
    assert!(client.batch(&commands).unwrap().iter().all(Result::is_ok));

    assert_eq!(ours.everything(), theirs.everything());
    for host in [&ours, &theirs] {
        let mut client = host.client();
        for (service, destinations) in &asked {
            assert_eq!(client.service(&service.key).unwrap().unwrap().service, *service);
            let mut read: Vec<Destination> = client
                .destinations(&service.key)
                .unwrap()
                .into_iter()
                .map(|entry| entry.destination)
                .collect();
            read.sort_by_key(|destination| destination.key);
            assert_eq!(read, *destinations);
        }
        // Two services are of others.
        assert_eq!(client.services().unwrap().len(), asked.len() + 2);
        assert_eq!(list::list(&mut client).unwrap(), host.ipvsadm("-Ln"));
    }

    for scheduler in missing {
        println!("this kernel has no module ip_vs_{scheduler}");
        let service = Service {
            key: ServiceKey::tcp(([192, 0, 2, 10], 80)),
            settings: ServiceSettings::new(scheduler),
        };
        let refused = client.batch(&[Command::NewService(service)]).unwrap().remove(0).unwrap_err();
        assert_eq!(refused.errno(), Some(2), "{refused}");
    }
    println!("{} services with {} schedulers", asked.len(), there.len());
}
