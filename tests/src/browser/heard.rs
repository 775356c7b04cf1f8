//! What Chromium tells by itself while it is driven.

use serde_json::Value;

/// What is noteworthy in it.
#[derive(Debug, Default)]
pub struct Heard {
    /// Errors and warnings of the page: exceptions, what its script says on the console, what Chromium says
    /// of it there (files that are not found, violations of its policy).
    pub complaints: Vec<String>,
    /// The addresses that were asked for.
    pub requests: Vec<String>,
}

impl Heard {
    pub(super) fn hear(&mut self, event: &Value) {
        let told = &event["params"];
        let is_loud = |level: &Value| matches!(level.as_str(), Some("error" | "warning" | "assert"));
        match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => {
                let details = &told["exceptionDetails"];
                let description = details["exception"]["description"].as_str();
                self.complain("exception", description.unwrap_or_else(|| word(&details["text"])));
            }
            "Runtime.consoleAPICalled" if is_loud(&told["type"]) => {
                let said = told["args"].as_array().into_iter().flatten();
                let said: Vec<_> =
                    said.map(|it| it["description"].as_str().unwrap_or_else(|| word(&it["value"]))).collect();
                self.complain("console", &said.join(" "));
            }
            "Log.entryAdded" if is_loud(&told["entry"]["level"]) => {
                let entry = &told["entry"];
                self.complain("log", &format!("{} {}", word(&entry["text"]), word(&entry["url"])));
            }
            "Inspector.targetCrashed" => self.complain("crash", "the page's process has ended"),
            "Network.requestWillBeSent" => self.requests.push(word(&told["request"]["url"]).to_owned()),
            _ => {}
        }
    }

    fn complain(&mut self, where_: &str, what: &str) {
        self.complaints.push(format!("{where_}: {}", what.trim_end()));
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn heard(method: &str, told: &Value) -> Heard {
        let mut heard = Heard::default();
        heard.hear(&json!({"method": method, "params": told, "sessionId": "S"}));
        heard
    }

    #[test]
    fn exceptions_console_errors_and_failed_files_are_complaints() {
        for (method, told, complaint) in [
            (
                "Runtime.exceptionThrown",
                json!({"exceptionDetails": {"exception": {"description": "TypeError: x"}}}),
                "exception: TypeError: x",
            ),
            (
                "Runtime.exceptionThrown",
                json!({"exceptionDetails": {"text": "Uncaught (in promise)"}}),
                "exception: Uncaught (in promise)",
            ),
            (
                "Runtime.consoleAPICalled",
                json!({"type": "error", "args": [{"value": "bad"}, {"description": "SyntaxError: y"}]}),
                "console: bad SyntaxError: y",
            ),
            (
                "Log.entryAdded",
                json!({"entry": {"level": "error", "text": "404", "url": "http://127.0.0.1/favicon.ico"}}),
                "log: 404 http://127.0.0.1/favicon.ico",
            ),
            ("Inspector.targetCrashed", json!({}), "crash: the page's process has ended"),
        ] {
            assert_eq!(heard(method, &told).complaints, [complaint], "{method}");
        }
    }

    #[test]
    fn what_a_page_merely_says_is_no_complaint() {
        for (method, told) in [
            ("Runtime.consoleAPICalled", json!({"type": "log", "args": [{"value": "hello"}]})),
            ("Log.entryAdded", json!({"entry": {"level": "verbose", "text": "slow"}})),
            ("Page.loadEventFired", json!({})),
        ] {
            assert_eq!(heard(method, &told).complaints, [""; 0], "{method}");
        }
    }

    #[test]
    fn every_address_that_is_asked_for_is_noted() {
        let told = json!({"request": {"url": "http://127.0.0.1:9472/events"}});
        assert_eq!(heard("Network.requestWillBeSent", &told).requests, ["http://127.0.0.1:9472/events"]);
    }
}
