//! A kernel in memory, which can fail on request.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lvs_net::announce::Announced;
use lvs_net::preflight::Finding;
use lvs_plan::diff::{Holder, Probe};
use lvs_plan::settings::{Difference, Setting, Values, WriteError};
use lvs_plan::step::{Step, StepError};
use lvs_plan::{DestinationKey, DestinationSettings, Service, ServiceKey, ServiceSettings};

use super::{Answer, Connections, Counted, Glance, HostAddress, Kernel, KernelError, Table};

const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EEXIST: i32 = 17;
const EADDRNOTAVAIL: i32 = 99;

/// Processor time of reading one service: that of an emulated machine.
pub const READ: Duration = Duration::from_millis(1);

/// A kernel in memory. It answers as `ip_vs_ctl.c` and the address code do.
#[derive(Clone, Debug, Default)]
pub struct FakeKernel {
    /// The IPVS table.
    pub table: Table,
    /// Active connections of destinations, in every service that has them.
    pub active: BTreeMap<DestinationKey, u32>,
    /// The host's addresses.
    pub addresses: Vec<HostAddress>,
    /// Whether addresses carry our mark.
    pub marks_addresses: bool,
    /// Schedulers that are not there.
    pub missing_schedulers: BTreeSet<String>,
    /// Real servers that are on no link of this host.
    pub unreachable: BTreeSet<IpAddr>,
    /// VIPs that another host holds.
    pub strangers: BTreeMap<IpAddr, [u8; 6]>,
    /// Link on which every VIP belongs; none: no link can hold one.
    pub link: Option<Arc<str>>,
    /// The errno for each of the next steps; `None` lets it pass.
    pub failures: VecDeque<Option<i32>>,
    /// After so many steps the agent dies, by a panic that the panic hook does not see.
    pub dies_after: Option<usize>,
    /// Services that somebody makes just before we would.
    pub made_meanwhile: Table,
    /// Processor time of this thread. Every service that is read adds [`READ`].
    pub processor_time: Duration,
    /// How many of the next reads are cut short.
    pub short_reads: usize,
    /// Steps that were taken, failed ones too.
    pub writes: Vec<Step>,
    /// Probes that wait for an answer, with the number of their question and their link.
    pub probes: Vec<(u64, Arc<str>, IpAddr)>,
    /// No probe can be sent.
    pub mute: bool,
    /// VIPs that were announced.
    pub announced: Vec<IpAddr>,
    /// VIPs that were asked for while they were held.
    pub asked: Vec<IpAddr>,
    /// The link that the administrator named for VIPs.
    pub named_link: Option<Arc<str>>,
    /// Links without carrier.
    pub no_carrier: BTreeSet<Arc<str>>,
    /// What keeps clients from reaching VIPs, on every link.
    pub findings: Vec<Finding>,
    /// Questions for the MAC addresses of real servers: their number, their link and whom they ask.
    pub to_identify: Vec<(u64, u32, Vec<IpAddr>)>,
    /// The settings of IPVS.
    pub settings: Values,
    /// Why none of them can be written.
    pub settings_locked: Option<WriteError>,
    /// Settings that were written.
    pub settings_written: Vec<Difference>,
    /// VIPs whose claims by others are listened for.
    pub listening: BTreeSet<IpAddr>,
}

impl FakeKernel {
    /// An empty kernel with one link, `eth0`.
    pub fn new() -> Self {
        let settings = [
            (Setting::ExpireNodestConn, 0),
            (Setting::ExpireQuiescentTemplate, 0),
            (Setting::Conntrack, 0),
            (Setting::ConnReuseMode, 1),
            (Setting::TcpTimeout, 900),
            (Setting::TcpFinTimeout, 120),
            (Setting::UdpTimeout, 300),
        ];
        Self {
            link: Some("eth0".into()),
            marks_addresses: true,
            settings: settings.into(),
            ..Self::default()
        }
    }

    /// Answers every probe that waits.
    pub fn answer_probes(&mut self) -> Vec<Answer> {
        let asked = std::mem::take(&mut self.probes);
        asked.into_iter().map(|(question, _, vip)| self.answer(question, vip)).collect()
    }

    fn answer(&self, question: u64, vip: IpAddr) -> Answer {
        let probe = match self.strangers.get(&vip) {
            _ if self.mute => Probe::Unknown,
            Some(mac) => Probe::Taken(Holder { mac: *mac, real_server: None }),
            None => Probe::Free,
        };
        Answer { question, vip, probe }
    }

    fn read(&mut self) -> Result<(), KernelError> {
        if self.short_reads > 0 {
            self.short_reads -= 1;
            return Err(KernelError::CutShort("asked to".to_owned()));
        }
        Ok(())
    }

    fn service(&mut self, key: &ServiceKey) -> Result<&mut Service, i32> {
        self.table.get_mut(key).ok_or(ESRCH)
    }

    fn take(&mut self, step: &Step) -> Result<(), i32> {
        match step {
            Step::NewService { key, settings } => {
                if self.missing_schedulers.contains(settings.scheduler.as_ref()) {
                    return Err(ENOENT);
                }
                if self.table.contains_key(key) {
                    return Err(EEXIST);
                }
                let service = Service { settings: settings.clone(), destinations: BTreeMap::new() };
                self.table.insert(*key, service);
            }
            Step::SetService { key, settings } => {
                if self.missing_schedulers.contains(settings.scheduler.as_ref()) {
                    return Err(ENOENT);
                }
                self.service(key)?.settings = settings.clone();
            }
            Step::NewDestination { key, destination, settings } => {
                let destinations = &mut self.service(key)?.destinations;
                if destinations.contains_key(destination) {
                    return Err(EEXIST);
                }
                destinations.insert(*destination, *settings);
            }
            Step::SetDestination { key, destination, settings } => {
                *destination_of(self.service(key)?, destination)? = *settings;
            }
            Step::DelDestination { key, destination } => {
                self.service(key)?.destinations.remove(destination).ok_or(ENOENT)?;
            }
            Step::DelService { key } => {
                self.table.remove(key).ok_or(ESRCH)?;
            }
            Step::BindVip { vip, link } => {
                if self.addresses.iter().any(|bound| bound.address == *vip && bound.link == *link) {
                    return Err(EEXIST);
                }
                let tagged = self.marks_addresses;
                self.addresses.push(HostAddress {
                    address: *vip,
                    link: Arc::clone(link),
                    link_index: index_of(link),
                    tagged,
                });
            }
            Step::UnbindVip { vip, link } => {
                let before = self.addresses.len();
                self.addresses.retain(|bound| !(bound.address == *vip && bound.link == *link));
                if self.addresses.len() == before {
                    return Err(EADDRNOTAVAIL);
                }
            }
        }
        Ok(())
    }
}

/// `eth0` has index 2, `eth1` 3.
fn index_of(link: &str) -> u32 {
    2 + link.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().unwrap_or(0)
}

fn destination_of<'a>(
    service: &'a mut Service,
    key: &DestinationKey,
) -> Result<&'a mut DestinationSettings, i32> {
    service.destinations.get_mut(key).ok_or(ENOENT)
}

impl Kernel for FakeKernel {
    fn services(&mut self, keys: &BTreeSet<ServiceKey>) -> Result<Table, KernelError> {
        self.read()?;
        self.processor_time += READ * u32::try_from(keys.len()).unwrap_or(u32::MAX);
        Ok(keys.iter().filter_map(|key| Some((*key, self.table.get(key)?.clone()))).collect())
    }

    fn connections(&mut self, keys: &BTreeSet<ServiceKey>) -> Result<Counted, KernelError> {
        self.read()?;
        let of = |key: &ServiceKey| {
            let destinations =
                self.table.get(key).into_iter().flat_map(|service| service.destinations.keys());
            destinations
                .map(|destination| {
                    let active = self.active.get(destination).copied().unwrap_or_default();
                    (*destination, Connections { active, inactive: 0 })
                })
                .collect()
        };
        Ok(keys.iter().map(|key| (*key, of(key))).collect())
    }

    /// Thresholds and the flags of schedulers do not show, as on a real kernel.
    fn glance(&mut self) -> Result<Glance, KernelError> {
        self.read()?;
        let fingerprint = |service: &Service| {
            let mut hasher = DefaultHasher::new();
            let ServiceSettings { scheduler, one_packet, persistence, scheduler_flags: _ } =
                &service.settings;
            (scheduler, one_packet, persistence).hash(&mut hasher);
            for (key, settings) in &service.destinations {
                (key, settings.forwarding, settings.weight).hash(&mut hasher);
            }
            hasher.finish()
        };
        Ok(self.table.iter().map(|(key, service)| (*key, fingerprint(service))).collect())
    }

    fn settings(&mut self, timeouts: bool) -> Result<Values, KernelError> {
        self.read()?;
        let asked_for = |setting: &Setting| timeouts || setting.sysctl().is_some();
        Ok(self.settings.iter().filter(|(setting, _)| asked_for(setting)).map(|(k, v)| (*k, *v)).collect())
    }

    fn write_settings(&mut self, writes: &[Difference]) -> Vec<Result<(), WriteError>> {
        let write = |write: &Difference| {
            if let Some(why) = &self.settings_locked {
                return Err(why.clone());
            }
            self.settings.insert(write.setting, write.to);
            self.settings_written.push(*write);
            Ok(())
        };
        writes.iter().map(write).collect()
    }

    fn processor_time(&self) -> Duration {
        self.processor_time
    }

    fn addresses(&mut self) -> Result<Vec<HostAddress>, KernelError> {
        Ok(self.addresses.clone())
    }

    fn marks_addresses(&self) -> bool {
        self.marks_addresses
    }

    fn apply(&mut self, steps: &[Step]) -> Vec<Result<(), StepError>> {
        for step in steps {
            if let Step::NewService { key, .. } = step
                && let Some(service) = self.made_meanwhile.remove(key)
            {
                self.table.entry(*key).or_insert(service);
            }
        }
        steps
            .iter()
            .map(|step| {
                match &mut self.dies_after {
                    Some(0) => std::panic::resume_unwind(Box::new("the agent dies")),
                    Some(steps) => *steps -= 1,
                    None => {}
                }
                self.writes.push(step.clone());
                let result = match self.failures.pop_front().flatten() {
                    Some(errno) => Err(errno),
                    None => self.take(step),
                };
                result.map_err(|errno| StepError::Kernel { errno, text: format!("errno {errno}") })
            })
            .collect()
    }

    fn routes_changed(&mut self) {}

    fn choose_link(&mut self, vip: IpAddr, _real_servers: &[IpAddr]) -> Result<Arc<str>, String> {
        let link = self.named_link.as_ref().or(self.link.as_ref());
        link.cloned().ok_or_else(|| format!("no link can hold {vip}"))
    }

    fn off_segment(&mut self, real_server: IpAddr) -> Result<Option<String>, KernelError> {
        Ok(self.unreachable.contains(&real_server).then(|| format!("no route leads to {real_server}")))
    }

    fn link_index(&mut self, link: &str) -> Option<u32> {
        let there = [&self.link, &self.named_link].into_iter().any(|there| there.as_deref() == Some(link));
        there.then(|| index_of(link))
    }

    fn named_link(&self) -> Option<Arc<str>> {
        self.named_link.clone()
    }

    fn silent(&self, link: &str) -> Option<String> {
        self.no_carrier.contains(link).then(|| format!("interface {link} has no carrier"))
    }

    fn station(&self, _link: &str) -> [u8; 6] {
        [2, 0, 0, 0, 0, 1]
    }

    fn start_probe(&mut self, question: u64, link: &str, vips: &[IpAddr], _real_servers: &[IpAddr]) {
        self.probes.extend(vips.iter().map(|vip| (question, Arc::from(link), *vip)));
    }

    fn identify(&mut self, question: u64, link: u32, real_servers: &[IpAddr]) {
        self.to_identify.push((question, link, real_servers.to_vec()));
    }

    fn listen(&mut self, held: &BTreeMap<IpAddr, u32>) {
        self.listening = held.keys().copied().collect();
    }

    fn ask(&mut self, vips: &[Announced]) {
        self.asked.extend(vips.iter().map(|asked| asked.vip));
    }

    fn preflight(&mut self, _link: &str) -> Vec<Finding> {
        self.findings.clone()
    }

    fn announce(&mut self, vips: &[Announced]) {
        self.announced.extend(vips.iter().map(|announced| announced.vip));
    }
}
