//! Which path gives what.

use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;

use super::state::{self, Statuses};
use crate::board::Board;
use crate::metrics::Metrics;

pub(super) type Body = Full<Bytes>;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN_METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Which paths a listener has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths {
    /// All of them.
    All,
    /// Those for probes and scrapers: nothing that names objects.
    Scrape,
}

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Healthz,
    Readyz,
    Metrics,
    Status,
    DebugState,
}

const PAGES: [(&str, Page, &str); 5] = [
    ("/healthz", Page::Healthz, "200 while the process lives"),
    ("/readyz", Page::Readyz, "200 while objects, kernel and ledger are usable, else 503 and why"),
    ("/metrics", Page::Metrics, "for Prometheus"),
    ("/status", Page::Status, "all objects with their status, as a List"),
    ("/debug/state", Page::DebugState, "the source, its findings and what is not ready"),
];

impl Paths {
    fn pages(self) -> &'static [(&'static str, Page, &'static str)] {
        match self {
            Self::All => &PAGES,
            Self::Scrape => &PAGES[..3],
        }
    }
}

/// What pages are made from.
pub(super) struct Site {
    board: Board,
    metrics: Metrics,
    node_name: String,
    /// What `/status` said last, for the times of its conditions.
    statuses: Mutex<Statuses>,
}

impl Site {
    pub(super) fn new(board: Board, metrics: Metrics, node_name: String) -> Self {
        Self { board, metrics, node_name, statuses: Mutex::default() }
    }

    pub(super) async fn answer<B>(self: Arc<Self>, request: &Request<B>, paths: Paths) -> Response<Body> {
        let path = request.uri().path();
        let Some((_, page, _)) = paths.pages().iter().find(|(known, _, _)| *known == path) else {
            return response(StatusCode::NOT_FOUND, TEXT, not_found(path, paths));
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal =
                response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD are answered\n");
            refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match page {
            Page::Healthz => response(StatusCode::OK, TEXT, "ok\n"),
            Page::Readyz => self.readyz(),
            Page::Metrics => self.metrics(request),
            Page::Status => self.large(Self::status).await,
            Page::DebugState => self.large(Self::debug_state).await,
        }
    }

    /// Makes a page that grows with the number of objects off the threads that serve others.
    async fn large(self: Arc<Self>, make: fn(&Self) -> serde_json::Result<Vec<u8>>) -> Response<Body> {
        match tokio::task::spawn_blocking(move || make(&self)).await {
            Ok(Ok(bytes)) => response(StatusCode::OK, JSON, bytes),
            Ok(Err(error)) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
            Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        }
    }

    fn readyz(&self) -> Response<Body> {
        let reasons = state::not_ready(&self.board.lock());
        if reasons.is_empty() {
            return response(StatusCode::OK, TEXT, "ok\n");
        }
        let reasons: String = reasons.iter().map(|reason| format!("not ready: {reason}\n")).collect();
        response(StatusCode::SERVICE_UNAVAILABLE, TEXT, reasons)
    }

    fn metrics<B>(&self, request: &Request<B>) -> Response<Body> {
        let mut accepted = request.headers().get_all(header::ACCEPT).iter();
        let wants_open = accepted
            .any(|value| value.to_str().is_ok_and(|value| value.contains("application/openmetrics-text")));
        if wants_open {
            response(StatusCode::OK, OPEN_METRICS, self.metrics.open_metrics(&self.board))
        } else {
            response(StatusCode::OK, PLAIN_METRICS, self.metrics.plain_text(&self.board))
        }
    }

    fn status(&self) -> serde_json::Result<Vec<u8>> {
        let entries: Vec<_> = self.board.lock().entries.values().cloned().collect();
        // Written whole after each object: a panic in between leaves old times, nothing worse.
        let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        statuses.list(&entries, &self.node_name, Timestamp::now())
    }

    fn debug_state(&self) -> serde_json::Result<Vec<u8>> {
        state::debug(&self.board.lock(), &self.node_name)
    }
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn not_found(path: &str, paths: Paths) -> String {
    let known: String = paths.pages().iter().map(|(path, _, what)| format!("{path:14}{what}\n")).collect();
    format!("there is nothing at {path:?}; there is:\n{known}")
}
