//! Running a command on this machine with a time limit.

use std::io::{self, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};

use super::outcome::Ending;

/// How long the outputs of killed processes may take to close. One that left its process group keeps them open.
const GRACE: Duration = Duration::from_secs(5);

/// Runs a command and hands on what it writes to both outputs, in order, as it comes. After `limit` it is killed, and
/// with it all that it started, for it gets a process group of its own. Ctrl-C does not reach such a group: let the
/// command be [`tethered`](crate::apiserver::tethered).
pub(super) fn watch(
    mut command: Command,
    limit: Duration,
    mut on_output: impl FnMut(&[u8]),
) -> Result<Ending> {
    let name = command.get_program().to_string_lossy().into_owned();
    let (reader, writer) = io::pipe().context("cannot make a pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let child = command.spawn().with_context(|| format!("cannot run {name}"))?;
    // It holds the pipe's other end, and the reading below would never end.
    drop(command);
    let end = Instant::now() + limit;
    let output = follow(reader);
    let in_time = hand_on(&output, end, &mut on_output);
    if !in_time {
        // Of a group that has ended this moment nothing is left to kill.
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        hand_on(&output, Instant::now() + GRACE, &mut on_output);
    }
    let code = wait(child).with_context(|| format!("cannot wait for {name}"))?;
    Ok(if in_time { Ending::Exit(code) } else { Ending::late(limit) })
}

fn follow(mut reader: io::PipeReader) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(read @ 1..) = reader.read(&mut buffer) {
            if sender.send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Whether the output closed before `end`.
fn hand_on(output: &Receiver<Vec<u8>>, end: Instant, on_output: &mut impl FnMut(&[u8])) -> bool {
    loop {
        match output.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(bytes) => on_output(&bytes),
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}

/// The exit code, as a shell counts.
fn wait(mut child: Child) -> io::Result<i32> {
    let status = child.wait()?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(script: &str, limit: Duration) -> (String, Ending) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut output = Vec::new();
        let ending = watch(command, limit, |bytes| output.extend_from_slice(bytes)).unwrap();
        (String::from_utf8(output).unwrap(), ending)
    }

    #[test]
    fn both_outputs_come_in_order_and_a_signal_is_told_as_shells_do() {
        let (output, ending) = watched("echo 1; echo 2 >&2; echo 3; kill -9 $$", Duration::from_mins(1));
        assert_eq!((output.as_str(), ending), ("1\n2\n3\n", Ending::Exit(137)));
    }

    #[test]
    fn after_the_limit_it_is_killed_with_all_that_it_started() {
        let limit = Duration::from_millis(300);
        let (output, ending) = watched("echo $$; sleep 600 & sleep 600", limit);
        assert_eq!(ending, Ending::late(limit));
        let group = Pid::from_raw(output.trim().parse().unwrap()).unwrap();
        // The kernel may still be at it.
        let end = Instant::now() + GRACE;
        while rustix::process::test_kill_process_group(group).is_ok() {
            assert!(Instant::now() < end, "something of the group lives");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_process_that_left_the_group_does_not_keep_it_waiting() {
        let start = Instant::now();
        let (_, ending) = watched("setsid sleep 10 & sleep 600", Duration::from_millis(300));
        assert_eq!(ending, Ending::late(Duration::from_millis(300)));
        assert!(start.elapsed() < Duration::from_secs(15));
    }
}
