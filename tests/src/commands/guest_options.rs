//! Arguments of every command that boots a guest.

use lvs_lab::guest::{Kernel, Options};

#[derive(clap::Args)]
pub(crate) struct GuestOptions {
    /// The guest's kernel: Debian 12's own, or the newer one of its security suite.
    #[arg(long, value_enum, default_value_t)]
    kernel: Kernel,
    /// The guest's memory in MiB.
    #[arg(long, value_name = "MIB", default_value_t = Options::default().memory_mib)]
    memory: u32,
    /// The guest's processors.
    #[arg(long, value_name = "N", default_value_t = Options::default().cpus)]
    cpus: u32,
}

impl GuestOptions {
    pub(crate) fn options(&self) -> Options {
        let Self { kernel, memory, cpus } = *self;
        Options { kernel, memory_mib: memory, cpus, ..Options::default() }
    }

    /// The same as arguments for another run of this program.
    pub(crate) fn arguments(&self) -> [String; 3] {
        let Self { kernel, memory, cpus } = self;
        [format!("--kernel={kernel}"), format!("--memory={memory}"), format!("--cpus={cpus}")]
    }

    /// The same as variables, for tests that boot a guest themselves.
    pub(crate) fn variables(&self) -> [(String, String); 3] {
        let Self { kernel, memory, cpus } = self;
        [("KERNEL", kernel.to_string()), ("MEMORY", memory.to_string()), ("CPUS", cpus.to_string())]
            .map(|(name, value)| (format!("LVS_LAB_{name}"), value))
    }
}
