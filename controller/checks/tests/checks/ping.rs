use std::time::Duration;

use lvs_checks::{Failure, Kind, Target};

use crate::server::{PATIENT, SHORT, ask_within};

/// The result of a ping; none, with the reason printed, where this process may not send one.
async fn ping(address: &str, timeout: Duration) -> Option<Result<(), Failure>> {
    let target = Target { address: address.parse().unwrap(), port: None, source: None, mark: None };
    match ask_within(timeout, &Kind::Ping, &target).await {
        Err(failure) if failure.is_ours() => {
            eprintln!("skipped: {failure}");
            None
        }
        result => Some(result),
    }
}

#[tokio::test]
async fn this_host_answers() {
    for address in ["127.0.0.1", "127.0.0.9", "::1"] {
        if let Some(result) = ping(address, PATIENT).await {
            assert_eq!(result, Ok(()), "{address}");
        }
    }
}

#[tokio::test]
async fn many_pings_at_once_each_find_their_own_answer() {
    let all: Vec<_> = (0..50).map(|_| tokio::spawn(ping("127.0.0.1", PATIENT))).collect();
    for one in all {
        if let Some(result) = one.await.unwrap() {
            assert_eq!(result, Ok(()));
        }
    }
}

/// Addresses for documentation (RFC 5737) and to discard (RFC 6666): nobody is there, and there may be no
/// way.
#[tokio::test]
async fn who_is_not_there_does_not_answer() {
    for address in ["192.0.2.1", "100::1"] {
        match ping(address, SHORT).await {
            None => {}
            Some(Ok(())) => eprintln!("skipped: somebody on the way answers for all addresses here"),
            Some(Err(failure)) => {
                assert!(["timeout", "unreachable"].contains(&failure.reason()), "{failure}");
            }
        }
    }
}
