//! The stream behind the status page: a snapshot a second, as server-sent events.
//!
//! A snapshot is made when the one before has gone out, so a reader that is slow misses some and piles up
//! nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use jiff::Timestamp;
use lvs_plan::ObjectKey;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::MissedTickBehavior;
use tracing::debug;

use super::lease::Lease;
use super::pages::Site;
use super::rates::Rates;
use super::selection::{Filter, Selection};
use super::snapshot::{Snapshot, Sources};
use crate::counters::Counters;
use crate::view::{Of, View, Window};

/// Streams at a time.
pub(super) const STREAMS: usize = 8;
/// From snapshot to snapshot.
const PERIOD: Duration = Duration::from_secs(1);
/// A stream ends after so long; the page comes again.
const LIFETIME: Duration = Duration::from_secs(600);
/// A reader that takes nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the driver is waited for.
const DRIVER_LIMIT: Duration = Duration::from_millis(500);
/// Browsers come again so long after a broken connection, in milliseconds.
const HELLO: &[u8] = b"retry: 1000\n\n";

struct Stream {
    site: Arc<Site>,
    filter: Filter,
    lease: Arc<Lease>,
    window: Window,
    ticks: tokio::time::Interval,
    rates: Rates,
    greeted: bool,
    end: Instant,
    _permit: OwnedSemaphorePermit,
}

/// The body of a stream; it holds its place among the streams by `permit`.
pub(super) fn body(
    site: Arc<Site>,
    filter: Filter,
    lease: Arc<Lease>,
    permit: OwnedSemaphorePermit,
) -> impl hyper::body::Body<Data = Bytes, Error = Infallible> + Send {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stream = Stream {
        window: Window::new(site.driver()),
        site,
        filter,
        lease,
        ticks,
        rates: Rates::default(),
        greeted: false,
        end: Instant::now() + LIFETIME,
        _permit: permit,
    };
    StreamBody::new(futures::stream::unfold(stream, |mut stream| async {
        let bytes = stream.next().await?;
        Some((Ok(Frame::data(bytes)), stream))
    }))
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        self.lease.extend(PATIENCE);
        if !self.greeted {
            self.greeted = true;
            return Some(Bytes::from_static(HELLO));
        }
        self.ticks.tick().await;
        if Instant::now() >= self.end {
            return None;
        }
        self.snapshot().await.inspect_err(|error| debug!(%error, "no snapshot could be made")).ok()
    }

    async fn snapshot(&mut self) -> anyhow::Result<Bytes> {
        let (site, filter) = (Arc::clone(&self.site), self.filter.clone());
        let selection = tokio::task::spawn_blocking(move || Selection::of(site.board(), &filter)).await?;
        let owners: Vec<ObjectKey> = selection.entries.iter().map(|entry| entry.object.key.clone()).collect();
        let view = self.window.look(Of::These(owners), DRIVER_LIMIT).await;
        let (site, mut rates) = (Arc::clone(&self.site), std::mem::take(&mut self.rates));
        let made = tokio::task::spawn_blocking(move || {
            let event = event(&site, &selection, &view, &mut rates);
            (event, rates)
        });
        let event;
        (event, self.rates) = made.await?;
        Ok(event?)
    }
}

fn event(site: &Site, selection: &Selection, view: &View, rates: &mut Rates) -> serde_json::Result<Bytes> {
    let counters: &Counters = site.counters();
    let in_kernel = view.services.iter().filter(|service| service.in_kernel);
    let counted = counters.destinations(in_kernel.map(|service| &service.key));
    rates.sample(&counted, Instant::now());
    let sources = Sources { node: site.node_name(), selection, view, counted: &counted, rates };
    // To the millisecond.
    let time = Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap_or_default();
    let mut text = b"event: snapshot\ndata: ".to_vec();
    // JSON has no line breaks in it, which would end the data.
    serde_json::to_writer(&mut text, &Snapshot::new(&sources, time.to_string()))?;
    text.extend_from_slice(b"\n\n");
    Ok(text.into())
}
