//! The real kernel: IPVS by `lvs-ipvs`, the network by `lvs-net`.

pub(crate) mod convert;
mod rivals;
mod settings;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use lvs_net::announce::{self, Announced, Announcer};
use lvs_net::ethernet::Mac;
use lvs_net::link::Snapshot;
use lvs_net::preflight::{self, Finding};
use lvs_net::{Net, interface, segment, sysctl};
use lvs_plan::ServiceKey;
use lvs_plan::settings::{Difference, Values, WriteError};
use lvs_plan::step::{Step, StepError};
use tokio::runtime::Handle;
use tracing::{debug, warn};

use super::{Answer, Counted, Glance, HostAddress, Kernel, KernelError, Table};
use crate::chain::chain;
use crate::crash_point::crash_point;
use crate::driver_thread::Trigger;

/// For fewer services than this a dump of all is not worth a thought.
const DUMP_FROM: usize = 64;

/// Asking for one service takes about as long as so many of a dump (measured: 42 and 10 µs).
const DUMPED_FOR_ONE: usize = 4;

/// Steps that are made commands and sent before the next ones: what they take stays in the processor's cache.
const STEPS_AT_ONCE: usize = 256;

/// The kernel of this network namespace.
pub struct LinuxKernel {
    runtime: Handle,
    net: Net,
    /// Connected when first needed, and again after a failure.
    ipvs: Option<lvs_ipvs::Client>,
    announcer: Option<Announcer>,
    /// Opened with the first VIP that is held.
    ears: Option<rivals::Ears>,
    vip_interface: Option<String>,
    snapshot: Snapshot,
    /// The snapshot's routes are those of now. A router may have a million of them: they are read only when a
    /// link is to be chosen.
    routes_known: bool,
    /// What was asked about real servers since routes last changed.
    off_segment: HashMap<IpAddr, Option<String>>,
    marks_addresses: bool,
    /// How many services there were, everybody's, when all were read last.
    services_seen: usize,
    triggers: Sender<Trigger>,
}

impl LinuxKernel {
    /// A kernel whose network calls run on `runtime` and whose probes answer to `triggers`.
    pub fn new(runtime: Handle, net: Net, vip_interface: Option<String>, triggers: Sender<Trigger>) -> Self {
        Self {
            runtime,
            net,
            ipvs: None,
            announcer: None,
            ears: None,
            vip_interface,
            snapshot: Snapshot::default(),
            routes_known: false,
            off_segment: HashMap::new(),
            marks_addresses: marks_addresses(rustix::system::uname().release().to_string_lossy().as_ref()),
            services_seen: 0,
            triggers,
        }
    }

    fn ipvs(&mut self) -> Result<&mut lvs_ipvs::Client, KernelError> {
        let client = match self.ipvs.take() {
            Some(client) => client,
            None => lvs_ipvs::Client::connect().map_err(|error| KernelError::Ipvs(words(&error)))?,
        };
        Ok(self.ipvs.insert(client))
    }

    /// After a failure the client connects anew: `ip_vs` may have been loaded again under another number.
    fn read<T>(
        &mut self,
        read: impl FnOnce(&mut lvs_ipvs::Client) -> Result<T, lvs_ipvs::Error>,
    ) -> Result<T, KernelError> {
        let result = read(self.ipvs()?);
        result.map_err(|error| {
            self.ipvs = None;
            match error {
                lvs_ipvs::Error::CutShort { .. } => KernelError::CutShort(chain(&error)),
                _ => KernelError::Ipvs(chain(&error)),
            }
        })
    }

    fn apply_ipvs(&mut self, steps: &[Step]) -> Vec<Result<(), StepError>> {
        let mut results = Vec::with_capacity(steps.len());
        crash_point!(BatchHalfDone, self.apply_part(&steps[..steps.len() / 2]));
        for part in steps.chunks(STEPS_AT_ONCE) {
            match self.apply_part(part) {
                Ok(part) => results.extend(part),
                Err(words) => {
                    let unknown = || Err(StepError::Unknown(words.clone()));
                    results.resize_with(steps.len(), unknown);
                    break;
                }
            }
        }
        results
    }

    /// An error is that of the connection: what became of these steps is not known.
    fn apply_part(
        &mut self,
        steps: &[Step],
    ) -> Result<impl Iterator<Item = Result<(), StepError>> + use<>, String> {
        let commands: Vec<lvs_ipvs::Command> = steps.iter().filter_map(convert::command).collect();
        debug_assert_eq!(commands.len(), steps.len(), "only IPVS steps get here");
        let done = self.ipvs().map_err(|error| error.to_string())?.batch(&commands);
        let results = done.map_err(|error| {
            self.ipvs = None;
            chain(&error)
        })?;
        Ok(results.into_iter().map(|result| result.map_err(convert::step_error)))
    }

    fn apply_address(&mut self, step: &Step) -> Result<(), StepError> {
        let (vip, link, bind) = match step {
            Step::BindVip { vip, link } => (*vip, link, true),
            Step::UnbindVip { vip, link } => (*vip, link, false),
            _ => return Ok(()),
        };
        // A VIP is taken off a link that is down too: it would answer as soon as the link is up.
        let index =
            if bind { self.link_index(link) } else { self.snapshot.link_named(link).map(|link| link.index) };
        let Some(index) = index else {
            return Err(StepError::Kernel { errno: 19, text: format!("no link {link} that is up") });
        };
        let result = self.runtime.block_on(async {
            if bind { self.net.bind_vip(index, vip).await } else { self.net.unbind_vip(index, vip).await }
        });
        crash_point!(AddressChanged);
        result.map_err(|error| convert::address_error(&error))
    }

    fn refresh_routes(&mut self) -> Result<(), lvs_net::Error> {
        if !self.routes_known {
            self.snapshot.routes = self.runtime.block_on(self.net.routes())?;
            self.routes_known = true;
        }
        Ok(())
    }
}

/// The error, and the cure where the kernel's answer alone does not name it all.
fn words(error: &lvs_ipvs::Error) -> String {
    match error {
        lvs_ipvs::Error::NotAvailable => format!(
            "{error}; if there is no such module, install the package with the rest of this kernel's modules \
             (linux-modules-extra-$(uname -r), kernel-modules or the like)"
        ),
        _ => chain(error),
    }
}

/// `IFA_PROTO` came with Linux 5.18; older kernels take it and forget it.
fn marks_addresses(release: &str) -> bool {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 18)
}

impl Kernel for LinuxKernel {
    fn services(&mut self, keys: &BTreeSet<ServiceKey>) -> Result<Table, KernelError> {
        let mut services_seen = self.services_seen;
        let table = self.read(|client| {
            let mut table = Table::new();
            let mut found = |client: &mut lvs_ipvs::Client, entry: &lvs_ipvs::ServiceEntry| {
                let destinations = client.destinations(&entry.service.key)?;
                table.extend(convert::service(&entry.service, &destinations));
                Ok(())
            };
            let mut unseen: HashSet<lvs_ipvs::ServiceKey> = keys.iter().map(convert::key).collect();
            if unseen.len() >= DUMP_FROM && unseen.len() * DUMPED_FOR_ONE >= services_seen {
                let entries = client.services()?;
                services_seen = entries.len();
                // Destinations of services that are none of our business are not read.
                for entry in entries {
                    if unseen.remove(&entry.service.key) {
                        found(client, &entry)?;
                    }
                }
            }
            // A dump proves nothing about what is not in it ([`lvs_ipvs::Client::services`]): each is asked for.
            for key in unseen {
                if let Some(entry) = client.service(&key)? {
                    found(client, &entry)?;
                }
            }
            Ok(table)
        });
        self.services_seen = services_seen;
        table
    }

    fn connections(&mut self, keys: &BTreeSet<ServiceKey>) -> Result<Counted, KernelError> {
        self.read(|client| {
            let mut counted = Counted::new();
            for key in keys {
                let entries = client.destinations(&convert::key(key))?;
                counted.insert(*key, entries.iter().map(convert::connections).collect());
            }
            Ok(counted)
        })
    }

    fn glance(&mut self) -> Result<Glance, KernelError> {
        lvs_ipvs::glance(|key| convert::plan_key(&key))
            .map_err(|error| KernelError::Ipvs(format!("cannot glance at the IPVS table: {error}")))
    }

    fn settings(&mut self, timeouts: bool) -> Result<Values, KernelError> {
        let mut values = settings::sysctls(Path::new(sysctl::ROOT))?;
        if timeouts {
            values.extend(settings::timeouts(self.read(lvs_ipvs::Client::timeouts)?));
        }
        Ok(values)
    }

    fn write_settings(&mut self, writes: &[Difference]) -> Vec<Result<(), WriteError>> {
        let roots = [sysctl::ROOT, sysctl::HOST_ROOT].map(Path::new);
        let timeouts = settings::command(writes).map(|command| {
            let client = self.ipvs().map_err(|error| WriteError::NotAllowed(error.to_string()))?;
            client.execute(&command).map_err(|error| settings::timeouts_error(&error))
        });
        let write = |write: &Difference| match write.setting.sysctl() {
            Some(name) => settings::write(&roots, name, write.to),
            // All of them were written at once.
            None => timeouts.clone().unwrap_or(Ok(())),
        };
        writes.iter().map(write).collect()
    }

    fn processor_time(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(time).unwrap_or_default()
    }

    fn addresses(&mut self) -> Result<Vec<HostAddress>, KernelError> {
        let (links, addresses) = self
            .runtime
            .block_on(async { Ok((self.net.links().await?, self.net.addresses().await?)) })
            .map_err(|error: lvs_net::Error| KernelError::Network(chain(&error)))?;
        self.snapshot.links = links;
        self.snapshot.addresses = addresses;
        let names: BTreeMap<u32, Arc<str>> =
            self.snapshot.links.iter().map(|link| (link.index, Arc::from(link.name.as_str()))).collect();
        let addresses = self.snapshot.addresses.iter().filter_map(|address| {
            Some(HostAddress {
                address: address.ip,
                link: Arc::clone(names.get(&address.link)?),
                link_index: address.link,
                tagged: address.is_ours(),
            })
        });
        Ok(addresses.collect())
    }

    fn marks_addresses(&self) -> bool {
        self.marks_addresses
    }

    fn routes_changed(&mut self) {
        self.routes_known = false;
        self.off_segment.clear();
    }

    fn apply(&mut self, steps: &[Step]) -> Vec<Result<(), StepError>> {
        let mut results = Vec::with_capacity(steps.len());
        for group in steps.chunk_by(|a, b| a.service().is_some() == b.service().is_some()) {
            if group.first().is_some_and(|step| step.service().is_some()) {
                results.extend(self.apply_ipvs(group));
                crash_point!(BatchDone);
            } else {
                results.extend(group.iter().map(|step| self.apply_address(step)));
            }
        }
        results
    }

    fn choose_link(&mut self, vip: IpAddr, real_servers: &[IpAddr]) -> Result<Arc<str>, String> {
        if self.vip_interface.is_none() {
            self.refresh_routes().map_err(|error| chain(&error))?;
        }
        interface::choose(&self.snapshot, vip, real_servers, self.vip_interface.as_deref())
            .map(|choice| Arc::from(choice.name.as_str()))
            .map_err(|error| error.to_string())
    }

    fn off_segment(&mut self, real_server: IpAddr) -> Result<Option<String>, KernelError> {
        if let Some(known) = self.off_segment.get(&real_server) {
            return Ok(known.clone());
        }
        let next_hop = self
            .runtime
            .block_on(self.net.next_hop(real_server))
            .map_err(|error| KernelError::Network(chain(&error)))?;
        let words = segment::shared_with(real_server, next_hop).err().map(|error| error.to_string());
        self.off_segment.insert(real_server, words.clone());
        Ok(words)
    }

    fn link_index(&mut self, link: &str) -> Option<u32> {
        self.snapshot.link_named(link).filter(|link| link.up).map(|link| link.index)
    }

    fn named_link(&self) -> Option<Arc<str>> {
        self.vip_interface.as_deref().map(Arc::from)
    }

    fn silent(&self, link: &str) -> Option<String> {
        self.snapshot.link_named(link)?.is_heard().err().map(|silent| silent.to_string())
    }

    fn station(&self, link: &str) -> [u8; 6] {
        self.snapshot.link_named(link).and_then(|link| link.mac).unwrap_or_default()
    }

    fn start_probe(&mut self, question: u64, link: &str, vips: &[IpAddr], real_servers: &[IpAddr]) {
        let Some(link) = self.snapshot.link_named(link).cloned() else { return };
        let (vips, real_servers) = (vips.to_vec(), real_servers.to_vec());
        let (own, triggers) = (self.own_macs(), self.triggers.clone());
        self.runtime.spawn_blocking(move || {
            let probes = rivals::probe(&link, &own, &vips, &real_servers);
            let answers = probes.into_iter().map(|(vip, probe)| Answer { question, vip, probe }).collect();
            // The driver is gone only when the process ends.
            let _ = triggers.send(Trigger::Probed(answers));
        });
    }

    fn identify(&mut self, question: u64, link: u32, real_servers: &[IpAddr]) {
        let Some(link) = self.snapshot.link(link).cloned() else { return };
        let real_servers = real_servers.to_vec();
        let (own, triggers) = (self.own_macs(), self.triggers.clone());
        self.runtime.spawn_blocking(move || {
            // No answer says that nobody could be asked, and it is asked again.
            if let Some(macs) = rivals::macs_of(&link, &own, &real_servers) {
                let _ = triggers.send(Trigger::Identified(question, macs));
            }
        });
    }

    fn listen(&mut self, held: &BTreeMap<IpAddr, u32>) {
        let own = self.own_macs();
        let ears = self.ears.get_or_insert_with(|| rivals::Ears::open(&self.runtime, self.triggers.clone()));
        ears.listen(&self.snapshot, own, held);
    }

    fn ask(&mut self, vips: &[Announced]) {
        self.send(vips, Announcer::ask);
    }

    fn announce(&mut self, vips: &[Announced]) {
        self.send(vips, Announcer::send);
    }

    fn preflight(&mut self, link: &str) -> Vec<Finding> {
        let conf = match sysctl::ipv4_conf(Path::new(sysctl::ROOT), link) {
            Ok(conf) => conf,
            Err(error) => {
                debug!(link, error = chain(&error), "the settings of the link are not known");
                return Vec::new();
            }
        };
        // Routes matter only to source validation, and there may be a million of them.
        if conf.rp_filter > 0
            && let Err(error) = self.refresh_routes()
        {
            debug!(link, error = chain(&error), "the routes are not known");
            return Vec::new();
        }
        let link = self.snapshot.link_named(link);
        link.map(|link| preflight::director(&self.snapshot, link, conf)).unwrap_or_default()
    }
}

impl LinuxKernel {
    /// But for those of virtual routers (RFC 9568 section 7.3): every member of a VRRP group has the same.
    fn own_macs(&self) -> Vec<Mac> {
        let shared = |mac: &Mac| matches!(mac, [0, 0, 0x5e, 0, 1 | 2, _]);
        self.snapshot.links.iter().filter_map(|link| link.mac).filter(|mac| !shared(mac)).collect()
    }

    fn send(
        &mut self,
        vips: &[Announced],
        send: impl Fn(&Announcer, u32, Mac, IpAddr) -> Result<(), announce::Error>,
    ) {
        if self.announcer.is_none() {
            match Announcer::open() {
                Ok(announcer) => self.announcer = Some(announcer),
                Err(error) => {
                    warn!(error = chain(&error), "VIPs cannot be announced");
                    return;
                }
            }
        }
        let Some(announcer) = &self.announcer else { return };
        for Announced { link, vip } in vips {
            let Some(mac) = self.snapshot.link(*link).and_then(|link| link.mac) else { continue };
            match send(announcer, *link, mac, *vip) {
                Ok(()) => debug!(%vip, "announced or asked for"),
                Err(error) => warn!(%vip, error = chain(&error), "the network was not told"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_from_5_18_on_carry_the_mark() {
        for (release, marks) in [
            ("6.1.0-49-amd64", true),
            ("5.18.0", true),
            ("5.17.15", false),
            ("5.9", false),
            ("4.18.0-553.el8_10.x86_64", false),
            ("10.0-rc1", true),
            ("", false),
        ] {
            assert_eq!(marks_addresses(release), marks, "{release}");
        }
    }

    #[test]
    fn a_station_is_told_from_others_by_the_link_it_asks_on() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let net = runtime.block_on(async { Net::connect() }).unwrap();
        let (triggers, _) = std::sync::mpsc::channel();
        let mut kernel = LinuxKernel::new(runtime.handle().clone(), net, None, triggers);
        let link = |index, name: &str, mac| lvs_net::link::Link {
            index,
            name: name.to_owned(),
            mac: Some(mac),
            up: true,
            carrier: true,
            loopback: false,
        };
        // Calico's links have the same address on every node.
        kernel.snapshot.links = vec![link(2, "eth0", [0xf8, 0, 0, 0, 0, 1]), link(3, "cali1", [0xee; 6])];
        assert_eq!(kernel.station("eth0"), [0xf8, 0, 0, 0, 0, 1]);
    }
}
