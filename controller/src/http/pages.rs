//! Which path gives what.

use std::convert::Infallible;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::Sources;
use super::events;
use super::lease::Lease;
use super::selection::Filter;
use super::state::{self, Statuses};
use crate::board::Board;
use crate::counters::Counters;
use crate::driver_thread::Trigger;
use crate::metrics::{Format, Pieces, Scraper};

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const EVENTS: &str = "text/event-stream";
const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN_METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The status page: it needs nothing but this file and the stream.
const PAGE: &str = include_str!("page.html");
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Scrapes at a time; others wait. Each may hold what is known of all services, for as long as its reader
/// takes.
const SCRAPES: usize = 4;

/// Which paths a listener has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths {
    /// All of them.
    All,
    /// Those for probes and scrapers.
    Scrape,
}

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Healthz,
    Readyz,
    Metrics,
    Home,
    Events,
    Status,
    DebugState,
}

const PAGES: [(&str, Page, &str); 7] = [
    ("/healthz", Page::Healthz, "200 while the process lives"),
    ("/readyz", Page::Readyz, "200 while objects, kernel and ledger are usable, else 503 and why"),
    ("/metrics", Page::Metrics, "for Prometheus"),
    ("/", Page::Home, "the status page, for browsers"),
    ("/events", Page::Events, "what it shows, each second (server-sent events); ?filter=TEXT"),
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

/// What pages are made from, and what is kept from one to the next.
pub(super) struct Site {
    sources: Sources,
    /// What `/status` said last, for the times of its conditions.
    statuses: Mutex<Statuses>,
    streams: Arc<Semaphore>,
    scraper: Scraper,
    scrapes: Arc<Semaphore>,
}

impl Site {
    pub(super) fn new(sources: Sources) -> Self {
        let Sources { driver, checks, counters, .. } = &sources;
        Self {
            scraper: Scraper::new(driver.clone(), checks.clone(), counters.clone()),
            sources,
            statuses: Mutex::default(),
            streams: Arc::new(Semaphore::new(events::STREAMS)),
            scrapes: Arc::new(Semaphore::new(SCRAPES)),
        }
    }

    pub(super) fn board(&self) -> &Board {
        &self.sources.board
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.sources.counters
    }

    pub(super) fn node_name(&self) -> &str {
        &self.sources.node_name
    }

    pub(super) fn driver(&self) -> Sender<Trigger> {
        self.sources.driver.clone()
    }

    pub(super) async fn answer<B>(
        self: Arc<Self>,
        request: &Request<B>,
        paths: Paths,
        lease: Arc<Lease>,
    ) -> Response<Body> {
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
            Page::Metrics => self.metrics(request).await,
            Page::Home => home(),
            Page::Events => self.events(request, lease),
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
        let reasons = state::not_ready(&self.board().lock());
        if reasons.is_empty() {
            return response(StatusCode::OK, TEXT, "ok\n");
        }
        let reasons: String = reasons.iter().map(|reason| format!("not ready: {reason}\n")).collect();
        response(StatusCode::SERVICE_UNAVAILABLE, TEXT, reasons)
    }

    async fn metrics<B>(self: Arc<Self>, request: &Request<B>) -> Response<Body> {
        let mut accepted = request.headers().get_all(header::ACCEPT).iter();
        let wants_open = accepted
            .any(|value| value.to_str().is_ok_and(|value| value.contains("application/openmetrics-text")));
        let (format, content_type) =
            if wants_open { (Format::OpenMetrics, OPEN_METRICS) } else { (Format::Plain, PLAIN_METRICS) };
        let place = Arc::clone(&self.scrapes).acquire_owned().await.expect("the semaphore is never closed");
        let scrape = self.scraper.scrape().await;
        let mut pieces = Pieces::new(self.sources.metrics.text(self.board(), format), scrape, format);
        let first = pieces.next().unwrap_or_default();
        if pieces.is_done() {
            return response(StatusCode::OK, content_type, first);
        }
        let pieces = std::iter::once(first).chain(pieces).map(move |piece| {
            // It holds its place until its reader has everything.
            let _ = &place;
            Ok::<_, Infallible>(Frame::data(Bytes::from(piece)))
        });
        of_body(StatusCode::OK, content_type, StreamBody::new(futures::stream::iter(pieces)).boxed_unsync())
    }

    fn events<B>(self: Arc<Self>, request: &Request<B>, lease: Arc<Lease>) -> Response<Body> {
        let Some(filter) = Filter::of_query(request.uri().query().unwrap_or_default()) else {
            return response(StatusCode::BAD_REQUEST, TEXT, "filter is too long\n");
        };
        if request.method() == Method::HEAD {
            return response(StatusCode::OK, EVENTS, "");
        }
        let Ok(permit) = Arc::clone(&self.streams).try_acquire_owned() else {
            let words = format!("{} pages are open already: close one\n", events::STREAMS);
            return response(StatusCode::SERVICE_UNAVAILABLE, TEXT, words);
        };
        lease.leave_place();
        of_body(StatusCode::OK, EVENTS, events::body(self, filter, lease, permit).boxed_unsync())
    }

    fn status(&self) -> serde_json::Result<Vec<u8>> {
        let entries: Vec<_> = self.board().lock().entries.values().cloned().collect();
        // Written whole after each object: a panic in between leaves old times, nothing worse.
        let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        statuses.list(&entries, self.node_name(), Timestamp::now())
    }

    fn debug_state(&self) -> serde_json::Result<Vec<u8>> {
        state::debug(&self.board().lock(), self.node_name())
    }
}

fn home() -> Response<Body> {
    let mut page = response(StatusCode::OK, HTML, PAGE);
    page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    page
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    of_body(status, content_type, Full::new(body.into()).boxed_unsync())
}

fn of_body(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
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
