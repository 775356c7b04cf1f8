//! That the browser tells of what is wrong: without that, its silence about the status page says nothing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use lvs_lab::browser::Browser;
use lvs_lab::eventually::eventually;

/// A page with three mistakes, and a picture that would come from elsewhere.
const PAGE: &str = "<!doctype html><link rel=icon href=data:,><script>console.error('said');\
    setTimeout(() => missing());</script><img src=/none.png><img src=http://elsewhere.example/a.png>";

/// Serves it; everything else is not found.
fn serve(listener: &TcpListener) {
    for mut stream in listener.incoming().flatten() {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        // Connections that are opened in advance say nothing.
        let Some(asked) = lines.next() else { continue };
        lines.find(String::is_empty);
        let (status, page) = if asked.starts_with("GET / ") { ("200 OK", PAGE) } else { ("404 None", "") };
        let head = format!("Content-Type: text/html\r\nContent-Length: {}\r\nConnection: close", page.len());
        let _ = write!(stream, "HTTP/1.1 {status}\r\n{head}\r\n\r\n{page}");
    }
}

#[test]
#[ignore = "needs Chromium: cargo lab test"]
fn mistakes_of_a_page_and_requests_to_other_hosts_are_heard_of() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let origin = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || serve(&listener));
    let mut browser = Browser::start(400, 300).unwrap();
    browser.open(&origin).unwrap();
    let other = "http://elsewhere.example/a.png";
    for wanted in [
        "console: said".to_owned(),
        "exception: ReferenceError: missing is not defined".to_owned(),
        format!("{origin}none.png"),
        // No name is looked up.
        format!("log: Failed to load resource: net::ERR_NAME_NOT_RESOLVED {other}"),
    ] {
        eventually(&wanted, || {
            let heard = browser.heard().unwrap();
            let is_told = heard.complaints.iter().any(|complaint| complaint.contains(&wanted));
            if is_told { Ok(()) } else { Err(format!("{heard:#?}")) }
        });
    }
    assert!(browser.heard().unwrap().requests.iter().any(|url| url == other));
}
