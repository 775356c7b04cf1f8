//! One request over plain HTTP and its answer, without a process: an emulated guest starts few programs a second.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::time::timeout;

/// Gets a path from the calling thread's network namespace: status and page, whatever the status. An error if that
/// takes longer than the limit, from the connection to the end of the page.
pub fn get(address: SocketAddr, path: &str, limit: Duration) -> Result<(StatusCode, String)> {
    // On this thread, for others may be in other namespaces.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fetch(address, path, limit))
}

/// The same for many at a time, from the network namespace of the runtime's thread.
pub(crate) async fn fetch(address: SocketAddr, path: &str, limit: Duration) -> Result<(StatusCode, String)> {
    timeout(limit, ask(address, path)).await.context("timed out")?
}

async fn ask(address: SocketAddr, path: &str) -> Result<(StatusCode, String)> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header(HOST, address.to_string()).header(CONNECTION, "close");
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = response.status();
    let page = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&page).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What is got from a server that says this and closes.
    fn got(said: &'static str) -> Result<(StatusCode, String)> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let asked: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            stream.write_all(said.as_bytes()).unwrap();
            asked
        });
        let got = get(address, "/a?b", Duration::from_secs(20));
        assert_eq!(server.join().unwrap()[0], "GET /a?b HTTP/1.1");
        got
    }

    #[test]
    fn an_answer_is_got_whatever_its_status_and_form_but_only_whole() {
        for (said, status, page) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n", 200, "ok\n"),
            ("HTTP/1.0 503 Busy\r\n\r\nlater", 503, "later"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nok\n\r\n0\r\n\r\n", 200, "ok\n"),
        ] {
            let (code, text) = got(said).unwrap();
            assert_eq!((code.as_u16(), text.as_str()), (status, page), "{said}");
        }
        for cut in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok\n"] {
            assert!(got(cut).is_err(), "{cut}");
        }
    }
}
