//! Log lines: to standard error, as text for people or JSON for machines.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::args::LogFormat;

/// The API client's own lines tell every attempt, and those of the checks' libraries what a real server sent; what they
/// say is told once, with the cure, by those who use them.
const DEFAULT: &str = "info,kube_client=off,kube_runtime=off,tonic=off,hickory_proto=off,h2=off";

/// Begins logging for the whole process. `RUST_LOG` chooses what is logged (`info` without it, and nothing of the
/// libraries in `DEFAULT`); text has colours only on a terminal, and none with `NO_COLOR`. A second call changes nothing.
pub fn init(format: LogFormat) {
    let colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let directives = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    // Another logger is there already only in tests, which are then served by that one.
    let _ = tracing::subscriber::set_global_default(subscriber(format, colours, &directives, io::stderr));
}

/// A wrong directive is left out with a word on standard error, never fatal: a typing error in a variable must not
/// stop a Director.
fn subscriber<W>(
    format: LogFormat,
    colours: bool,
    directives: &str,
    writer: W,
) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let directives = if directives.trim().is_empty() { DEFAULT } else { directives };
    let filter = EnvFilter::builder().parse_lossy(directives);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        LogFormat::Text => Box::new(lines.with_ansi(colours).with_target(false).finish()),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_current_span(false).finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, colours: bool, directives: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, colours, directives, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(vip = "172.16.21.10", "bound");
            tracing::debug!("detail");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_is_one_line_without_colours_and_says_info_by_default() {
        let text = logged(LogFormat::Text, false, "");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("INFO") && text.contains("bound vip=\"172.16.21.10\""), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn colours_are_for_terminals() {
        assert!(logged(LogFormat::Text, true, "").contains('\u{1b}'));
    }

    #[test]
    fn json_is_one_object_per_line_with_its_fields_at_the_top() {
        let text = logged(LogFormat::Json, false, "debug");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (lines[0]["message"].as_str(), lines[0]["vip"].as_str()),
            (Some("bound"), Some("172.16.21.10"))
        );
        assert_eq!(lines[1]["level"], "DEBUG");
    }

    #[test]
    fn what_is_logged_can_be_chosen_and_a_wrong_choice_is_not_fatal() {
        assert_eq!(logged(LogFormat::Text, false, "warn"), "");
        assert_eq!(logged(LogFormat::Text, false, "debug").lines().count(), 2);
        assert_eq!(logged(LogFormat::Text, false, "info,a b=c!").lines().count(), 1);
    }
}
