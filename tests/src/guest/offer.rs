//! Programs of the host for the guest, where starting a large one takes seconds.

use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::SHARE;
use super::agent::Worker;
use super::jobs::{Interrupts, Job, Share, Stream};

const LOOK: Duration = Duration::from_millis(20);

/// Serves the guest until it is dropped.
pub struct Offer(#[expect(dead_code, reason = "the thread ends when this is dropped")] Sender<()>);

impl Offer {
    pub(super) fn start(share: &Share, program: impl Fn(&str) -> Option<Command> + Send + 'static) -> Self {
        let mut worker = Worker::new(share.asks().jobs(), program);
        let (sender, stop) = channel();
        thread::spawn(move || {
            // A guest whose folder is gone asks for nothing.
            while stop.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) && worker.look().is_ok() {}
        });
        Self(sender)
    }
}

/// What a program did.
#[derive(Clone, Debug)]
pub struct Done {
    /// Its exit code; 128 and the signal if it was killed.
    pub code: i32,
    /// What it wrote to standard output.
    pub output: Vec<u8>,
    /// What it wrote to standard error.
    pub error: Vec<u8>,
}

/// In a guest: runs a program that the host [offers](super::Guest::offer), on the host.
pub fn on_host(job: &Job, limit: Duration) -> Result<Done> {
    let (mut output, mut error) = (Vec::new(), Vec::new());
    let collect = |stream, bytes: &[u8]| match stream {
        Stream::Output => output.extend_from_slice(bytes),
        Stream::Error => error.extend_from_slice(bytes),
    };
    // A guest does not outlive its host.
    let alive = || Ok(());
    let code = Share::new(SHARE.into()).asks().run(job, limit, &Interrupts::default(), collect, alive)?;
    Ok(Done { code, output, error })
}

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, test_kill_process_group};

    use super::super::jobs::Late;
    use super::*;
    use crate::eventually::eventually;

    #[test]
    fn the_host_runs_what_it_offers_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let share = Share::create(folder.path().join("share")).unwrap();
        let offer = Offer::start(&share, |name| (name == "shout").then(|| Command::new("sh")));
        let ask = |job: &Job| {
            let mut output = Vec::new();
            let collect = |_, bytes: &[u8]| output.extend_from_slice(bytes);
            let limit = Duration::from_secs(30);
            let code = share.asks().run(job, limit, &Interrupts::default(), collect, || Ok(()));
            code.map(|code| (code, String::from_utf8(output).unwrap())).map_err(|error| error.to_string())
        };
        let folder = Some(folder.path().to_owned());
        let job = Job { input: "words".to_owned(), folder, ..Job::new(["shout", "-c", "cat; exit 3"]) };
        assert_eq!(ask(&job), Ok((3, "words".to_owned())));
        assert_eq!(ask(&Job::new(["sh", "-c", "true"])), Err("there is no sh".to_owned()));
        drop(offer);
    }

    #[test]
    fn a_job_whose_time_is_over_is_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let share = Share::create(folder.path().join("share")).unwrap();
        let _offer = Offer::start(&share, |name| Some(Command::new(name)));
        let job = Job::new(["sh", "-c", "echo $$; sleep 600 & sleep 600"]);
        let mut said = Vec::new();
        let collect = |_, bytes: &[u8]| said.extend_from_slice(bytes);
        let limit = Duration::from_secs(1);
        let end = share.asks().run(&job, limit, &Interrupts::default(), collect, || Ok(()));
        assert!(end.unwrap_err().is::<Late>());
        let group = String::from_utf8(said).unwrap().trim().parse().ok().and_then(Pid::from_raw).unwrap();
        eventually("nothing of it lives", || match test_kill_process_group(group) {
            Ok(()) => Err(String::new()),
            Err(_) => Ok(()),
        });
    }
}
