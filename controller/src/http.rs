//! The agent's HTTP server: probes, metrics, and what the agent knows. Read-only.
//!
//! One request per connection, few connections at a time, all with a deadline: nothing a client does can take
//! more than a little memory for a little while. The status page's streams last longer, and are fewer.

mod events;
#[cfg(test)]
pub(crate) mod fixtures;
mod lease;
mod pages;
mod rates;
mod selection;
mod snapshot;
mod state;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tracing::{debug, warn};

use crate::board::Board;
use crate::checker::CheckCounts;
use crate::counters::Counters;
use crate::driver_thread::Trigger;
use crate::metrics::Metrics;

use lease::Lease;
pub use pages::Paths;
use pages::{Body, Site};

/// Connections at a time, for each listener; further ones wait in its backlog.
const CONNECTIONS: usize = 32;
/// For the request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// For all of a connection, a slow reader included.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// What the system keeps of what a reader has not taken, in bytes; it doubles the number. More of it would be a queue
/// of old snapshots.
const SEND_BUFFER: usize = 128 << 10;
/// After `accept` failed, for want of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Another process listens there.
    #[error(
        "{flag} {address} is taken: stop the process that listens there (another lvs-controller?), or choose another \
         address with {flag}"
    )]
    Taken {
        /// The flag that named the address.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be used for another reason.
    #[error("cannot listen on {flag} {address}: choose an address of this host with {flag}")]
    Bind {
        /// The flag that named the address.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// What pages are made from.
#[derive(Debug)]
pub struct Sources {
    /// What is known of each object.
    pub board: Board,
    /// What the agent counts and measures.
    pub metrics: Metrics,
    /// This Director.
    pub node_name: String,
    /// The driver, which is asked what should be in the kernel.
    pub driver: Sender<Trigger>,
    /// What the kernel counts.
    pub counters: Counters,
    /// What the checker counts.
    pub checks: CheckCounts,
}

/// Sockets that listen and are not served yet: binding comes before everything else, because a taken port ends the
/// process.
#[derive(Debug)]
pub struct Servers {
    all: TcpListener,
    scrape: Option<TcpListener>,
}

impl Servers {
    /// Binds `--http` and, if given, `--metrics-http`.
    pub async fn bind(http: SocketAddr, metrics_http: Option<SocketAddr>) -> Result<Self, HttpError> {
        let all = bind("--http", http).await?;
        let scrape = match metrics_http {
            Some(address) => Some(bind("--metrics-http", address).await?),
            None => None,
        };
        Ok(Self { all, scrape })
    }

    /// Where it listens, with the ports that the system chose for port 0.
    pub fn addresses(&self) -> io::Result<(SocketAddr, Option<SocketAddr>)> {
        let scrape = self.scrape.as_ref().map(TcpListener::local_addr).transpose()?;
        Ok((self.all.local_addr()?, scrape))
    }

    /// Serves until the task is aborted.
    pub fn serve(self, sources: Sources) -> JoinHandle<()> {
        let site = Arc::new(Site::new(sources));
        let Self { all, scrape } = self;
        tokio::spawn(async move {
            let all = listen(all, Arc::clone(&site), Paths::All);
            match scrape {
                Some(scrape) => {
                    tokio::join!(all, listen(scrape, site, Paths::Scrape));
                }
                None => all.await,
            }
        })
    }
}

async fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, HttpError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => HttpError::Taken { flag, address },
        _ => HttpError::Bind { flag, address, source },
    })
}

/// Accepts without end. Connections end with the caller: they live in its task set.
async fn listen(listener: TcpListener, site: Arc<Site>, paths: Paths) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut complained = false;
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                // With the system's own size it works too.
                let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER);
                let lease = Arc::new(Lease::new(permit, CONNECTION_TIMEOUT));
                connections.spawn(serve_connection(stream, Arc::clone(&site), paths, lease));
            }
            Err(error) => {
                if !complained {
                    complained = true;
                    warn!(%error, "cannot accept HTTP connections; trying again");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, site: Arc<Site>, paths: Paths, lease: Arc<Lease>) {
    let of_requests = Arc::clone(&lease);
    let answer = service_fn(move |request: Request<Incoming>| {
        let (site, lease) = (Arc::clone(&site), Arc::clone(&of_requests));
        async move { Ok::<Response<Body>, Infallible>(site.answer(&request, paths, lease).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                debug!(%error, "an HTTP connection failed");
            }
        }
        () = lease.over() => debug!("an HTTP connection took too long"),
    }
}

#[cfg(test)]
mod tests;
