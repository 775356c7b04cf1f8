//! Between the values of the plan and those of the kernel's libraries.

use std::borrow::Cow;

use lvs_ipvs::{Command, CommandError, SchedulerFlags};
use lvs_plan::service::PersistenceSettings;
use lvs_plan::step::{Step, StepError};
use lvs_plan::{
    DestinationKey, DestinationSettings, Family, Forwarding, Service, ServiceKey, ServiceSettings,
    service::Protocol,
};
use rustix::io::Errno;

use crate::chain::chain;
use crate::kernel::Connections;

/// The IPVS command of a step; `None` for a step about an address.
pub(super) fn command(step: &Step) -> Option<Command> {
    Some(match step {
        Step::NewService { key, settings } => Command::NewService(kernel_service(key, settings)),
        Step::SetService { key, settings } => Command::SetService(kernel_service(key, settings)),
        Step::NewDestination { key, destination, settings } => Command::NewDestination {
            service: self::key(key),
            destination: kernel_destination(destination, settings),
        },
        Step::SetDestination { key, destination, settings } => Command::SetDestination {
            service: self::key(key),
            destination: kernel_destination(destination, settings),
        },
        Step::DelDestination { key, destination } => {
            Command::DelDestination { service: self::key(key), destination: destination_key(destination) }
        }
        Step::DelService { key } => Command::DelService(self::key(key)),
        Step::BindVip { .. } | Step::UnbindVip { .. } => return None,
    })
}

/// What became of an IPVS command that did not succeed.
#[allow(clippy::needless_pass_by_value)] // it stands in map_err
pub(super) fn step_error(error: CommandError) -> StepError {
    let text = error.to_string();
    match error {
        CommandError::Refused { errno, .. } => StepError::Kernel { errno, text },
        CommandError::Unknown => StepError::Unknown(text),
    }
}

/// What became of an address that was not bound or unbound.
pub(super) fn address_error(error: &lvs_net::Error) -> StepError {
    let errno = match error {
        lvs_net::Error::AlreadyBound { .. } => Some(Errno::EXIST),
        lvs_net::Error::NotBound { .. } => Some(Errno::ADDRNOTAVAIL),
        lvs_net::Error::NoSuchLink { .. } => Some(Errno::NODEV),
        lvs_net::Error::Ipv6Disabled { .. } => Some(Errno::ACCESS),
        lvs_net::Error::NotPermitted { .. } => Some(Errno::PERM),
        lvs_net::Error::Refused { source, .. } => Errno::from_io_error(source),
        // The rest are failures between us and the kernel, which say nothing of the address.
        _ => None,
    };
    let text = chain(error);
    match errno {
        Some(errno) => StepError::Kernel { errno: errno.raw_os_error(), text },
        None => StepError::Unknown(text),
    }
}

/// The key as the kernel knows it.
pub(crate) fn key(key: &ServiceKey) -> lvs_ipvs::ServiceKey {
    match *key {
        ServiceKey::Address { vip, protocol, port } => lvs_ipvs::ServiceKey::Address {
            address: vip,
            protocol: match protocol {
                Protocol::Tcp => lvs_ipvs::Protocol::Tcp,
                Protocol::Udp => lvs_ipvs::Protocol::Udp,
                Protocol::Sctp => lvs_ipvs::Protocol::Sctp,
            },
            port,
        },
        ServiceKey::FirewallMark { mark, family } => {
            lvs_ipvs::ServiceKey::FirewallMark { mark, family: kernel_family(family) }
        }
    }
}

/// A service that the kernel reported; `None` if its protocol is none that a VirtualService can have, so that it
/// can be neither ours nor in our way.
pub(super) fn service(
    service: &lvs_ipvs::Service,
    destinations: &[lvs_ipvs::DestinationEntry],
) -> Option<(ServiceKey, Service)> {
    let lvs_ipvs::Service { key, settings } = service;
    let destinations = destinations.iter().map(|entry| {
        let lvs_ipvs::Destination { key, settings } = &entry.destination;
        (DestinationKey { address: key.address, port: key.port }, plan_destination(settings))
    });
    let service = Service { settings: plan_settings(settings), destinations: destinations.collect() };
    Some((plan_key(key)?, service))
}

/// How many connections a destination has.
pub(super) fn connections(entry: &lvs_ipvs::DestinationEntry) -> (DestinationKey, Connections) {
    let lvs_ipvs::DestinationKey { address, port } = entry.destination.key;
    let (active, inactive) = (entry.active_connections, entry.inactive_connections);
    (DestinationKey { address, port }, Connections { active, inactive })
}

/// The key as the plan knows it; `None` if no VirtualService can have it.
pub(crate) fn plan_key(key: &lvs_ipvs::ServiceKey) -> Option<ServiceKey> {
    Some(match *key {
        lvs_ipvs::ServiceKey::Address { address, protocol, port } => ServiceKey::Address {
            vip: address,
            protocol: match protocol {
                lvs_ipvs::Protocol::Tcp => Protocol::Tcp,
                lvs_ipvs::Protocol::Udp => Protocol::Udp,
                lvs_ipvs::Protocol::Sctp => Protocol::Sctp,
                lvs_ipvs::Protocol::Other(_) => return None,
            },
            port,
        },
        lvs_ipvs::ServiceKey::FirewallMark { mark, family } => ServiceKey::FirewallMark {
            mark,
            family: match family {
                lvs_ipvs::Family::Ipv4 => Family::IPv4,
                lvs_ipvs::Family::Ipv6 => Family::IPv6,
            },
        },
    })
}

fn plan_settings(settings: &lvs_ipvs::ServiceSettings) -> ServiceSettings {
    let lvs_ipvs::ServiceSettings { scheduler, scheduler_flags, one_packet, persistence, engine } = settings;
    ServiceSettings {
        scheduler: Cow::Owned(scheduler.clone()),
        one_packet: *one_packet,
        scheduler_flags: scheduler_flags.bits(),
        persistence: persistence.map(|persistence| PersistenceSettings {
            timeout_seconds: persistence.timeout_seconds,
            // A mask with holes has no length. 0 is one that no object asks for, so it is seen as a difference.
            prefix_length: persistence.netmask.prefix_length().unwrap_or(0),
            engine: engine.clone().map(Cow::Owned),
        }),
    }
}

fn plan_destination(settings: &lvs_ipvs::DestinationSettings) -> DestinationSettings {
    let lvs_ipvs::DestinationSettings { forwarding, weight, upper_threshold, lower_threshold } = *settings;
    DestinationSettings {
        weight,
        forwarding: match forwarding {
            lvs_ipvs::Forwarding::Direct => Forwarding::Direct,
            lvs_ipvs::Forwarding::Local => Forwarding::Local,
            lvs_ipvs::Forwarding::Tunnel(_) => Forwarding::Tunnel,
            lvs_ipvs::Forwarding::Masquerade => Forwarding::Masquerade,
            // What matters of an unknown method is that it is not direct routing.
            lvs_ipvs::Forwarding::Bypass | lvs_ipvs::Forwarding::Other(_) => Forwarding::Bypass,
        },
        upper_threshold,
        lower_threshold,
    }
}

fn kernel_service(key: &ServiceKey, settings: &ServiceSettings) -> lvs_ipvs::Service {
    let ServiceSettings { scheduler, one_packet, scheduler_flags, persistence, .. } = settings;
    let family = kernel_family(key.family());
    lvs_ipvs::Service {
        key: self::key(key),
        settings: lvs_ipvs::ServiceSettings {
            scheduler: scheduler.to_string(),
            scheduler_flags: SchedulerFlags::from_bits_truncate(*scheduler_flags),
            one_packet: *one_packet,
            engine: persistence
                .as_ref()
                .and_then(|persistence| persistence.engine.clone())
                .map(Cow::into_owned),
            persistence: persistence.as_ref().map(|persistence| lvs_ipvs::Persistence {
                timeout_seconds: persistence.timeout_seconds,
                netmask: lvs_ipvs::Netmask::from_prefix_length(family, persistence.prefix_length)
                    .unwrap_or(lvs_ipvs::Netmask::host(family)),
            }),
        },
    }
}

fn kernel_destination(key: &DestinationKey, settings: &DestinationSettings) -> lvs_ipvs::Destination {
    let DestinationSettings { weight, forwarding, upper_threshold, lower_threshold, .. } = *settings;
    lvs_ipvs::Destination {
        key: destination_key(key),
        settings: lvs_ipvs::DestinationSettings {
            weight,
            forwarding: match forwarding {
                Forwarding::Direct => lvs_ipvs::Forwarding::Direct,
                Forwarding::Local => lvs_ipvs::Forwarding::Local,
                Forwarding::Tunnel => lvs_ipvs::Forwarding::Tunnel(lvs_ipvs::Tunnel::default()),
                Forwarding::Masquerade => lvs_ipvs::Forwarding::Masquerade,
                Forwarding::Bypass => lvs_ipvs::Forwarding::Bypass,
            },
            upper_threshold,
            lower_threshold,
        },
    }
}

fn destination_key(key: &DestinationKey) -> lvs_ipvs::DestinationKey {
    lvs_ipvs::DestinationKey { address: key.address, port: key.port }
}

fn kernel_family(family: Family) -> lvs_ipvs::Family {
    match family {
        Family::IPv4 => lvs_ipvs::Family::Ipv4,
        Family::IPv6 => lvs_ipvs::Family::Ipv6,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lvs_ipvs::{DestinationEntry, Stats};

    use super::*;

    fn reported(destination: lvs_ipvs::Destination) -> DestinationEntry {
        DestinationEntry {
            destination,
            active_connections: 3,
            inactive_connections: 2,
            persistent_connections: 1,
            stats: Stats::default(),
        }
    }

    fn keys() -> [ServiceKey; 5] {
        let v4 = "172.16.21.10".parse().unwrap();
        let v6 = "2001:db8::10".parse().unwrap();
        [
            ServiceKey::Address { vip: v4, protocol: Protocol::Tcp, port: 80 },
            ServiceKey::Address { vip: v6, protocol: Protocol::Udp, port: 53 },
            ServiceKey::Address { vip: v4, protocol: Protocol::Sctp, port: 3868 },
            ServiceKey::FirewallMark { mark: 7, family: Family::IPv4 },
            ServiceKey::FirewallMark { mark: u32::MAX, family: Family::IPv6 },
        ]
    }

    fn settings(persistence: Option<PersistenceSettings>) -> ServiceSettings {
        ServiceSettings { scheduler: "sh".into(), one_packet: true, scheduler_flags: 0b10, persistence }
    }

    fn persistence(prefix_length: u8) -> PersistenceSettings {
        PersistenceSettings { timeout_seconds: 300, prefix_length, engine: Some("sip".into()) }
    }

    fn direct(weight: u32) -> DestinationSettings {
        DestinationSettings {
            weight,
            forwarding: Forwarding::Direct,
            upper_threshold: 20,
            lower_threshold: 10,
        }
    }

    #[test]
    fn what_was_asked_reads_back_as_what_was_asked() {
        for key in keys() {
            for persistence in [None, Some(persistence(24)), Some(persistence(32))] {
                let asked = settings(persistence);
                let destination =
                    DestinationKey { address: "192.168.40.12".parse().unwrap(), port: key.port() };
                let Some(Command::NewService(kernel_service)) =
                    command(&Step::NewService { key, settings: asked.clone() })
                else {
                    panic!("a new service is a NewService")
                };
                let Some(Command::NewDestination { service: of, destination: kernel_destination }) =
                    command(&Step::NewDestination { key, destination, settings: direct(2) })
                else {
                    panic!("a new destination is a NewDestination")
                };

                assert_eq!(of, kernel_service.key);
                let (read_key, read) = service(&kernel_service, &[reported(kernel_destination)]).unwrap();
                assert_eq!(read_key, key);
                assert_eq!(read.settings, asked);
                assert_eq!(read.destinations.into_iter().collect::<Vec<_>>(), [(destination, direct(2))]);
            }
        }
    }

    #[test]
    fn a_change_is_a_set_and_never_a_delete() {
        let [key, ..] = keys();
        let destination = DestinationKey { address: "192.168.40.12".parse().unwrap(), port: 80 };

        let set = command(&Step::SetService { key, settings: settings(None) });
        assert!(matches!(set, Some(Command::SetService(_))), "{set:?}");
        let set = command(&Step::SetDestination { key, destination, settings: direct(0) });
        let Some(Command::SetDestination { destination, .. }) = set else { panic!("{set:?}") };
        assert_eq!(destination.settings.weight, 0);
    }

    #[test]
    fn deletions_name_the_same_entry() {
        let [key, ..] = keys();
        let destination = DestinationKey { address: "192.168.40.12".parse().unwrap(), port: 80 };

        assert_eq!(command(&Step::DelService { key }), Some(Command::DelService(self::key(&key))));
        assert_eq!(
            command(&Step::DelDestination { key, destination }),
            Some(Command::DelDestination {
                service: self::key(&key),
                destination: destination_key(&destination)
            })
        );
    }

    #[test]
    fn a_vip_is_no_ipvs_command() {
        let (vip, link) = ("172.16.21.10".parse().unwrap(), Arc::from("eth0"));
        assert_eq!(command(&Step::BindVip { vip, link: Arc::clone(&link) }), None);
        assert_eq!(command(&Step::UnbindVip { vip, link }), None);
    }

    #[test]
    fn a_mask_with_holes_differs_from_every_length() {
        let mut foreign = kernel_service(&keys()[0], &settings(Some(persistence(24))));
        foreign.settings.persistence = Some(lvs_ipvs::Persistence {
            timeout_seconds: 300,
            netmask: lvs_ipvs::Netmask::Ipv4("255.0.255.0".parse().unwrap()),
        });
        let (_, read) = service(&foreign, &[]).unwrap();
        assert_eq!(read.settings.persistence.unwrap().prefix_length, 0);
    }

    #[test]
    fn a_protocol_without_a_name_in_the_api_is_left_out() {
        let mut foreign = kernel_service(&keys()[0], &settings(None));
        foreign.key = lvs_ipvs::ServiceKey::Address {
            address: "172.16.21.10".parse().unwrap(),
            protocol: lvs_ipvs::Protocol::Other(50),
            port: 0,
        };
        assert_eq!(service(&foreign, &[]), None);
    }

    #[test]
    fn a_refusal_keeps_errno_and_words() {
        let refused =
            step_error(CommandError::Refused { errno: 2, message: Some("no such scheduler".to_owned()) });
        let StepError::Kernel { errno: 2, text } = refused else { panic!("{refused:?}") };
        assert!(text.contains("no such scheduler"), "{text}");
        assert!(matches!(step_error(CommandError::Unknown), StepError::Unknown(_)));
    }

    #[test]
    fn an_address_that_was_refused_keeps_the_kernels_errno() {
        let (link, ip) = (3, "172.16.21.10".parse().unwrap());
        let refused = |raw| lvs_net::Error::Refused {
            what: "bind".to_owned(),
            source: std::io::Error::from_raw_os_error(raw),
        };
        for (error, errno) in [
            (lvs_net::Error::AlreadyBound { link, ip }, 17),
            (lvs_net::Error::NotBound { link, ip }, 99),
            (lvs_net::Error::NoSuchLink { link }, 19),
            (lvs_net::Error::Ipv6Disabled { link }, 13),
            (lvs_net::Error::NotPermitted { what: "bind".to_owned() }, 1),
            (refused(22), 22),
        ] {
            let step = address_error(&error);
            assert!(matches!(step, StepError::Kernel { errno: kernels, .. } if kernels == errno), "{step:?}");
        }
        assert!(matches!(address_error(&lvs_net::Error::Closed), StepError::Unknown(_)));
    }
}
