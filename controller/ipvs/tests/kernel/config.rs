//! What concerns the whole namespace: version, timeouts, the sync daemons.

use lvs_ipvs::{
    Client, Command, CommandError, Daemon, Destination, DestinationSettings, Forwarding, Service, ServiceKey,
    ServiceSettings, Timeouts, Tunnel, daemon::Role,
};

use crate::host::{Host, destination};

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn version_and_table_size_are_what_ipvsadm_prints() {
    let host = Host::new();
    let info = host.client().info().unwrap();
    let heading = format!("IP Virtual Server version {} (size={})", info.version, info.connection_table_size);
    assert_eq!(host.ipvsadm("-Ln").lines().next(), Some(heading.as_str()));
}

/// Stops a daemon. A thread that is stopped before it first ran ends with `EINTR`, and netlink answers no request
/// that ends so (`netlink_rcv_skb`): the daemon is gone and its answer is missing.
fn stop(client: &mut Client, role: Role) {
    let result = client.batch(&[Command::DelDaemon(role)]).unwrap().remove(0);
    assert!(matches!(result, Ok(()) | Err(CommandError::Unknown)), "{result:?}");
    assert!(client.daemons().unwrap().iter().all(|daemon| daemon.role != role));
}

fn printed(timeouts: Timeouts) -> String {
    let Timeouts { tcp_seconds, tcp_fin_seconds, udp_seconds } = timeouts;
    format!("Timeout (tcp tcpfin udp): {tcp_seconds} {tcp_fin_seconds} {udp_seconds}\n")
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn timeouts_are_set_and_zero_leaves_one_alone() {
    let host = Host::new();
    let mut client = host.client();
    let before = client.timeouts().unwrap();
    assert_eq!(host.ipvsadm("-L --timeout"), printed(before));

    let all = Timeouts { tcp_seconds: 901, tcp_fin_seconds: 121, udp_seconds: 301 };
    client.execute(&Command::SetTimeouts(all)).unwrap();
    assert_eq!(host.ipvsadm("-L --timeout"), printed(all));

    client.execute(&Command::SetTimeouts(Timeouts { udp_seconds: 15, ..Timeouts::default() })).unwrap();
    let now = Timeouts { udp_seconds: 15, ..all };
    assert_eq!(client.timeouts().unwrap(), now);
    assert_eq!(host.ipvsadm("-L --timeout"), printed(now));
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn sync_daemons_start_and_stop() {
    let (ours, theirs) = (Host::new(), Host::new());
    let mut client = ours.client();
    assert_eq!(client.daemons().unwrap(), []);

    let master = Daemon {
        max_payload: Some(1400),
        group: Some("224.0.0.99".parse().unwrap()),
        port: Some(9000),
        ttl: Some(3),
        ..Daemon::new(Role::Master, "d0", 7)
    };
    let backup = Daemon { group: Some("ff02::81".parse().unwrap()), ..Daemon::new(Role::Backup, "d0", 8) };
    client.execute(&Command::NewDaemon(master.clone())).unwrap();
    client.execute(&Command::NewDaemon(backup.clone())).unwrap();
    theirs.ipvsadm(
        "--start-daemon master --mcast-interface d0 --syncid 7 --mcast-group 224.0.0.99 --mcast-port 9000 \
         --mcast-ttl 3 --sync-maxlen 1400",
    );
    theirs.ipvsadm("--start-daemon backup --mcast-interface d0 --syncid 8 --mcast-group ff02::81");
    assert_eq!(ours.ipvsadm("-L --daemon"), theirs.ipvsadm("-L --daemon"));

    let running = client.daemons().unwrap();
    assert_eq!(running, theirs.client().daemons().unwrap());
    let [first, second] = &running[..] else { panic!("{running:?}") };
    assert_eq!(*first, master);
    // The kernel filled in what was left to it.
    assert_eq!((second.role, second.sync_id, second.group), (backup.role, backup.sync_id, backup.group));
    assert!(second.max_payload.is_some() && second.port == Some(8848) && second.ttl == Some(1), "{second:?}");

    let again = client.batch(&[Command::NewDaemon(master)]).unwrap().remove(0).unwrap_err();
    assert_eq!(again.errno(), Some(17), "{again}");
    stop(&mut client, Role::Master);
    stop(&mut client, Role::Backup);
    assert_eq!(client.daemons().unwrap(), []);
    let gone = client.batch(&[Command::DelDaemon(Role::Master)]).unwrap().remove(0).unwrap_err();
    assert_eq!(gone.errno(), Some(3), "{gone}");
    let nowhere = Command::NewDaemon(Daemon::new(Role::Master, "nosuch0", 1));
    let nowhere = client.batch(&[nowhere]).unwrap().remove(0).unwrap_err();
    assert_eq!(nowhere.errno(), Some(19), "{nowhere}");
}

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn two_families_in_one_service_exclude_the_sync_daemon() {
    let host = Host::new();
    let mut client = host.client();
    let key = ServiceKey::tcp(([192, 0, 2, 10], 80));
    let settings = DestinationSettings {
        forwarding: Forwarding::Tunnel(Tunnel::default()),
        ..DestinationSettings::direct(1)
    };
    let mixed = Destination { key: destination("2001:db8::11", 80), settings };
    let add = Command::NewDestination { service: key, destination: mixed };
    client.execute(&Command::NewService(Service { key, settings: ServiceSettings::new("rr") })).unwrap();

    client.execute(&add).unwrap();
    assert_eq!(client.destinations(&key).unwrap().remove(0).destination, mixed);
    client.execute(&Command::DelDestination { service: key, destination: mixed.key }).unwrap();

    client.execute(&Command::NewDaemon(Daemon::new(Role::Master, "d0", 1))).unwrap();
    let refused = client.batch(&[add]).unwrap().remove(0).unwrap_err();
    assert_eq!(refused.errno(), Some(22), "{refused}");
    stop(&mut client, Role::Master);
}
