//! `cargo demo`: builds everything, starts a control plane with a simulated Kubernetes, deploys a sample application on
//! two instances, changes it, and leaves it running.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The name of the demo's control plane and context.
const NAME: &str = "demo";

fn main() -> ExitCode {
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn demo() -> anyhow::Result<()> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    say("== building the three programs");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    // With the examples, for whose sake this very program was built: without them features unify differently and much
    // is built twice.
    build.args(["build", "--workspace", "--bins", "--examples"]).current_dir(sources);
    // Cargo tells the program it runs which package it is of; a build that hears it too takes crates for changed.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "OUT_DIR"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            build.env_remove(name);
        }
    }
    run(&mut build)?;
    let tptctl = Tptctl(binaries()?.join("tptctl"));

    say("\n== a control plane on this machine, with a simulated Kubernetes to deploy to");
    tptctl.run(["up", NAME, "--sandbox"])?;

    let sample = sources.join("tests/demo");
    say("\n== a shop of eleven resources, in two regions with values of their own");
    tptctl.run([OsStr::new("apply"), "-f".as_ref(), sample.join("shop.yaml").as_ref(), "--wait".as_ref()])?;
    tptctl.run(["get", "workload-instances"])?;

    say("\n== another application, without writing a document");
    let image = ["--image", "nginxinc/nginx-unprivileged:1.29", "--port", "8080"];
    tptctl.run([&["deploy", "api"], &image[..], &["--replicas", "2", "--wait"]].concat())?;

    say("\n== a change: only what differs is written");
    tptctl.run([
        OsStr::new("apply"),
        "-f".as_ref(),
        sample.join("shop-changed.yaml").as_ref(),
        "--reason".as_ref(),
        "more visitors in Europe".as_ref(),
        "--wait".as_ref(),
    ])?;
    tptctl.run(["history", "workload", "shop", "--diff", "--limit", "2"])?;

    say("\n== all of it");
    tptctl.run(["tree"])?;
    say_what_next(&tptctl.0);
    Ok(())
}

/// The folder that cargo builds programs into: the one above this example's.
fn binaries() -> anyhow::Result<PathBuf> {
    let ours = std::env::current_exe()?;
    let folder = ours.ancestors().nth(2).map(Path::to_path_buf);
    folder.ok_or_else(|| anyhow::anyhow!("{} is not where cargo puts examples", ours.display()))
}

struct Tptctl(PathBuf);

impl Tptctl {
    /// Shows the command and runs it.
    fn run<T: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = T>) -> anyhow::Result<()> {
        let mut command = Command::new(&self.0);
        // Whatever context the user has in the environment is not the demo's.
        command.args(arguments).env("THREEPORT_CONTEXT", NAME).env_remove("THREEPORT_PROJECT");
        command.env_remove("THREEPORT_SERVER").env_remove("THREEPORT_TOKEN");
        let shown: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        say(&format!("$ tptctl {}", shown.join(" ")));
        run(&mut command)
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().map_err(|error| anyhow::anyhow!("{} can't be run: {error}", name(command)))?;
    if status.success() { Ok(()) } else { anyhow::bail!("{} failed ({status})", name(command)) }
}

fn name(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn say_what_next(tptctl: &Path) {
    let tptctl = tptctl.display();
    say(&format!(
        "
The demo keeps running. Next, with the context `{NAME}`, which is current now:
  alias tptctl={tptctl}
  tptctl describe workload shop             why it is as it is
  tptctl render wi shop-eu                  exactly what was applied
  tptctl get wi --watch                     every change as it happens
  tptctl deploy api --replicas 5 --wait     change one thing
  tptctl delete workload shop --wait        take it down without a trace
  tptctl status {NAME}                        the processes
  tptctl down {NAME} --delete-data            remove everything"
    ));
}

/// Progress stands where tptctl's own does.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
