//! Writes the CRD manifests to `crds/yaml/` and, for Helm, which reads nothing outside a chart, to
//! `charts/lvs-operator/files/crds/`; or prints them.

use std::path::Path;
use std::process::ExitCode;

use lvs_crds::yaml;

/// `EX_USAGE` of `sysexits.h`, like all commands of this project.
const USAGE: u8 = 64;
/// Where the manifests go, from this crate.
const FOLDERS: [&str; 2] = ["yaml", "../charts/lvs-operator/files/crds"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => match FOLDERS
            .iter()
            .try_for_each(|folder| write(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)))
        {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("crdgen: {error}");
                ExitCode::FAILURE
            }
        },
        ["--print"] => {
            let texts: Vec<String> = yaml::manifests().into_iter().map(|manifest| manifest.text).collect();
            print!("{}", texts.join("---\n"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!(
                "usage: cargo crdgen            write crds/yaml/ and the chart's copy\n       cargo crdgen --print    print to standard output"
            );
            ExitCode::from(USAGE)
        }
    }
}

fn write(folder: &Path) -> Result<(), String> {
    let tried =
        |what: &str, path: &Path, error: std::io::Error| format!("cannot {what} {}: {error}", path.display());
    std::fs::create_dir_all(folder).map_err(|error| tried("make", folder, error))?;
    for manifest in yaml::manifests() {
        let path = folder.join(&manifest.file);
        std::fs::write(&path, manifest.text).map_err(|error| tried("write", &path, error))?;
        println!("{}", path.display());
    }
    Ok(())
}
