//! What a person sees on the page.

use serde::Deserialize;

/// The JavaScript function that gathers it.
pub(crate) const LOOK: &str = include_str!("seen.js");
/// The one that has it gathered of each snapshot, as [`Noted`].
pub(crate) const NOTE: &str = include_str!("note.js");

/// What the page showed of a snapshot.
#[derive(Debug, Deserialize)]
pub(crate) struct Noted {
    /// When the agent made it, in milliseconds of its own clock since 1970.
    pub(crate) at: u64,
    pub(crate) seen: Seen,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Seen {
    pub(crate) node: String,
    pub(crate) ready: String,
    pub(crate) stale: String,
    pub(crate) background: String,
    pub(crate) services: Vec<Service>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) words: String,
    pub(crate) conditions: Vec<String>,
    pub(crate) servers: Vec<Server>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) health: String,
    pub(crate) words: String,
    /// Of the words for its state, as computed: `rgb(27, 127, 77)`.
    pub(crate) colour: String,
    /// Of its edge.
    pub(crate) edge: String,
    /// How far its drain is; empty without one.
    pub(crate) drain: String,
    /// The path of its sparkline.
    pub(crate) line: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hue {
    Red,
    Green,
    Other,
}

impl Seen {
    pub(crate) fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == in_default(name))
    }
}

impl Noted {
    /// Whether a real server of the service `web` is out of order, and red.
    pub(crate) fn is_red(&self, name: &str) -> bool {
        self.seen.service("web").and_then(|web| web.server(name)).is_some_and(Server::is_red)
    }
}

impl Service {
    pub(crate) fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == in_default(name))
    }
}

impl Server {
    /// Its state, its health and its colour, if words and edge have the same.
    pub(crate) fn at_a_glance(&self) -> (&str, &str, Hue) {
        let (words, edge) = (hue(&self.colour), hue(&self.edge));
        (&self.state, &self.health, if words == edge { words } else { Hue::Other })
    }

    pub(crate) fn is_red(&self) -> bool {
        self.at_a_glance() == ("Unhealthy", "Unhealthy", Hue::Red)
    }

    /// How many connections are left of how many at the drain's start.
    pub(crate) fn left(&self) -> Option<(u32, u32)> {
        let (left, rest) = self.drain.split_once(" of ")?;
        let (start, _) = rest.split_once(" left")?;
        Some((left.parse().ok()?, start.parse().ok()?))
    }
}

fn in_default(name: &str) -> String {
    format!("default/{name}")
}

/// What people would call a colour.
fn hue(colour: &str) -> Hue {
    let [red, green, blue] = rgb(colour);
    if red > green + 50 && red > blue + 50 {
        Hue::Red
    } else if green > red + 50 && green > blue + 20 {
        Hue::Green
    } else {
        Hue::Other
    }
}

/// How bright a colour is, from 0 to 765.
pub(crate) fn brightness(colour: &str) -> i32 {
    rgb(colour).iter().sum()
}

fn rgb(colour: &str) -> [i32; 3] {
    let inside = colour.strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')'));
    let numbers = inside.unwrap_or_default().split(", ").map(|number| number.parse().unwrap_or_default());
    numbers.collect::<Vec<i32>>().try_into().unwrap_or_else(|_| panic!("{colour} is no rgb()"))
}

#[test]
fn red_and_green_are_told_from_the_other_colours_of_the_page() {
    for (colour, expected) in [
        ("rgb(196, 48, 43)", Hue::Red),
        ("rgb(255, 133, 124)", Hue::Red),
        ("rgb(27, 127, 77)", Hue::Green),
        ("rgb(88, 199, 146)", Hue::Green),
        ("rgb(143, 95, 0)", Hue::Other),
        ("rgb(102, 113, 126)", Hue::Other),
    ] {
        assert_eq!(hue(colour), expected, "{colour}");
    }
}
