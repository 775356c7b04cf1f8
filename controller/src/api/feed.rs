//! One kind's stream of events, for as long as anybody wants them: begun anew, with a full list, after each
//! failure.
//!
//! kube's watcher would resume from where it was, but it does not say that it has, and what cannot be told from
//! silence is not known to be up to date.

use std::time::{Duration, Instant};

use futures::stream::{BoxStream, StreamExt as _};
use kube::Api;
use kube::runtime::watcher::{self, watcher};
use lvs_plan::ObjectKey;

use super::backoff::Backoff;
use super::connect::{Connection, explain, is_unauthorized};
use super::guarded::Guarded;
use super::observed::{Observed, Watched, key_of, observe};
use super::source::Grade;

/// Objects per request of a list: what is in memory twice for a moment.
const PAGE: u32 = 50;
/// The server ends a quiet watch after so many seconds, and it is asked for anew; a connection that died silently
/// is noticed 5 s later.
const WATCH_SECONDS: u32 = 60;
/// A list that makes no progress for so long has failed.
const LIST_STALL: Duration = Duration::from_secs(30);
/// The version we were at is not kept any more; a list brings us back.
const GONE: u16 = 410;
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(15);

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// A full list is asked for.
    ListBegins,
    /// An object of the list.
    Listed(Box<Observed>),
    /// The list is whole.
    ListEnds,
    /// An object is new or changed.
    Present(Box<Observed>),
    /// An object was deleted.
    Deleted(ObjectKey),
    /// Nothing is known to be up to date until the next list has ended.
    Broken(Broken),
}

/// Why a watch broke.
#[derive(Debug)]
pub(super) struct Broken {
    /// What is wrong and what to do.
    pub(super) message: String,
    pub(super) grade: Grade,
    /// The credentials have to be read again.
    pub(super) unauthorized: bool,
}

/// The stream of one kind.
pub(super) struct Feed {
    connection: Connection,
    open: fn(&Connection, Option<&str>) -> BoxStream<'static, Event>,
    what: &'static str,
    /// The only object that is of interest, if it is only one.
    only: Option<String>,
    stream: Option<BoxStream<'static, Event>>,
    /// When to begin (again).
    begin_at: Instant,
    /// While a list is on its way: when it has made no progress for too long.
    stalls_at: Option<Instant>,
    backoff: Backoff,
}

impl Feed {
    pub(super) fn new<K: Watched>(connection: Connection) -> Self {
        Self {
            connection,
            open: open::<K>,
            what: K::KIND.as_str(),
            only: None,
            stream: None,
            begin_at: Instant::now(),
            stalls_at: None,
            backoff: Backoff::new(WAIT_MIN, WAIT_MAX),
        }
    }

    /// The stream of the one object of this name.
    pub(super) fn of_one<K: Watched>(connection: Connection, name: &str) -> Self {
        Self { only: Some(name.to_owned()), ..Self::new::<K>(connection) }
    }

    /// A full list by a fresh request, not before `at`. Until then the watch goes on.
    pub(super) fn list_again(&mut self, at: Instant) {
        self.begin_at = at;
    }

    /// The next event. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            let Some(stream) = &mut self.stream else {
                tokio::time::sleep_until(self.begin_at.into()).await;
                self.begin_at = far_future();
                self.stalls_at = Some(Instant::now() + LIST_STALL);
                self.stream = Some((self.open)(&self.connection, self.only.as_deref()));
                continue;
            };
            let patience = self.stalls_at.unwrap_or_else(far_future);
            let event = tokio::select! {
                event = stream.next() => event,
                () = tokio::time::sleep_until(self.begin_at.into()) => {
                    self.stream = None;
                    continue;
                }
                () = tokio::time::sleep_until(patience.into()) => Some(self.stalled()),
            };
            if self.stalls_at.is_some() {
                self.stalls_at = Some(Instant::now() + LIST_STALL);
            }
            match event {
                Some(Event::ListEnds) => {
                    self.stalls_at = None;
                    self.backoff.reset();
                    return Event::ListEnds;
                }
                Some(Event::Broken(broken)) => {
                    self.stream = None;
                    self.begin_at = Instant::now() + self.backoff.wait();
                    return Event::Broken(broken);
                }
                Some(event) => return event,
                // kube's watcher never ends; if it did, it would be begun anew.
                None => self.stream = None,
            }
        }
    }

    fn stalled(&self) -> Event {
        let Self { what, connection, .. } = self;
        let message = format!(
            "the API server at {} began to answer and stopped while listing {what}: it may be overloaded",
            connection.address
        );
        Event::Broken(Broken { message, grade: Grade::Trouble, unauthorized: false })
    }
}

/// Later than anything here waits for; [`Instant`] has no maximum.
fn far_future() -> Instant {
    Instant::now() + Duration::from_hours(24)
}

fn open<K: Watched>(connection: &Connection, only: Option<&str>) -> BoxStream<'static, Event> {
    let api = Api::<Guarded<K>>::all(connection.client.clone());
    let mut config = watcher::Config::default().page_size(PAGE).timeout(WATCH_SECONDS);
    if let Some(name) = only {
        config = config.fields(&format!("metadata.name={name}"));
    }
    let address = connection.address.clone();
    watcher(api, config)
        .map(move |event| match event {
            Ok(watcher::Event::Init) => Event::ListBegins,
            Ok(watcher::Event::InitApply(object)) => Event::Listed(Box::new(observe(object))),
            Ok(watcher::Event::InitDone) => Event::ListEnds,
            Ok(watcher::Event::Apply(object)) => Event::Present(Box::new(observe(object))),
            Ok(watcher::Event::Delete(object)) => Event::Deleted(key_of(&object)),
            Err(error) => Event::Broken(broken::<K>(&error, &address)),
        })
        .boxed()
}

fn broken<K: Watched>(error: &watcher::Error, address: &str) -> Broken {
    let plural = K::plural(&());
    let (error, verb) = match error {
        watcher::Error::InitialListFailed(error) => (error, "list"),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => (error, "watch"),
        watcher::Error::WatchError(status) => {
            let (code, words) = (status.code, &status.message);
            let message = match code {
                GONE => compacted(&plural),
                _ => format!("the watch on {plural} broke: the API server at {address} says {code} {words}"),
            };
            return Broken { message, grade: Grade::Trouble, unauthorized: code == 401 };
        }
        watcher::Error::NoResourceVersion => {
            let message = format!("the API server at {address} serves {plural} without resource versions");
            return Broken { message, grade: Grade::Trouble, unauthorized: false };
        }
    };
    if matches!(error, kube::Error::Api(status) if status.code == GONE) {
        return Broken { message: compacted(&plural), grade: Grade::Trouble, unauthorized: false };
    }
    let doing = format!("{verb} {plural}.{}", K::group(&()));
    Broken {
        message: explain(error, &doing, address),
        grade: Grade::of(error),
        unauthorized: is_unauthorized(error),
    }
}

fn compacted(plural: &str) -> String {
    format!("the API server no longer keeps the version of {plural} that we had: all of them are read again")
}
