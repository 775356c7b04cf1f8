//! The node that things happen to, and what must hold when they have ended.

use lvs_plan::DesiredDestination;
use lvs_plan::health::Verdict;
use lvs_plan::settings::Setting;

use super::*;
use crate::checker::News;

/// The node, and beside it what the test knows to be somebody else's.
pub(super) struct World {
    directory: tempfile::TempDir,
    pub(super) driver: Driver<FakeKernel>,
    objects: BTreeMap<ObjectKey, Object>,
    foreign: Table,
    foreign_addresses: Vec<HostAddress>,
    /// What the checks of each host say.
    verdicts: BTreeMap<IpAddr, Verdict>,
    /// Services that an agent made or was to remove just before it died: whose they are cannot be told if something
    /// changes before the next one has looked, and then they are left alone.
    orphans: BTreeSet<ServiceKey>,
    role: Role,
    now: Instant,
}

fn ledger(directory: &Path) -> Ledger {
    Ledger::open(directory, "boot", 1).expect("the test's own directory")
}

fn driver(kernel: FakeKernel, directory: &Path, now: Instant) -> Driver<FakeKernel> {
    Driver::new(kernel, ledger(directory), Board::default(), Metrics::default(), now)
        .with_settings_of("d1", false)
}

fn complete() -> SourceState {
    SourceState { complete: true, up_to_date: true, ..SourceState::default() }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("a test's address")
}

fn host_address(host: u8) -> IpAddr {
    IpAddr::from([192, 168, 40, host])
}

fn foreign_service() -> Service {
    let settings = lvs_plan::ServiceSettings {
        scheduler: "fo".into(),
        one_packet: false,
        scheduler_flags: 0,
        persistence: None,
    };
    let destination = DestinationKey { address: address("10.9.9.9"), port: 90 };
    let masquerade = DestinationSettings {
        weight: 9,
        forwarding: Forwarding::Masquerade,
        upper_threshold: 0,
        lower_threshold: 0,
    };
    Service { settings, destinations: BTreeMap::from([(destination, masquerade)]) }
}

impl World {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the ledger");
        let now = Instant::now();
        let driver = driver(FakeKernel::new(), directory.path(), now);
        let mut world = Self {
            directory,
            driver,
            objects: BTreeMap::new(),
            foreign: Table::new(),
            foreign_addresses: Vec::new(),
            verdicts: BTreeMap::new(),
            orphans: BTreeSet::new(),
            role: Role::Active,
            now,
        };
        world.ingest(Vec::new());
        world
    }

    fn ingest(&mut self, changes: Vec<Change>) {
        self.driver.ingest(Update { changes, state: complete() });
    }

    fn upsert(&mut self, kind: Kind, name: usize, app: usize, spec: Spec) {
        let key = ObjectKey::new(kind, "default", &name.to_string());
        let labels = BTreeMap::from([("app".to_owned(), app.to_string())]);
        let created = i64::try_from(name).expect("a small number");
        let object =
            Object { key: key.clone(), uid: String::new(), generation: 1, created, labels, file: None, spec };
        self.objects.insert(key, object.clone());
        self.ingest(vec![Change::upsert(object)]);
    }

    /// The `index`th of our services in the kernel, going round, for somebody who is about to change it.
    fn ours(&mut self, index: usize) -> Option<(ServiceKey, &mut Service)> {
        let foreign = &self.foreign;
        let mut ours: Vec<_> =
            self.driver.kernel.table.iter_mut().filter(|(key, _)| !foreign.contains_key(key)).collect();
        let count = ours.len();
        let (key, service) = (count > 0).then(|| ours.swap_remove(index % count))?;
        if !self.driver.ledger.is_confirmed(key) {
            self.orphans.insert(*key);
        }
        Some((*key, service))
    }

    #[allow(clippy::needless_pass_by_value)] // a happening is used up
    pub(super) fn happen(&mut self, happening: Happening) {
        use Happening as H;
        match happening {
            H::Declare { name, vip, port, scheduler, app, check } => {
                let scheduler = ["rr", "wrr", "wlc"][scheduler];
                let spec: VirtualServiceSpec = serde_json::from_value(json!({
                    "vip": VIPS[vip], "ports": [{"port": PORTS[port]}],
                    "scheduler": scheduler, "healthCheck": {CHECKS[check]: {}},
                    "realServerSelector": {"matchLabels": {"app": app.to_string()}},
                }))
                .expect("a spec");
                self.upsert(Kind::VirtualService, name, 0, Spec::VirtualService(Arc::new(spec)));
            }
            H::Serve { name, host, weight, app, drain } => {
                let spec: RealServerSpec = serde_json::from_value(json!({
                    "address": host_address(host), "weight": weight, "drain": drain,
                }))
                .expect("a spec");
                self.upsert(Kind::RealServer, name, app, Spec::RealServer(Arc::new(spec)));
            }
            H::Spoil { kind, name } => {
                let spec = match kind {
                    Kind::Director => return,
                    Kind::VirtualService => {
                        let spec = json!({"vip": "127.0.0.1", "ports": [{"port": 80}]});
                        Spec::VirtualService(Arc::new(serde_json::from_value(spec).expect("a spec")))
                    }
                    Kind::RealServer => {
                        let spec = json!({"address": "0.0.0.0"});
                        Spec::RealServer(Arc::new(serde_json::from_value(spec).expect("a spec")))
                    }
                };
                self.upsert(kind, name, 0, spec);
            }
            H::Withdraw { kind, name } => {
                let key = ObjectKey::new(kind, "default", &name.to_string());
                self.objects.remove(&key);
                self.ingest(vec![Change::Removed(key)]);
            }
            H::Block(blocked) => {
                self.role = if blocked { Role::Blocked { peer: "d0".to_owned() } } else { Role::Active };
                self.driver.set_role(self.role.clone());
            }
            H::Checked { host, works } => {
                let verdict = if works { Verdict::Up } else { Verdict::Down };
                self.verdicts.insert(host_address(host), verdict);
                self.tell_verdicts();
            }
            H::Restart => self.restart(),
            H::Die(steps) => self.die(steps),
            H::Pass => {
                self.pass(Scope::Changes);
            }
            H::RemoveService(index) => {
                if let Some((key, _)) = self.ours(index) {
                    self.driver.kernel.table.remove(&key);
                }
            }
            H::ReplaceService(index) => self.replace_service(index),
            H::RemoveDestination(index) => {
                if let Some((_, service)) = self.ours(index) {
                    service.destinations.pop_first();
                }
            }
            H::AddDestination(index) => {
                if let Some((key, service)) = self.ours(index) {
                    let intruder = foreign_service().destinations.into_values().next().expect("it has one");
                    let at = DestinationKey { address: address("10.8.8.8"), port: key.port() };
                    service.destinations.insert(at, intruder);
                }
            }
            H::ChangeWeight(index) => {
                if let Some((_, service)) = self.ours(index) {
                    service.destinations.values_mut().for_each(|destination| destination.weight += 7);
                }
            }
            H::RemoveAddress(index) => {
                let on_our_link = self.driver.kernel.addresses.iter().filter(|bound| &*bound.link == "eth0");
                let ours: Vec<IpAddr> = on_our_link.map(|bound| bound.address).collect();
                if let Some(vip) = ours.get(index % ours.len().max(1)) {
                    self.driver
                        .kernel
                        .addresses
                        .retain(|bound| bound.address != *vip || &*bound.link != "eth0");
                    self.driver.network_changed(NetworkChange::LinksOrAddresses, self.now);
                }
            }
            H::AddForeignService { vip, port } => {
                let key = ServiceKey::Address {
                    vip: address(VIPS[vip]),
                    protocol: lvs_crds::Protocol::Tcp,
                    port: FOREIGN_PORTS[port],
                };
                // What is confirmed in the ledger is ours, whoever touches it; before and after it is a free key.
                let free = !self.driver.ledger.is_confirmed(&key);
                if !self.driver.kernel.table.contains_key(&key) && free {
                    self.driver.kernel.table.insert(key, foreign_service());
                    self.foreign.insert(key, foreign_service());
                }
            }
            H::RemoveForeignService(index) => {
                let keys: Vec<ServiceKey> = self.foreign.keys().copied().collect();
                if let Some(key) = keys.get(index) {
                    self.foreign.remove(key);
                    self.driver.kernel.table.remove(key);
                }
            }
            H::AddForeignAddress(vip) => {
                let vip = address(VIPS[vip]);
                let present = self.driver.kernel.addresses.iter().any(|bound| bound.address == vip);
                if !present && self.driver.ledger.vip_link(vip).is_none() {
                    let bound =
                        HostAddress { address: vip, link: "eth7".into(), link_index: 7, tagged: false };
                    self.driver.kernel.addresses.push(bound.clone());
                    self.foreign_addresses.push(bound);
                    self.driver.network_changed(NetworkChange::LinksOrAddresses, self.now);
                }
            }
            H::StrangerHolds { vip, holds } => {
                let vip = address(VIPS[vip]);
                if holds {
                    self.driver.kernel.strangers.insert(vip, [2, 0, 0, 0, 0, 9]);
                } else {
                    self.driver.kernel.strangers.remove(&vip);
                }
            }
            H::FailNext(steps) => {
                self.driver
                    .kernel
                    .failures
                    .extend((0..steps).map(|step| Some([12, 22, 3][usize::from(step) % 3])));
            }
            H::CutShort => self.driver.kernel.short_reads = 1,
            H::LedgerReadOnly(read_only) => self.ledger_read_only(read_only),
            H::LinkGone(gone) => self.link_gone(gone),
            H::NoCarrier(gone) => self.no_carrier(gone),
        }
    }

    /// What the checker would tell of every probe that is in use. What it knows of others it has forgotten.
    fn tell_verdicts(&mut self) {
        let news: Vec<News> = self
            .driver
            .health
            .probes()
            .filter_map(|probe| {
                let verdict = *self.verdicts.get(&probe.address)?;
                Some(News { probe: probe.clone(), verdict, failure: None })
            })
            .collect();
        self.driver.checked(news);
    }

    fn replace_service(&mut self, index: usize) {
        let Some((key, _)) = self.ours(index) else { return };
        self.driver.kernel.table.remove(&key);
        self.driver.kernel.made_meanwhile.insert(key, foreign_service());
        self.pass(Scope::Full);
        if self.driver.kernel.made_meanwhile.remove(&key).is_none() {
            self.foreign.insert(key, foreign_service());
        }
    }

    /// Makes every write of the ledger fail, for root too: the names of its new files are taken by directories.
    fn ledger_read_only(&mut self, read_only: bool) {
        for name in ["ledger.json.new", "ledger.journal.new"] {
            let in_the_way = self.directory.path().join(name);
            // Either may be as it should be already.
            let _ = if read_only { std::fs::create_dir(in_the_way) } else { std::fs::remove_dir(in_the_way) };
        }
        if read_only {
            self.driver.ledger.forget_journal();
        }
    }

    fn link_gone(&mut self, gone: bool) {
        self.driver.kernel.link = (!gone).then(|| "eth0".into());
        if gone {
            self.driver.kernel.addresses.retain(|bound| &*bound.link != "eth0");
        }
        self.driver.network_changed(NetworkChange::LinksOrAddresses, self.now);
    }

    fn no_carrier(&mut self, gone: bool) {
        self.driver.kernel.no_carrier = gone.then(|| "eth0".into()).into_iter().collect();
        self.driver.network_changed(NetworkChange::LinksOrAddresses, self.now);
    }

    fn restart(&mut self) {
        let kernel = std::mem::take(&mut self.driver.kernel);
        // The old driver goes first, and with it the lock on the state directory.
        self.driver = {
            let empty = tempfile::tempdir().expect("a directory");
            let old = std::mem::replace(&mut self.driver, driver(FakeKernel::new(), empty.path(), self.now));
            drop(old);
            driver(kernel, self.directory.path(), self.now)
        };
        self.driver.set_role(self.role.clone());
        let changes = self.objects.values().cloned().map(Change::upsert).collect();
        self.ingest(changes);
        let ledger = &self.driver.ledger;
        self.orphans.extend(ledger.services().filter(|key| {
            ledger.claim(key, None) == Claim::Intent
                && self.driver.kernel.table.contains_key(key)
                && !self.foreign.contains_key(key)
        }));
    }

    /// Dies in the middle of a pass, if that has so many steps, and in any case starts again.
    fn die(&mut self, steps: usize) {
        self.driver.kernel.dies_after = Some(steps);
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.pass(Scope::Changes)));
        self.driver.kernel.dies_after = None;
        self.restart();
    }

    /// A pass, and then the network's answers to what it asked. Says whether it asked something.
    fn pass(&mut self, scope: Scope) -> (PassReport, bool) {
        self.now += Duration::from_secs(1);
        let report = self.driver.pass(scope, self.now);
        let answers = self.driver.kernel.answer_probes();
        let asked = !answers.is_empty();
        self.driver.probed(answers, self.now);
        (report, asked)
    }

    /// Faults have ended: how many passes until one has nothing to do.
    pub(super) fn converge(&mut self) {
        self.driver.kernel.failures.clear();
        self.driver.kernel.short_reads = 0;
        self.ledger_read_only(false);
        self.link_gone(false);
        self.no_carrier(false);
        // Long enough for every answer of a probe to be asked again.
        self.now += Duration::from_secs(60);
        for pass in 0..8 {
            self.tell_verdicts();
            let (report, asked) = self.pass(Scope::Full);
            // What is checked from the first pass on is known in the second.
            if pass > 0
                && report.applied.is_empty()
                && report.failed.is_none()
                && report.adopted == 0
                && !asked
            {
                break;
            }
        }
    }

    /// Orphans that were left alone are somebody else's by now, or nobody's.
    fn give_up_orphans(&mut self) {
        for key in std::mem::take(&mut self.orphans) {
            let foreign = !self.driver.ledger.is_confirmed(&key);
            if let Some(service) = self.driver.kernel.table.get(&key).filter(|_| foreign) {
                self.foreign.insert(key, service.clone());
            }
        }
    }

    /// What should be in the kernel of a destination: by its declaration, and by what its check says.
    fn in_force(
        &self,
        key: &ServiceKey,
        at: &DestinationKey,
        wanted: &DesiredDestination,
    ) -> Option<DestinationSettings> {
        let verdict = wanted.probe.as_ref().map(|_| self.verdicts.get(&at.address));
        let weight = match verdict {
            // How long it stays is the time's doing; without weight in any case.
            Some(Some(Verdict::Down)) => {
                self.driver.kernel.table.get(key)?.destinations.get(at)?;
                0
            }
            _ if wanted.drain => 0,
            None | Some(Some(_)) => wanted.settings.weight,
            // It was never checked: it goes on as it was found, or waits.
            Some(None) => match self.driver.kernel.table.get(key)?.destinations.get(at)?.weight {
                0 => 0,
                _ => wanted.settings.weight,
            },
        };
        Some(DestinationSettings { weight, ..wanted.settings })
    }

    pub(super) fn check(&mut self) {
        self.give_up_orphans();
        let writes = self.driver.kernel.writes.len();
        let (last, _) = self.pass(Scope::Full);
        assert!(last.applied.is_empty(), "the second plan is empty: {:?}", last.applied);
        assert_eq!(self.driver.kernel.writes.len(), writes);

        for (key, service) in &self.foreign {
            assert_eq!(self.driver.kernel.table.get(key), Some(service), "foreign {key} is untouched");
        }
        for bound in &self.foreign_addresses {
            assert!(self.driver.kernel.addresses.contains(bound), "foreign {bound:?} is untouched");
        }
        let desired: BTreeMap<ServiceKey, Service> = self
            .driver
            .inventory
            .desired_services()
            .filter(|(key, _)| !self.foreign.contains_key(key))
            .map(|(key, wanted)| {
                let destinations = wanted
                    .destinations
                    .iter()
                    .filter_map(|(at, wanted)| Some((*at, self.in_force(key, at, wanted)?)));
                (*key, Service { settings: wanted.settings().clone(), destinations: destinations.collect() })
            })
            .collect();
        let ledger = &self.driver.ledger;
        let table = &self.driver.kernel.table;
        let ours = ledger.services().filter(|key| {
            matches!(ledger.claim(key, table.get(key)), Claim::Confirmed | Claim::Leaving { unchanged: true })
        });
        let held: BTreeSet<ServiceKey> = ours.filter(|key| !desired.contains_key(key)).collect();
        for (key, service) in &self.driver.kernel.table {
            if self.foreign.contains_key(key) || held.contains(key) {
                continue;
            }
            let wanted = desired.get(key).unwrap_or_else(|| panic!("nobody asked for {key}"));
            assert_eq!(&service.settings, &wanted.settings);
            if self.driver.inventory.unsettled_real_servers("default").next().is_none() {
                assert_eq!(&service.destinations, &wanted.destinations, "{key}");
            } else {
                for (at, settings) in &wanted.destinations {
                    assert_eq!(service.destinations.get(at), Some(settings), "{key} -> {at}");
                }
            }
        }
        for key in desired.keys() {
            assert!(self.driver.kernel.table.contains_key(key), "{key} is programmed");
            let outcome = self.driver.outcomes.get(key).map(|outcome| &outcome.programming);
            assert_eq!(outcome, Some(&Programming::Programmed), "{key} is known to be programmed");
        }
        for key in &held {
            let origin = self.driver.ledger.origin(key).expect("it is in the ledger");
            assert!(self.driver.inventory.is_unsettled(&origin.object), "{key} is kept for a reason");
        }
        let bound: BTreeSet<IpAddr> =
            self.driver.kernel.addresses.iter().map(|bound| bound.address).collect();
        for address in self.driver.kernel.addresses.iter().filter(|bound| &*bound.link == "eth0") {
            assert_eq!(self.role, Role::Active, "a blocked Director holds nothing");
            let mut used = self.driver.kernel.table.keys().chain(&held);
            let used = used.any(|key| key.vip() == Some(address.address));
            assert!(used, "{} is bound for somebody", address.address);
        }
        let held = self.driver.kernel.addresses.iter().filter(|bound| &*bound.link == "eth0");
        let held: BTreeSet<IpAddr> = held.map(|bound| bound.address).collect();
        assert_eq!(self.driver.kernel.listening, held, "what is held is listened for");
        for vip in desired.keys().filter_map(ServiceKey::vip) {
            let free = self.role == Role::Active && !self.driver.kernel.strangers.contains_key(&vip);
            assert!(bound.contains(&vip) || !free, "{vip} is bound");
        }
        // Nobody is woken for nothing: what is due lies ahead.
        self.driver.announce(self.now);
        assert!(self.driver.next_deadline().is_none_or(|at| at > self.now), "the driver would spin");
        assert!(!self.driver.wants_pass(self.now));
        self.check_settings();
    }

    /// The kernel's settings are put right unless somebody else has a service.
    fn check_settings(&mut self) {
        self.driver.kernel.settings.insert(Setting::Conntrack, 1);
        self.pass(Scope::Full);
        let beside = self.foreign.keys().any(|key| self.driver.kernel.table.contains_key(key));
        let conntrack = self.driver.kernel.settings[&Setting::Conntrack];
        assert_eq!(conntrack == 1, beside, "{:?}", self.driver.kernel.table.keys());
    }
}
