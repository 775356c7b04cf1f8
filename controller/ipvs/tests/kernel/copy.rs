//! Reading loses nothing: what `ipvsadm` made is read, written elsewhere, and the same to `ipvsadm`.

use lvs_ipvs::Command;

use crate::host::Host;

/// One of everything that `ipvsadm` can make.
const RULES: &str = "-A -t 192.0.2.10:80 -s wrr\n\
    -a -t 192.0.2.10:80 -r 192.0.2.11:80 -g -w 3 -x 100 -y 50\n\
    -a -t 192.0.2.10:80 -r 192.0.2.12:8080 -m -w 0\n\
    -a -t 192.0.2.10:80 -r 192.0.2.13:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum\n\
    -a -t 192.0.2.10:80 -r 192.0.2.14:80 -i -w 1 --tun-type gre --tun-csum\n\
    -a -t 192.0.2.10:80 -r 192.0.2.1:80 -g -w 2\n\
    -A -u 192.0.2.10:5060 -s sh -b sh-fallback,sh-port -p 300 -M 255.255.255.0 --pe sip -o\n\
    -A --sctp-service 192.0.2.10:3868 -s mh -b mh-port\n\
    -A -t [2001:db8::10]:443 -s lblcr -p 7200 -M 56\n\
    -a -t [2001:db8::10]:443 -r [2001:db8::11]:443 -g -w 1\n\
    -a -t [2001:db8::10]:443 -r 192.0.2.15:443 -i -w 4\n\
    -A -f 77 -s dh\n\
    -a -f 77 -r 192.0.2.11:0 -g -w 1\n\
    -A -f 77 -6 -s ovf -p 60\n";

#[test]
#[ignore = "needs root and ip_vs: cargo lab test"]
fn a_table_that_was_read_and_written_elsewhere_is_the_same_to_ipvsadm() {
    let (original, copy) = (Host::new(), Host::new());
    original.restore(RULES);

    let (mut from, mut to) = (original.client(), copy.client());
    let mut commands = Vec::new();
    for entry in from.services().unwrap() {
        // What belongs to others is there already.
        if to.service(&entry.service.key).unwrap().is_some() {
            continue;
        }
        let service = entry.service.key;
        commands.push(Command::NewService(entry.service));
        for entry in from.destinations(&service).unwrap() {
            commands.push(Command::NewDestination { service, destination: entry.destination });
        }
    }
    assert_eq!(commands.len(), RULES.lines().count());
    for (command, result) in commands.iter().zip(to.batch(&commands).unwrap()) {
        assert_eq!(result, Ok(()), "{command}");
    }
    assert_eq!(copy.everything(), original.everything());
}
