//! Runs one program that must not outlive whoever wants it: what we are when we are started to watch over Helm.
//!
//! Whoever started us writes, line by line, how many milliseconds it still holds its lease. When that time is over, and when
//! it is gone, which closes the pipe, the program and all that it has started are killed. So a process that was stopped, or
//! killed, in the middle of an operation leaves nothing behind that goes on writing to a cluster.

use std::io::BufRead;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// For the first line to come.
const FIRST_LEASE: Duration = Duration::from_secs(3);
const NOT_STARTED: u8 = 127;
const KILLED: u8 = 137;

/// What to run.
#[derive(Args, Debug)]
pub struct Child {
    /// The program.
    program: PathBuf,
    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs it; the exit code is its own.
pub fn run(child: &Child) -> ExitCode {
    let mut command = Command::new(&child.program);
    command.args(&child.arguments).stdin(Stdio::null()).process_group(0);
    let mut process = match command.spawn() {
        Ok(process) => process,
        Err(error) => {
            tell(&format!("{} can't be run: {error}", child.program.display()));
            return ExitCode::from(NOT_STARTED);
        }
    };
    let deadline = Arc::new(Mutex::new(Instant::now() + FIRST_LEASE));
    let leases = deadline.clone();
    std::thread::spawn(move || follow(&leases));
    loop {
        match process.try_wait() {
            Ok(Some(status)) => return ExitCode::from(status.code().map_or(KILLED, |code| code.to_le_bytes()[0])),
            Ok(None) => {}
            Err(error) => tell(&format!("can't wait for {}: {error}", child.program.display())),
        }
        if Instant::now() >= *deadline.lock().unwrap_or_else(PoisonError::into_inner) {
            kill_group(process.id());
            let _ = process.wait();
            return ExitCode::from(KILLED);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Takes the word of whoever wants the program for how long it does.
fn follow(deadline: &Mutex<Instant>) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Ok(left) = line.trim().parse() else { break };
        *deadline.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + Duration::from_millis(left);
    }
    *deadline.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
}

fn kill_group(id: u32) {
    if let Ok(id) = i32::try_from(id) {
        let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
    }
}

fn tell(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "Error: {line}");
}
