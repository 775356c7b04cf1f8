//! The real servers' web server. Its page says who answers and whose address it saw, which is what direct routing
//! promises: `rs1 saw 172.16.0.50`.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv6Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// A client that says nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves IPv4 and IPv6 on every address of the host, for ever.
pub fn serve(name: &str, port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .with_context(|| format!("cannot listen on port {port}"))?;
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let name = name.to_owned();
        // A client that breaks off is no concern of the server.
        thread::spawn(move || answer(&stream, &name));
    }
    Ok(())
}

fn answer(mut stream: &TcpStream, name: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let peer = stream.peer_addr()?.ip();
    for line in BufReader::new(stream).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let page = page(name, peer);
    let length = page.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"
    )
}

fn page(name: &str, peer: IpAddr) -> String {
    // On an IPv6 socket an IPv4 client appears as ::ffff:192.0.2.1.
    format!("{name} saw {}\n", peer.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_the_server_and_the_client_in_its_own_family() {
        assert_eq!(page("rs1", "::ffff:172.16.0.50".parse().unwrap()), "rs1 saw 172.16.0.50\n");
        assert_eq!(page("rs2", "fd00:60::50".parse().unwrap()), "rs2 saw fd00:60::50\n");
    }
}
