use std::time::Duration;

use lvs_checks::{Kind, PrepareError, Prepared};
use lvs_crds::{HttpCheck, HttpHeader, HttpMethod};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use crate::server::{
    ask, failure, hold, late_failure, never_ends, nobody, read_head, reset, says, target, tcp,
};

const PAUSE: Duration = Duration::from_millis(10);
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn check() -> HttpCheck {
    HttpCheck { path: "/healthz".to_owned(), ..HttpCheck::default() }
}

fn get() -> Kind {
    Kind::Http(check())
}

fn contains(text: &str) -> Kind {
    Kind::Http(HttpCheck { body_contains: Some(text.to_owned()), ..check() })
}

#[tokio::test]
async fn an_expected_status_works() {
    for answer in [
        OK,
        "HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/elsewhere\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    ] {
        assert_eq!(ask(&get(), says(answer).await).await, Ok(()), "{answer}");
    }
}

#[tokio::test]
async fn another_status_does_not_do() {
    let (reason, words) = failure(&get(), says("HTTP/1.1 503 Busy\r\n\r\n").await).await;
    assert_eq!(reason, "status");
    assert!(words.starts_with("HTTP 503 from GET /healthz in "), "{words}");

    let teapot = Kind::Http(HttpCheck { expected_statuses: vec!["418".to_owned()], ..check() });
    assert_eq!(failure(&teapot, says(OK).await).await.0, "status");
    assert_eq!(ask(&teapot, says("HTTP/1.1 418 I'm a teapot\r\n\r\n").await).await, Ok(()));
}

#[tokio::test]
async fn the_request_is_as_the_check_says() {
    let (heard, mut requests) = mpsc::unbounded_channel();
    let address = tcp(move |mut stream| {
        let heard = heard.clone();
        async move {
            heard.send(read_head(&mut stream).await).unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        }
    })
    .await;
    let header = |name: &str, value: &str| HttpHeader { name: name.to_owned(), value: value.to_owned() };
    let mut asked = HttpCheck {
        method: HttpMethod::Post,
        path: "/a?b=c".to_owned(),
        host: Some("example.com".to_owned()),
        headers: vec![header("X-Tenant", "one"), header("X-Tenant", "two"), header("User-Agent", "ours")],
        ..HttpCheck::default()
    };
    assert_eq!(ask(&Kind::Http(asked.clone()), address).await, Ok(()));
    let request = requests.recv().await.unwrap();
    let mut lines: Vec<_> = request.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "POST /a?b=c HTTP/1.1");
    lines.sort_unstable();
    let expected = [
        "accept: */*",
        "connection: close",
        "content-length: 0",
        "host: example.com",
        "user-agent: ours",
        "x-tenant: one",
        "x-tenant: two",
    ];
    assert_eq!(lines, expected);

    for (method, name) in
        [(HttpMethod::Head, "HEAD"), (HttpMethod::Options, "OPTIONS"), (HttpMethod::Get, "GET")]
    {
        asked.method = method;
        assert_eq!(ask(&Kind::Http(asked.clone()), address).await, Ok(()));
        let request = requests.recv().await.unwrap();
        assert!(request.starts_with(&format!("{name} /a?b=c HTTP/1.1\r\n")), "{request}");
        assert!(!request.contains("content-length"), "{request}");
    }
}

#[tokio::test]
async fn a_body_must_contain_what_is_expected() {
    assert_eq!(ask(&contains("ok"), says(OK).await).await, Ok(()));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n3\r\n ok\r\n0\r\n\r\n";
    assert_eq!(ask(&contains("all ok"), says(chunked).await).await, Ok(()));
    let (reason, words) = failure(&contains("ready"), says(OK).await).await;
    assert_eq!((reason, &words[..]), ("body", "the answer's 2 bytes do not contain \"ready\""));
    assert_eq!(failure(&contains("ready"), says("HTTP/1.1 204 No Content\r\n\r\n").await).await.0, "body");
}

#[tokio::test]
async fn a_body_must_match_the_expression() {
    let regex = |pattern: &str| Kind::Http(HttpCheck { body_regex: Some(pattern.to_owned()), ..check() });
    assert_eq!(ask(&regex("^(ok|fine)$"), says(OK).await).await, Ok(()));
    let (reason, words) = failure(&regex("^(up|fine)$"), says(OK).await).await;
    assert_eq!((reason, &words[..]), ("body", "the answer's 2 bytes do not match \"^(up|fine)$\""));
}

#[tokio::test]
async fn only_the_first_64_kib_of_a_body_are_looked_at() {
    let body = |before: usize| {
        let body = format!("{}ready", "x".repeat(before));
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    assert_eq!(ask(&contains("ready"), says(body(65_536 - 5)).await).await, Ok(()));
    let (reason, words) = failure(&contains("ready"), says(body(65_536 - 4)).await).await;
    assert_eq!((reason, &words[..]), ("body", "the answer's first 64 KiB do not contain \"ready\""));
}

#[tokio::test]
async fn a_body_that_never_ends_is_read_to_the_limit_or_not_at_all() {
    const START: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
    const MORE: &[u8] = &[b'x'; 16_384];
    let endless = never_ends(START, MORE, Duration::ZERO).await;
    assert_eq!(ask(&get(), endless).await, Ok(()));
    let (reason, words) = failure(&contains("ok"), endless).await;
    assert_eq!((reason, &words[..]), ("body", "the answer's first 64 KiB do not contain \"ok\""));
    assert_eq!(ask(&contains("xxx"), endless).await, Ok(()));

    let slow = never_ends(START, b"x", PAUSE).await;
    let (reason, words) = late_failure(&contains("ok"), slow).await;
    assert_eq!((reason, &words[..]), ("timeout", "no end of the answer from 127.0.0.1:PORT within 300 ms"));
}

#[tokio::test]
async fn a_head_that_never_ends_is_a_timeout_or_too_large() {
    let slow = never_ends(b"HTTP/1.1 200 OK\r\n", b"X", PAUSE).await;
    let (reason, words) = late_failure(&get(), slow).await;
    assert_eq!((reason, &words[..]), ("timeout", "no answer from 127.0.0.1:PORT within 300 ms"));

    for more in [b"X-More: and more\r\n".repeat(2000), [b"X: ".to_vec(), vec![b'y'; 40_000]].concat()] {
        let large = [b"HTTP/1.1 200 OK\r\n", &more[..]].concat();
        let (reason, words) = failure(&get(), says(large).await).await;
        assert_eq!(reason, "protocol", "{words}");
    }

    let continued = never_ends(b"", b"HTTP/1.1 100 Continue\r\n\r\n", PAUSE).await;
    assert_eq!(late_failure(&get(), continued).await.0, "timeout");
}

#[tokio::test]
async fn who_accepts_and_never_answers_is_a_timeout() {
    let (reason, words) = late_failure(&get(), tcp(hold).await).await;
    assert_eq!((reason, &words[..]), ("timeout", "no answer from 127.0.0.1:PORT within 300 ms"));
}

#[tokio::test]
async fn who_ends_the_connection_instead_of_an_answer_is_told() {
    let closed = "127.0.0.1:PORT closed the connection before the end of its answer";
    for answer in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nX: y\r\n"] {
        let (reason, words) = failure(&get(), says(answer).await).await;
        assert_eq!((reason, &words[..]), ("closed", closed), "{answer:?}");
    }
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok";
    let (reason, words) = failure(&contains("ready"), says(cut).await).await;
    assert_eq!((reason, &words[..]), ("closed", closed));

    let resets = tcp(|mut stream| async move {
        read_head(&mut stream).await;
        reset(stream);
    })
    .await;
    let (reason, words) = failure(&get(), resets).await;
    assert_eq!((reason, &words[..]), ("reset", "connection reset by 127.0.0.1:PORT"));
    assert_eq!(failure(&get(), nobody().await).await.0, "refused");
}

#[tokio::test]
async fn what_is_not_http_is_told() {
    for answer in ["SSH-2.0-OpenSSH_9.2\r\n", "\0\0\0\u{1}\r\n\r\n", "HTTP/1.1 abc\r\n\r\n"] {
        let (reason, words) = failure(&get(), says(answer).await).await;
        assert_eq!(reason, "protocol", "{words}");
        assert!(words.starts_with("127.0.0.1:PORT does not speak HTTP/1.1: "), "{words}");
    }
}

#[test]
fn expectations_that_cannot_be_met_are_refused_before() {
    let target = target("127.0.0.1:80".parse().unwrap());
    let refused = |check| Prepared::new(&Kind::Http(check), &target).unwrap_err();
    let statuses = HttpCheck { expected_statuses: vec!["2xx".to_owned()], ..check() };
    assert_eq!(refused(statuses), PrepareError::Status("2xx".to_owned()));
    let regex = refused(HttpCheck { body_regex: Some("(".to_owned()), ..check() });
    assert!(matches!(regex, PrepareError::Regex(_)), "{regex}");
}
