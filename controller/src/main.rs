//! `lvs-controller`: the agent and its commands.

use std::process::ExitCode;

use clap::Parser as _;
use lvs_controller::args::{Cli, Command};
use lvs_controller::{agent, cleanup, logging, plan_command, status_command};

/// A wrong command line (`EX_USAGE` of `sysexits.h`).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    #[cfg(feature = "crash-points")]
    if let Err(words) = lvs_controller::crash_point::arm() {
        eprintln!("lvs-controller: {words}");
        return ExitCode::from(USAGE);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Printing the help that was asked for is no error.
            let code = if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
            let _ = error.print();
            return code;
        }
    };
    let result = match cli.command {
        Command::Run(run) if run.cleanup => {
            logging::init(run.node.log_format);
            cleanup::run(&run.node)
        }
        Command::Run(run) => {
            logging::init(run.node.log_format);
            agent::run(run)
        }
        Command::Plan(plan) => {
            logging::init(plan.node.log_format);
            plan_command::run(&plan.node)
        }
        Command::Status(status) => status_command::run(status.http, status.output),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lvs-controller: {error:#}");
            ExitCode::FAILURE
        }
    }
}
