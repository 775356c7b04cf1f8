//! `cargo lab test`.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use lvs_lab::apiserver::{ApiServer, KubeBinary, Preparation, Programs};
use lvs_lab::cache::Cache;
use lvs_lab::guest::Guest;
use lvs_lab::packages::{self, Part};
use lvs_lab::progress::{self, Step, line};
use lvs_lab::suites::{self, Environment, Outcome, Place, Scope, Selection, Tally};

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
/// The last line of the output says how many tests passed and failed. The controller that tests run is built for
/// debugging; set LVS_LAB_CONTROLLER to the path of another one.
#[derive(clap::Args)]
#[allow(clippy::doc_markdown, reason = "this is the command's help, printed as it is")]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Only tests whose full name contains this.
    filter: Option<String>,
    /// Show everything that tests print, not only what failed ones did.
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    guest: GuestOptions,
}

const CONTROLLER: &str = "LVS_LAB_CONTROLLER";
const KUBECONFIG: &str = "LVS_LAB_KUBECONFIG";
const KUBECTL: &str = "LVS_LAB_KUBECTL";

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
    let mut run = Run { args, environment: Environment::new(), total: Tally::default() };
    if let Some(controller) = controller.or_else(|| Some(built.controller?.display().to_string())) {
        run.environment.insert(CONTROLLER.to_owned(), controller);
    }

    run.on_host(&selections, Place::Host)?;
    if scope.is_whole() && args.filter.is_none() {
        let step = progress::step("testing the documentation's examples");
        let outcome = suites::run_doc_tests(&step, args.verbose)?;
        run.report("documentation", step, &outcome);
    }
    let apiserver = run.apiserver(&selections, kubernetes)?;
    run.on_host(&selections, Place::HostWithApiserver)?;
    run.in_guest(&cache, &selections, apiserver.as_ref())?;
    run.on_host(&selections, Place::Cluster)?;

    line(&run.total.to_string());
    Ok(if run.total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parts(scope: &Scope) -> Vec<Part> {
    let needed = [
        (Part::Guest, scope.has(Place::is_in_guest)),
        (Part::Apiserver, scope.has(Place::needs_apiserver)),
        (Part::Cluster, scope.has(|place| place == Place::Cluster)),
    ];
    needed.into_iter().filter_map(|(part, needed)| needed.then_some(part)).collect()
}

struct Run<'a> {
    args: &'a Args,
    environment: Environment,
    total: Tally,
}

impl Run<'_> {
    fn apiserver(
        &mut self,
        selections: &[Selection],
        kubernetes: Option<Preparation>,
    ) -> Result<Option<ApiServer>> {
        let Some(kubernetes) =
            kubernetes.filter(|_| selections.iter().any(|chosen| chosen.place.needs_apiserver()))
        else {
            return Ok(None);
        };
        let binary = kubernetes.wait()?;
        let step = progress::step("starting an API server");
        let server = ApiServer::start(&binary)?;
        step.done();
        self.environment.insert(KUBECONFIG.to_owned(), server.kubeconfig().display().to_string());
        self.environment.insert(KUBECTL.to_owned(), server.kubectl_path().display().to_string());
        Ok(Some(server))
    }

    fn on_host(&mut self, selections: &[Selection], place: Place) -> Result<()> {
        for chosen in selections.iter().filter(|chosen| chosen.place == place) {
            let step = progress::step(title(chosen));
            let outcome = chosen.run_on_host(&step, &self.environment, self.args.verbose)?;
            self.report(&title(chosen), step, &outcome);
        }
        Ok(())
    }

    fn in_guest(
        &mut self,
        cache: &Cache,
        selections: &[Selection],
        apiserver: Option<&ApiServer>,
    ) -> Result<()> {
        let chosen: Vec<_> = selections.iter().filter(|chosen| chosen.place.is_in_guest()).collect();
        if chosen.is_empty() {
            return Ok(());
        }
        let mut environment = self.environment.clone();
        if let Some(server) = apiserver {
            environment.insert(KUBECONFIG.to_owned(), server.guest_kubeconfig().display().to_string());
        }
        let guest = Guest::boot(cache, &self.args.guest.options())?;
        let failed_before = self.total.failed;
        for chosen in chosen {
            let step = progress::step(title(chosen));
            let outcome = chosen.run_in_guest(&guest, &step, &environment, self.args.verbose)?;
            self.report(&title(chosen), step, &outcome);
        }
        if self.total.failed > failed_before {
            line(&format!("The guest's console and its jobs' output: {}", guest.folder().display()));
            return Ok(());
        }
        guest.stop().context("every test in the guest passed")
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
        }
    }
}

fn title(chosen: &Selection) -> String {
    format!("{} ({})", chosen.suite.label, chosen.place.name())
}
