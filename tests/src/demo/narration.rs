//! What the demo prints: acts, steps, commands as a user would type them, and what was checked.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::progress::{elapsed, line};

const RULE: &str = "────────────────────────────────────────────────────────────────────────────────";
/// Of a command's output, this many lines are shown.
const SHOWN: usize = 40;

/// Tells the demo, and keeps count.
pub struct Narrator {
    start: Instant,
    acts: Vec<Act>,
    failed: Option<String>,
    first_page: Option<Duration>,
}

struct Act {
    title: &'static str,
    passed: Vec<(String, Duration)>,
}

impl Narrator {
    /// Starts the clock.
    pub fn new() -> Self {
        Self { start: Instant::now(), acts: Vec::new(), failed: None, first_page: None }
    }

    /// Opens an act.
    pub fn act(&mut self, title: &'static str, about: &str) {
        line(&format!("\n{RULE}\n{title}\n{RULE}"));
        say(about);
        self.acts.push(Act { title, passed: Vec::new() });
    }

    /// A step: it passes when everything that it shows holds.
    pub fn step(&mut self, title: &'static str, play: impl FnOnce() -> Result<()>) -> Result<()> {
        let began = Instant::now();
        let number = self.acts.iter().map(|act| act.passed.len()).sum::<usize>() + 1;
        line(&format!("\n{number}. {title}   [{}]", elapsed(self.start.elapsed())));
        let result = play();
        match &result {
            Ok(()) => self.passed(title, began.elapsed()),
            Err(_) => self.failed(title),
        }
        result
    }

    /// Notes that a step of the act passed.
    pub fn passed(&mut self, title: impl Into<String>, took: Duration) {
        if let Some(act) = self.acts.last_mut() {
            act.passed.push((title.into(), took));
        }
    }

    /// Notes that a step of the act failed.
    pub fn failed(&mut self, title: impl Into<String>) {
        self.failed = Some(title.into());
    }

    /// Says that the first page came, if it is the first.
    pub fn first_page(&mut self) {
        if self.first_page.is_none() {
            let time = self.start.elapsed();
            self.first_page = Some(time);
            line(&format!("   From `cargo lab demo` to the first page: {}.", elapsed(time)));
        }
    }

    /// The last words.
    pub fn summary(&self) {
        line(&format!("\n{RULE}\nWhat was shown\n{RULE}"));
        for Act { title, passed } in &self.acts {
            line(title);
            for (step, took) in passed {
                line(&format!("   ✓ {step} ({})", elapsed(*took)));
            }
        }
        if let Some(step) = &self.failed {
            line(&format!("   ✗ {step}"));
        }
        let passed: usize = self.acts.iter().map(|act| act.passed.len()).sum();
        let failed = if self.failed.is_some() { ", 1 failed" } else { "" };
        let first_page = self.first_page.map(|time| format!("; first page after {}", elapsed(time)));
        let total = elapsed(self.start.elapsed());
        line(&format!("\nSteps: {passed} passed{failed}, in {total}{}.", first_page.unwrap_or_default()));
    }
}

impl Default for Narrator {
    fn default() -> Self {
        Self::new()
    }
}

/// Tells something, in lines as they are.
pub fn say(text: &str) {
    for text in text.lines() {
        line(format!("   {text}").trim_end());
    }
}

/// A command as somebody types it after `prompt`.
pub fn typed(prompt: &str, command: &str) {
    line("");
    for text in command.lines() {
        line(&format!("   {prompt} {text}"));
    }
}

/// What a command printed.
pub fn shown(output: &str) {
    let lines: Vec<&str> = output.trim_end().lines().collect();
    for text in lines.iter().take(SHOWN) {
        line(&format!("   │ {text}"));
    }
    if lines.len() > SHOWN {
        line(&format!("   │ … and {} lines more", lines.len() - SHOWN));
    }
}

/// Checks what the step shows. `fact` is a sentence that is true when the check passes.
pub fn check(holds: bool, fact: &str, seen: &str) -> Result<()> {
    if holds {
        line(&format!("   ✓ {fact}"));
        return Ok(());
    }
    line(&format!("   ✗ {fact}"));
    bail!("this does not hold: {fact}\nwhat was seen instead:\n{}", seen.trim_end())
}
