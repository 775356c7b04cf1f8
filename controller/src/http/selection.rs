//! Which virtual services the status page shows.

use std::collections::HashSet;
use std::sync::Arc;

use lvs_plan::{Kind, ObjectKey, Spec};
use serde::Serialize;

use super::state;
use crate::board::{Board, Entry};

/// Virtual services in one snapshot, at most.
pub(super) const VIRTUAL_SERVICES: usize = 200;
/// Real servers in one snapshot, by the count of their virtual services; a single service may have more.
const REAL_SERVERS: i64 = 4_000;
/// The longest filter, in bytes.
pub(super) const LONGEST_FILTER: usize = 256;

/// What somebody looks for: a part of a name, namespace, VIP or address, in any case of its letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter(String);

impl Filter {
    /// From the query of a URI; without `filter` everything fits. `None` if it is too long to be meant.
    pub(super) fn of_query(query: &str) -> Option<Self> {
        let filter = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "filter");
        let filter = filter.map(|(_, value)| value.trim().to_lowercase()).unwrap_or_default();
        (filter.len() <= LONGEST_FILTER).then_some(Self(filter))
    }

    fn is_in(&self, text: &str) -> bool {
        // What can be found is ASCII.
        let (text, wanted) = (text.as_bytes(), self.0.as_bytes());
        wanted.is_empty() || text.windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted))
    }

    fn names(&self, entry: &Entry) -> bool {
        // A namespace, a name, or the end of one and the start of the other.
        self.is_in(&entry.object.key.to_string())
    }

    fn fits_real_server(&self, entry: &Entry) -> bool {
        let address = match &entry.object.spec {
            Spec::RealServer(spec) => spec.address.as_str(),
            _ => "",
        };
        self.is_in(address) || self.names(entry)
    }

    fn fits_virtual_service(&self, entry: &Entry) -> bool {
        let vip = match &entry.object.spec {
            Spec::VirtualService(spec) => spec.vip.as_deref().unwrap_or_default(),
            _ => "",
        };
        self.is_in(vip) || self.names(entry)
    }
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Total {
    /// On the board.
    virtual_services: usize,
    /// On the board.
    real_servers: usize,
    /// In the snapshot.
    pub(super) shown: usize,
    /// That the filter fits.
    pub(super) matching: usize,
}

/// What one snapshot shows of the board.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) not_ready: Vec<String>,
    pub(super) total: Total,
    /// Virtual services by namespace and name.
    pub(super) entries: Vec<Arc<Entry>>,
}

impl Selection {
    pub(super) fn of(board: &Board, filter: &Filter) -> Self {
        let content = board.lock();
        let first = |kind| ObjectKey::new(kind, "", "");
        let real_servers = content.entries.range(first(Kind::RealServer)..first(Kind::VirtualService));
        let virtual_services = content.entries.range(first(Kind::VirtualService)..);
        let not_ready = state::not_ready(&content);
        let mut total = Total {
            virtual_services: virtual_services.clone().count(),
            real_servers: real_servers.clone().count(),
            ..Total::default()
        };
        if filter.0.is_empty() {
            total.matching = total.virtual_services;
            let entries = some_of(virtual_services.map(|(_, entry)| entry).cloned());
            total.shown = entries.len();
            return Self { not_ready, total, entries };
        }
        // What looks at every object is done without the lock.
        let virtual_services: Vec<Arc<Entry>> = virtual_services.map(|(_, entry)| entry).cloned().collect();
        let real_servers: Vec<Arc<Entry>> = real_servers.map(|(_, entry)| entry).cloned().collect();
        drop(content);
        let found = real_servers.iter().filter(|entry| filter.fits_real_server(entry));
        let by_real_server: HashSet<&ObjectKey> =
            found.flat_map(|entry| &entry.verdict.virtual_services).collect();
        let fits = |entry: &Arc<Entry>| {
            filter.fits_virtual_service(entry) || by_real_server.contains(&entry.object.key)
        };
        let matching: Vec<_> = virtual_services.into_iter().filter(fits).collect();
        total.matching = matching.len();
        let entries = some_of(matching.into_iter());
        total.shown = entries.len();
        Self { not_ready, total, entries }
    }
}

/// The first, as many as one snapshot can show.
fn some_of(entries: impl Iterator<Item = Arc<Entry>>) -> Vec<Arc<Entry>> {
    let mut room = REAL_SERVERS;
    let has_room = |entry: &Arc<Entry>| {
        let had = room > 0;
        room -= entry.verdict.real_servers.map_or(0, |counts| i64::from(counts.total));
        had
    };
    entries.take(VIRTUAL_SERVICES).take_while(has_room).collect()
}

#[cfg(test)]
mod tests {
    use lvs_plan::Reason;

    use super::*;
    use crate::board::fixtures;

    fn board() -> Board {
        let board = Board::default();
        for name in ["web", "api", "old"] {
            fixtures::put(&board, fixtures::virtual_service(name, Reason::Announced));
        }
        fixtures::put(&board, fixtures::refused("late", Reason::Conflict));
        fixtures::put(&board, fixtures::firewall_mark("marked", 7));
        fixtures::put(&board, fixtures::real_server("blue", &["default/api", "default/marked"]));
        board
    }

    fn names(query: &str) -> Vec<String> {
        let filter = Filter::of_query(query).expect("it is short");
        let selection = Selection::of(&board(), &filter);
        assert_eq!((selection.total.virtual_services, selection.total.real_servers), (5, 1));
        selection.entries.iter().map(|entry| entry.object.key.name.to_string()).collect()
    }

    #[test]
    fn a_filter_fits_names_namespaces_vips_and_real_servers_in_any_case() {
        let all = ["api", "late", "marked", "old", "web"];
        for (query, found) in [
            ("", &all[..]),
            ("other=web", &all[..]),
            ("filter=", &all[..]),
            ("filter=WEB", &["web"]),
            ("filter=%20we%62+", &["web"]),
            ("filter=DEFAULT", &all[..]),
            ("filter=t%2Fweb", &["web"]),
            ("filter=21.99", &["late"]),
            ("filter=172.16.21.10", &["api", "old", "web"]),
            ("filter=192.168.40.12", &["api", "marked"]),
            ("filter=blue", &["api", "marked"]),
            ("filter=nothing", &[]),
            ("filter=%ff%00", &[]),
        ] {
            assert_eq!(names(query), found, "{query:?}");
        }
        assert_eq!(Filter::of_query(&format!("filter={}", "x".repeat(LONGEST_FILTER + 1))), None);
    }

    #[test]
    fn at_most_200_virtual_services_are_shown_and_fewer_large_ones() {
        let board = Board::default();
        let mut shown = Vec::new();
        for large in [false, true] {
            for number in 0..=VIRTUAL_SERVICES {
                let mut entry = fixtures::virtual_service(&format!("s{number:03}"), Reason::Announced);
                if let (true, Some(counts)) = (large, &mut entry.verdict.real_servers) {
                    counts.total = 1_000;
                }
                fixtures::put(&board, entry);
            }
            let selection = Selection::of(&board, &Filter::default());
            assert_eq!(selection.entries[1].object.key.name.as_ref(), "s001", "they are in order");
            assert_eq!(selection.total.matching, 201);
            shown.push((selection.entries.len(), selection.total.shown));
        }
        assert_eq!(shown, [(200, 200), (4, 4)]);
    }
}
