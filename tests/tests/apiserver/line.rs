//! The line between an agent and the API server, which can be cut: a relay on the loopback of the agent's host.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use lvs_lab::topology::Host;

/// Ends when it is dropped, with all its connections.
pub(crate) struct Line {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_cut: AtomicBool,
    turned_away: AtomicU32,
    ended: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Line {
    /// From a host's loopback to the API server of a kubeconfig, which this process can reach.
    pub(crate) fn new(host: &Host, kubeconfig: &str) -> Self {
        let upstream: SocketAddr = server_of(kubeconfig).parse().unwrap();
        // A socket stays on the host where it was made, whoever uses it.
        let listener = host.within(|| TcpListener::bind("127.0.0.1:0")).unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let relay = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                if relay.ended.load(Ordering::Relaxed) {
                    return;
                }
                if relay.is_cut.load(Ordering::Relaxed) {
                    relay.turned_away.fetch_add(1, Ordering::Relaxed);
                } else {
                    let _ = client.and_then(|client| relay.connect(client, upstream));
                }
            }
        });
        Self { address, state }
    }

    /// The kubeconfig, with the near end of the line as its server.
    pub(crate) fn kubeconfig(&self, kubeconfig: &str) -> String {
        kubeconfig.replace(server_of(kubeconfig), &self.address.to_string())
    }

    /// From now on nothing gets through.
    pub(crate) fn cut(&self) {
        self.state.is_cut.store(true, Ordering::Relaxed);
        self.state.hang_up();
    }

    /// How many connections were tried while it was cut.
    pub(crate) fn turned_away(&self) -> u32 {
        self.state.turned_away.load(Ordering::Relaxed)
    }

    /// New connections get through again.
    pub(crate) fn mend(&self) {
        self.state.is_cut.store(false, Ordering::Relaxed);
    }
}

impl State {
    fn connect(&self, client: TcpStream, upstream: SocketAddr) -> io::Result<()> {
        let server = TcpStream::connect(upstream)?;
        let mut connections = self.connections.lock().unwrap();
        connections.push(client.try_clone()?);
        connections.push(server.try_clone()?);
        for (mut from, mut to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
        Ok(())
    }

    fn hang_up(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        self.state.hang_up();
    }
}

/// The `ADDRESS:PORT` of the one server that the kubeconfig names.
fn server_of(kubeconfig: &str) -> &str {
    let (_, rest) = kubeconfig.split_once("://").expect("a kubeconfig names a server");
    let end =
        rest.find(|end: char| end == '"' || end == '\'' || end == ',' || end == '}' || end.is_whitespace());
    &rest[..end.unwrap_or(rest.len())]
}
