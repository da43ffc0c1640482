//! CPU time and resident memory of processes, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// `/proc` counts in these per second on every Linux.
const TICKS: u64 = 100;

/// A process to look at.
#[derive(Clone, Debug)]
pub struct Process {
    pub name: String,
    pub id: u32,
    /// Counts what it forked as its own, as Postgres does.
    pub has_children: bool,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub cpu: Duration,
    /// Bytes; pages that several processes share count in parts.
    pub memory: u64,
}

/// What processes have used, by name.
pub type Usages = BTreeMap<String, Usage>;

/// Looks at all of them now.
pub fn look(processes: &[Process]) -> Result<Usages> {
    let parents = parents()?;
    let mut usages = Usages::new();
    for process in processes {
        let mut usage = of(process.id, process.has_children).with_context(|| format!("{} is gone", process.name))?;
        if process.has_children {
            for (child, _) in parents.iter().filter(|(_, parent)| **parent == process.id) {
                // One that has ended since is in its parent's account.
                let child = of(*child, false).unwrap_or_default();
                usage.cpu += child.cpu;
                usage.memory += child.memory;
            }
        }
        usages.insert(process.name.clone(), usage);
    }
    Ok(usages)
}

/// What was used between two looks; the memory is that of the second.
pub fn between(before: &Usages, after: &Usages) -> Usages {
    let used = after.iter().map(|(name, usage)| {
        let cpu = usage.cpu.saturating_sub(before.get(name).map_or(Duration::ZERO, |before| before.cpu));
        (name.clone(), Usage { cpu, ..*usage })
    });
    used.collect()
}

fn of(id: u32, with_ended_children: bool) -> Option<Usage> {
    let fields = stat(id)?;
    // utime, stime, then those of children that have ended: proc_pid_stat(5), fields 14 to 17.
    let counted = if with_ended_children { &fields[11..15] } else { &fields[11..13] };
    let ticks = counted.iter().filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
    let memory = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
    let memory = memory.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse().ok());
    Some(Usage { cpu: Duration::from_millis(ticks * 1000 / TICKS), memory: memory.unwrap_or(0_u64) * 1024 })
}

/// The fields of `/proc/ID/stat` after the program's name.
fn stat(id: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// The parents of all processes, by process.
fn parents() -> Result<BTreeMap<u32, u32>> {
    let entries = fs::read_dir("/proc").context("the benchmark reads /proc, which only Linux has")?;
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    Ok(ids.filter_map(|id| Some((id, stat(id)?.get(1)?.parse().ok()?))).collect())
}
