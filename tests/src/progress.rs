//! What is shown while something long runs.
//!
//! On a terminal the running steps share one line at the bottom, redrawn ten times a second, with the time they have
//! taken; elsewhere (a log, CI) a step is a line when it starts, one when it ends, and one a minute between, so that
//! a silent hour can be told from a dead one. Everything else that is printed meanwhile has to go through [`line`]
//! and [`raw`], or it would be drawn over.

use std::fmt::Write as _;
use std::io::{self, BufReader, IsTerminal as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{mem, thread};

use anyhow::{Context as _, Result, bail};

const FRAME: Duration = Duration::from_millis(100);
const SIGN_OF_LIFE: Duration = Duration::from_mins(1);
/// Lines of a failed command that are shown.
const TAIL: usize = 60;

static SCREEN: Mutex<Screen> =
    Mutex::new(Screen { steps: Vec::new(), next: 0, painting: false, drawn: false });

struct Screen {
    steps: Vec<Running>,
    next: u64,
    painting: bool,
    /// Whether the bottom line holds steps now.
    drawn: bool,
}

struct Running {
    id: u64,
    what: String,
    note: String,
    start: Instant,
    said: Instant,
}

/// A long step. Dropping it without [`Step::done`] says that it failed.
pub struct Step {
    id: u64,
}

/// Starts a step. `what` says what is being done, as in "building the controller".
pub fn step(what: impl Into<String>) -> Step {
    let (what, now) = (what.into(), Instant::now());
    let mut screen = screen();
    let id = screen.next;
    screen.next += 1;
    if !terminal() {
        eprintln!("{what} …");
    }
    screen.steps.push(Running { id, what, note: String::new(), start: now, said: now });
    if !mem::replace(&mut screen.painting, true) {
        thread::spawn(paint);
    }
    Step { id }
}

impl Step {
    /// Shows a detail of the step, such as the line a tool has just printed.
    pub fn note(&self, note: impl Into<String>) {
        if let Some(step) = screen().steps.iter_mut().find(|step| step.id == self.id) {
            step.note = note.into();
        }
    }

    /// Ends the step well.
    pub fn done(self) {
        finish(self.id, "✓", "done", None);
        mem::forget(self);
    }

    /// Ends the step well, with a line that says more than that.
    pub fn done_as(self, line: &str) {
        finish(self.id, "✓", "done", Some(line));
        mem::forget(self);
    }

    /// Ends the step badly, with a line that says more than that.
    pub fn failed_as(self, line: &str) {
        finish(self.id, "✗", "failed", Some(line));
        mem::forget(self);
    }

    /// Runs a command and returns what it wrote to standard output. The last line that it printed is shown beside
    /// the step; if it fails, the error holds the end of its standard error, or, if that is empty, of its output.
    pub fn run(&self, command: &mut Command) -> Result<String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {name}"))?;
        let streams = (child.stdout.take(), child.stderr.take());
        let (output, errors) = thread::scope(|scope| {
            let errors = scope.spawn(|| streams.1.map(|stream| self.follow(BufReader::new(stream))));
            let output = streams.0.map(|stream| self.follow(BufReader::new(stream)));
            (output.unwrap_or_default(), errors.join().ok().flatten().unwrap_or_default())
        });
        let status = child.wait().with_context(|| format!("cannot wait for {name}"))?;
        if !status.success() {
            let said = if errors.trim().is_empty() { &output } else { &errors };
            let lines: Vec<_> = said.lines().collect();
            bail!("{name} failed ({status}):\n{}", lines[lines.len().saturating_sub(TAIL)..].join("\n"));
        }
        Ok(output)
    }

    /// Shows output as it comes: all of it above the running steps, or only its last line beside this step.
    pub fn show(&self, bytes: &[u8], everything: bool) {
        if everything {
            return raw(bytes);
        }
        let text = String::from_utf8_lossy(bytes);
        if let Some(line) = text.lines().rev().find(|line| !line.trim().is_empty()) {
            self.note(line.trim_end());
        }
    }

    fn follow(&self, mut stream: impl io::BufRead) -> String {
        let mut all = String::new();
        let mut bytes = Vec::new();
        while stream.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&bytes);
            let line = text.trim_end();
            // A tool's messages for programs say nothing to people.
            if !line.is_empty() && !line.starts_with('{') {
                self.note(line);
            }
            all.push_str(&text);
            bytes.clear();
        }
        all
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        finish(self.id, "✗", "failed", None);
    }
}

/// Prints a line on standard output, above the running steps.
pub fn line(text: &str) {
    raw(format!("{text}\n").as_bytes());
}

/// Prints bytes on standard output as they are, above the running steps.
pub fn raw(bytes: &[u8]) {
    let mut screen = screen();
    clear(&mut screen);
    let mut out = io::stdout().lock();
    // A reader that went away (`| head`) is no reason to stop in the middle of a test run.
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// Prints an error on standard error.
pub fn fail(text: &str) {
    clear(&mut screen());
    eprintln!("lab: {text}");
}

fn screen() -> MutexGuard<'static, Screen> {
    SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn terminal() -> bool {
    io::stderr().is_terminal()
}

fn clear(screen: &mut Screen) {
    if mem::take(&mut screen.drawn) {
        eprint!("\r\x1b[K");
    }
}

fn finish(id: u64, mark: &str, word: &str, line: Option<&str>) {
    let mut screen = screen();
    let Some(position) = screen.steps.iter().position(|step| step.id == id) else { return };
    let step = screen.steps.remove(position);
    clear(&mut screen);
    let took = elapsed(step.start.elapsed());
    match line {
        Some(line) => eprintln!("{mark} {line} ({took})"),
        None if terminal() => eprintln!("{mark} {} ({took})", step.what),
        None => eprintln!("{}: {word} ({took})", step.what),
    }
}

/// The painter: lives while there are steps.
fn paint() {
    let width = columns();
    for frame in 0.. {
        {
            let mut screen = screen();
            if screen.steps.is_empty() {
                screen.painting = false;
                return;
            }
            if terminal() {
                let row = row(&screen.steps, frame, width);
                eprint!("\r{row}\x1b[K");
                screen.drawn = true;
            } else {
                for step in &mut screen.steps {
                    if step.said.elapsed() >= SIGN_OF_LIFE {
                        step.said = Instant::now();
                        eprintln!("{}: {} so far {}", step.what, elapsed(step.start.elapsed()), step.note);
                    }
                }
            }
        }
        thread::sleep(FRAME);
    }
}

fn row(steps: &[Running], frame: usize, width: usize) -> String {
    const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
    let mut row = FRAMES[frame % FRAMES.len()].to_string();
    for (n, step) in steps.iter().enumerate() {
        let _ = write!(
            row,
            "{} {} {}",
            if n == 0 { "" } else { "  |" },
            step.what,
            elapsed(step.start.elapsed())
        );
    }
    // Only the newest step's detail: the others' would not fit.
    if let Some(step) = steps.last().filter(|step| !step.note.is_empty()) {
        let _ = write!(row, "  {}", step.note);
    }
    // Control characters of a tool would move the cursor off the line.
    row.chars().filter(|c| !c.is_control()).take(width.saturating_sub(1)).collect()
}

/// How wide the terminal is; a redrawn line must not wrap.
fn columns() -> usize {
    rustix::termios::tcgetwinsize(io::stderr()).ok().map_or(80, |size| match size.ws_col {
        0 => 80,
        columns => columns.into(),
    })
}

/// `7 s`, `3 min 07 s`.
pub fn elapsed(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_succeeds_gives_its_standard_output_only() {
        let step = step("talking");
        let output = step.run(Command::new("sh").args(["-c", "echo out; echo err >&2"])).unwrap();
        assert_eq!(output, "out\n");
        step.done();
    }

    #[test]
    fn a_command_that_fails_tells_the_end_of_its_errors_or_else_of_its_output() {
        let step = step("failing");
        let error = |script| step.run(Command::new("sh").args(["-c", script])).unwrap_err().to_string();
        let both = error("echo out; seq 100 | sed s/^/line/ >&2; exit 3");
        assert!(both.contains("exit status: 3") && both.ends_with("line99\nline100"), "{both}");
        assert!(!both.contains("out\n") && !both.contains("line1\n"), "{both}");
        assert!(error("echo because; exit 3").ends_with("because"));
        step.done();
    }

    #[test]
    fn a_row_names_every_step_shows_the_newest_ones_note_and_never_wraps() {
        let now = Instant::now();
        let running = |what: &str, note: &str| Running {
            id: 0,
            what: what.to_owned(),
            note: note.to_owned(),
            start: now,
            said: now,
        };
        let steps =
            [running("building the API server", "k8s.io/api"), running("building tests", "Compiling\tx")];
        assert_eq!(row(&steps, 0, 200), "⠋ building the API server 0 s  | building tests 0 s  Compilingx");
        assert_eq!(row(&steps, 1, 20).chars().count(), 19);
    }

    #[test]
    fn times_are_for_people() {
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (60, "1 min 00 s"), (3607, "60 min 07 s")] {
            assert_eq!(elapsed(Duration::from_secs(seconds)), text);
        }
    }
}
