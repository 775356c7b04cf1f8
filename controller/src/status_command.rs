//! `status`: what the running agent says of each object, for people.

mod table;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::args::Output;
use table::{DebugState, List};

/// The agent serves from memory: an answer takes milliseconds, and with 10,000 services a second.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Prints `/status` of the agent that serves at `http`: as a table with what is wrong in words, or as it is.
///
/// # Errors
/// If no agent answers there, or something that is not one does.
pub fn run(http: SocketAddr, output: Output) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let text = runtime.block_on(async {
        match output {
            Output::Json => get(http, "/status").await,
            Output::Table => {
                let list: List = parse(&get(http, "/status").await?, http, "/status")?;
                let state: DebugState = parse(&get(http, "/debug/state").await?, http, "/debug/state")?;
                Ok(Bytes::from(table::render(&list, &state)))
            }
        }
    })?;
    match io::stdout().lock().write_all(&text) {
        // `status | head` has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot print the status")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8], http: SocketAddr, path: &str) -> Result<T> {
    serde_json::from_slice(body).with_context(|| {
        format!("what http://{http}{path} says is not what an lvs-controller of this version says; is it another program?")
    })
}

async fn get(http: SocketAddr, path: &'static str) -> Result<Bytes> {
    match tokio::time::timeout(TIMEOUT, fetch(http, path)).await {
        Ok(answer) => answer,
        Err(_) => bail!("the agent at {http} did not answer within {} s; see its log", TIMEOUT.as_secs()),
    }
}

async fn fetch(http: SocketAddr, path: &'static str) -> Result<Bytes> {
    let stream = TcpStream::connect(http).await.with_context(|| {
        format!(
            "no agent answers at {http}: start it (lvs-controller run), or say where it serves with --http"
        )
    })?;
    let not_http =
        || format!("what answers at {http} does not speak HTTP; say where the agent serves with --http");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.with_context(not_http)?;
    tokio::spawn(connection);
    let request = Request::get(path).header(header::HOST, http.to_string()).body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await.with_context(not_http)?;
    let status = answer.status();
    let body = answer
        .into_body()
        .collect()
        .await
        .with_context(|| format!("the answer of http://{http}{path} broke off"))?
        .to_bytes();
    if status != StatusCode::OK {
        bail!(
            "http://{http}{path} answered {status}: this is not where an agent serves its status (--metrics-http has \
             none); say where it does with --http"
        );
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use lvs_plan::Reason;

    use super::*;
    use crate::board::{Board, fixtures};
    use crate::http::{Servers, fixtures as served};

    fn free_port() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    async fn agent(scrape: bool) -> (SocketAddr, Option<SocketAddr>) {
        let board = Board::default();
        fixtures::put(&board, fixtures::virtual_service("web", Reason::Announced));
        let servers = Servers::bind(free_port(), scrape.then(free_port)).await.unwrap();
        let addresses = servers.addresses().unwrap();
        servers.serve(served::sources(board));
        addresses
    }

    #[tokio::test]
    async fn what_the_agent_serves_can_be_read_as_a_table() {
        let (http, _) = agent(false).await;
        let list: List = parse(&get(http, "/status").await.unwrap(), http, "/status").unwrap();
        let state: DebugState =
            parse(&get(http, "/debug/state").await.unwrap(), http, "/debug/state").unwrap();
        let text = table::render(&list, &state);
        assert!(text.contains("172.16.21.10"), "{text}");
    }

    #[tokio::test]
    async fn without_an_agent_the_error_says_how_to_get_one() {
        let nobody = {
            let listener = std::net::TcpListener::bind(free_port()).unwrap();
            listener.local_addr().unwrap()
        };
        let error = get(nobody, "/status").await.unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("lvs-controller run") && text.contains("--http"), "{text}");
        assert!(text.contains("refused"), "{text}");
    }

    #[tokio::test]
    async fn the_scraping_address_is_told_from_the_one_with_the_status() {
        let (_, scrape) = agent(true).await;
        let error = get(scrape.unwrap(), "/status").await.unwrap_err();
        assert!(error.to_string().contains("--metrics-http has none"), "{error}");
    }

    #[tokio::test]
    async fn another_program_is_told_from_an_agent() {
        let error = parse::<List>(b"<html>", free_port(), "/status").map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("is it another program?"), "{error}");
    }
}
