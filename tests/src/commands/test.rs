//! `cargo lab test`.

use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lvs_lab::apiserver::{ApiServer, KubeBinary, Preparation, Programs};
use lvs_lab::cache::Cache;
use lvs_lab::guest::{Guest, Job};
use lvs_lab::packages::{self, Part};
use lvs_lab::progress::{self, Step, line};
use lvs_lab::promtool;
use lvs_lab::suites::{self, Environment, Manner, Outcome, Place, Scope, Selection, Tally};

use super::guest_options::GuestOptions;

/// Run the project's tests, each where it can run: on this machine, with an API server, or in a guest with IPVS.
///
/// FILTER is a part of a test's full name, which is PACKAGE::TEST for tests inside a library and
/// PACKAGE/TARGET::TEST for others. If it starts with a package's name, only that package is built.
///
///   cargo lab test                        everything
///   cargo lab test lvs-net                everything of one package
///   cargo lab test lvs-net/kernel         what needs a kernel there
///   cargo lab test lvs-net/kernel::probe  some of it
///   cargo lab test drift                  tests with `drift` in their names
///
/// The last line of the output says how many tests passed and failed. A suite that crashes, hangs or runs fewer tests
/// than it lists counts as one failed test more. The controller that tests run is built for debugging; set
/// LVS_LAB_CONTROLLER to the path of another one. Set LVS_LAB_STORM to the number of real servers of the test `storm`:
/// 10000 take a controller that was built for release.
#[derive(clap::Args)]
#[allow(clippy::doc_markdown, reason = "this is the command's help, printed as it is")]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Only tests whose full name contains this.
    filter: Option<String>,
    /// Show everything that tests print, not only what failed ones did.
    #[arg(short, long)]
    verbose: bool,
    /// In the end name the N tests that took longest.
    #[arg(long, value_name = "N", default_value_t = 0)]
    slowest: usize,
    /// Kill a suite that runs for longer than this, name the tests that had not ended, and go on. Default: 5 minutes (in
    /// the cluster 30) and 2 for each test, divided by the tests that run at the same time.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    guest: GuestOptions,
}

/// How long a guest may take for next to nothing.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);

const CONTROLLER: &str = "LVS_LAB_CONTROLLER";
const STORM: &str = "LVS_LAB_STORM";
const KUBECONFIG: &str = "LVS_LAB_KUBECONFIG";
const KUBECONFIGS: &str = "LVS_LAB_KUBECONFIGS";
const KUBECTL: &str = "LVS_LAB_KUBECTL";

/// What is in the names of tests that have the host run it.
const PROMTOOL: &str = "promtool";

/// API servers for the tests in the guest. Each test has one for itself, and most of what such a test does is to wait.
const APISERVERS: usize = 2;

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let cache = Cache::open()?;
    let controller = std::env::var(CONTROLLER).ok();
    let scope = Scope::of(args.filter.as_deref(), controller.is_some())?;
    packages::require(&parts(&scope))?;
    // Compiling it takes longer than all else, so it starts first and is waited for as late as possible.
    let kubernetes = scope
        .has(Place::needs_apiserver)
        .then(|| KubeBinary::prepare_in_background(&cache, Programs::ApiServer));

    let built = suites::build(&scope)?;
    let mut selections = Vec::new();
    for suite in &built.suites {
        selections.extend(suite.select(args.filter.as_deref())?);
    }
    if selections.is_empty() {
        bail!("no test's full name contains {}", args.filter.as_deref().unwrap_or_default());
    }
    let mut run = Run { args, environment: Environment::new(), total: Tally::default(), times: Vec::new() };
    if let Some(controller) = controller.or_else(|| Some(built.controller?.display().to_string())) {
        run.environment.insert(CONTROLLER.to_owned(), controller);
    }
    run.environment.extend(args.guest.variables());
    run.environment.extend(std::env::var(STORM).ok().map(|servers| (STORM.to_owned(), servers)));

    run.on_host(&selections, Place::Host)?;
    if scope.is_whole() && args.filter.is_none() {
        let step = progress::step("testing the documentation's examples");
        let outcome = suites::run_doc_tests(&step, args.verbose)?;
        run.report("documentation", step, &outcome);
    }
    let apiservers = run.apiservers(&selections, kubernetes)?;
    run.on_host(&selections, Place::HostWithApiserver)?;
    run.in_guest(&cache, &selections, &apiservers)?;
    drop(apiservers);
    run.on_host(&selections, Place::Browser)?;
    run.on_host(&selections, Place::Cluster)?;

    run.tell_slowest();
    line(&run.total.to_string());
    Ok(if run.total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says why there is no program, and fails.
fn saying(error: &anyhow::Error) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "echo \"there is no $0: $1\" >&2; exit 127", PROMTOOL]).arg(format!("{error:#}"));
    command
}

fn parts(scope: &Scope) -> Vec<Part> {
    let needed = [
        (Part::Guest, scope.has(Place::needs_guest)),
        (Part::Apiserver, scope.has(Place::needs_apiserver)),
        (Part::Browser, scope.has(|place| place == Place::Browser)),
        (Part::Image, scope.has(|place| place == Place::Cluster)),
        (Part::Cluster, scope.has(|place| place == Place::Cluster)),
    ];
    needed.into_iter().filter_map(|(part, needed)| needed.then_some(part)).collect()
}

struct Run<'a> {
    args: &'a Args,
    environment: Environment,
    total: Tally,
    /// How long each test took, by its full name.
    times: Vec<(String, Duration)>,
}

impl Run<'_> {
    fn apiservers(
        &mut self,
        selections: &[Selection],
        kubernetes: Option<Preparation>,
    ) -> Result<Vec<ApiServer>> {
        let in_guest = selections.iter().filter(|chosen| chosen.place == Place::GuestWithApiserver);
        let on_host = selections.iter().any(|chosen| chosen.place == Place::HostWithApiserver);
        let most = in_guest.map(|chosen| chosen.tests.len()).max().unwrap_or_default();
        let wanted = most.min(APISERVERS).max(on_host.into());
        let Some(kubernetes) = kubernetes.filter(|_| wanted > 0) else { return Ok(Vec::new()) };
        let binary = kubernetes.wait()?;
        let step =
            progress::step(if wanted == 1 { "starting an API server" } else { "starting API servers" });
        let servers = (0..wanted).map(|_| ApiServer::start(&binary)).collect::<Result<Vec<_>>>()?;
        step.done();
        let kubectl = servers[0].kubectl_path();
        self.environment.insert(KUBECTL.to_owned(), kubectl.display().to_string());
        let kubeconfig = servers[0].kubeconfig();
        self.environment.insert(KUBECONFIG.to_owned(), kubeconfig.display().to_string());
        Ok(servers)
    }

    fn manner(&self, threads: usize) -> Manner {
        Manner {
            environment: self.environment.clone(),
            threads,
            limit: self.args.limit.map(Duration::from_secs),
            verbose: self.args.verbose,
        }
    }

    fn title(&self, chosen: &Selection) -> String {
        let (label, place) = (&chosen.suite.label, chosen.place);
        if place.needs_guest() {
            format!("{label} ({}, kernel {})", place.name(), self.args.guest.options().kernel)
        } else {
            format!("{label} ({})", place.name())
        }
    }

    fn on_host(&mut self, selections: &[Selection], place: Place) -> Result<()> {
        let manner = self.manner(thread::available_parallelism().map_or(1, usize::from));
        for chosen in selections.iter().filter(|chosen| chosen.place == place) {
            let title = self.title(chosen);
            let step = progress::step(&title);
            let outcome = chosen.run_on_host(&step, &manner)?;
            self.note_times(chosen, &outcome);
            self.report(&title, step, &outcome);
        }
        Ok(())
    }

    fn in_guest(&mut self, cache: &Cache, selections: &[Selection], apiservers: &[ApiServer]) -> Result<()> {
        let mut chosen: Vec<_> = selections.iter().filter(|chosen| chosen.place.is_in_guest()).collect();
        chosen.sort_by_key(|chosen| chosen.place);
        if chosen.is_empty() {
            return Ok(());
        }
        let asks_promtool =
            chosen.iter().flat_map(|chosen| &chosen.tests).any(|test| test.contains(PROMTOOL));
        let promtool = asks_promtool.then(|| promtool::prepare(cache));
        let options = self.args.guest.options();
        let guest = Guest::boot(cache, &options)?;
        let kubeconfigs = apiservers.iter().map(|server| server.guest_kubeconfig().display().to_string());
        self.environment.remove(KUBECONFIG);
        self.environment.insert(KUBECONFIGS.to_owned(), kubeconfigs.collect::<Vec<_>>().join(":"));
        let kubectls: Vec<_> = apiservers.iter().map(ApiServer::kubectl_maker).collect();
        let _offer = guest.offer(move |name| {
            if name == PROMTOOL {
                return promtool.as_ref().map(|found| match found {
                    Ok(program) => Command::new(program),
                    Err(error) => saying(error),
                });
            }
            let number: usize = name.strip_prefix("kubectl-")?.parse().ok()?;
            kubectls.get(number).map(|kubectl| kubectl())
        });
        let failed_before = self.total.failed;
        let mut waiting = chosen.into_iter();
        while let Some(chosen) = waiting.next() {
            let one_each = chosen.place.needs_apiserver().then_some(apiservers.len());
            let manner = self.manner(one_each.unwrap_or(options.cpus as usize));
            let title = self.title(chosen);
            let step = progress::step(&title);
            let outcome = chosen.run_in_guest(&guest, &step, &manner)?;
            self.note_times(chosen, &outcome);
            self.report(&title, step, &outcome);
            // In a guest that hangs each of the others would wait for its whole limit.
            if outcome.complaint.is_some()
                && let Err(error) = guest.output(&Job::new(["true"]), ANSWER_LIMIT)
            {
                self.total.failed += waiting.len();
                line(&format!(
                    "The guest does not answer, and {} suites were not run: {error:#}",
                    waiting.len()
                ));
                break;
            }
        }
        if self.total.failed > failed_before {
            line(&format!("The guest's console and its jobs' output: {}", guest.folder().display()));
            return Ok(());
        }
        guest.stop().context("every test in the guest passed")
    }

    fn note_times(&mut self, chosen: &Selection, outcome: &Outcome) {
        let full = |name: &str| format!("{}::{name}", chosen.suite.label);
        self.times.extend(outcome.times.iter().map(|(name, time)| (full(name), *time)));
    }

    fn tell_slowest(&mut self) {
        self.times.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        for (name, time) in self.times.iter().take(self.args.slowest) {
            line(&format!("{:6.1} s  {name}", time.as_secs_f64()));
        }
    }

    fn report(&mut self, title: &str, step: Step, outcome: &Outcome) {
        self.total += outcome.tally;
        let result = format!("{title}: {}", outcome.tally);
        if outcome.tally.failed == 0 {
            step.done_as(&result);
        } else {
            step.failed_as(&result);
            if !self.args.verbose {
                line(outcome.output.trim_end());
            }
            if let Some(complaint) = &outcome.complaint {
                line(&format!("{title}: {complaint}"));
            }
        }
    }
}
