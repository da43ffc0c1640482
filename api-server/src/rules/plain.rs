//! Rules of the plain form of workloads.

use serde_json::Value;
use threeport::json::Violation;
use threeport::render::namespaces::is_label;
use threeport::render::{Image, plain::words};
use threeport::v1::{Autoscale, Volume, WorkloadSpec};

use super::syntax::{MAX_NAME, is_quantity, is_variable};

/// The fields of the plain form that are given, image apart.
pub fn given(workload: &WorkloadSpec) -> Vec<&'static str> {
    let fields = [
        ("command", !workload.command.is_empty()),
        ("args", !workload.args.is_empty()),
        ("port", workload.port.is_some()),
        ("replicas", workload.replicas.is_some()),
        ("autoscale", workload.autoscale.is_some()),
        ("resources", workload.resources.is_some()),
        ("health_path", !workload.health_path.is_empty()),
        ("env", !workload.env.is_empty()),
        ("volumes", !workload.volumes.is_empty()),
        ("processes", !workload.processes.is_empty()),
        ("run_as_user", workload.run_as_user.is_some()),
    ];
    fields.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
}

/// Stores the defaults that are constant, so that they can change without changing what runs.
pub fn fill(spec: &mut Value, workload: &WorkloadSpec) {
    match &workload.autoscale {
        None if workload.replicas.is_none() => spec["replicas"] = 1.into(),
        None => {}
        Some(autoscale) => {
            spec["autoscale"]["min"] = autoscale.min.unwrap_or(1).into();
            spec["autoscale"]["cpu"] = autoscale.cpu.unwrap_or(80).into();
        }
    }
}

/// Everything wrong with a plain form.
pub fn check(name: &str, workload: &WorkloadSpec) -> Vec<Violation> {
    let mut found = Found(Vec::new());
    if let Err(message) = workload.image.parse::<Image>() {
        found.add("image", message);
    }
    check_serving(name, workload, &mut found);
    match &workload.autoscale {
        Some(_) if workload.replicas.is_some() => {
            found.add("replicas", "is the autoscaler's affair; give replicas or autoscale");
        }
        Some(autoscale) => check_autoscale(autoscale, &mut found),
        None => {}
    }
    if workload.run_as_user.is_some_and(|user| !(0..=i64::from(i32::MAX)).contains(&user)) {
        found.add("run_as_user", "is out of range; choose a user id of 0 (root) to 2147483647");
    }
    let resources = workload.resources.clone().unwrap_or_default();
    let quantities = [
        ("resources.cpu", &resources.cpu),
        ("resources.memory", &resources.memory),
        ("resources.cpu_limit", &resources.cpu_limit),
        ("resources.memory_limit", &resources.memory_limit),
    ];
    for (field, quantity) in
        quantities.into_iter().filter(|(_, quantity)| !quantity.is_empty() && !is_quantity(quantity))
    {
        found.add(field, format!("`{quantity}` is no quantity; write it like `250m` or `256Mi`"));
    }
    for variable in sorted(workload.env.keys().filter(|name| !is_variable(name))) {
        found.add(&format!("env[{variable:?}]"), "is no name of an environment variable");
    }
    check_volumes(&workload.volumes, &mut found);
    check_processes(name, workload, &mut found);
    found.0
}

struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, field: &str, message: impl Into<String>) {
        self.0.push(Violation::new(format!("spec.{field}"), message));
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a String> {
    let mut names = names.collect::<Vec<_>>();
    names.sort_unstable();
    names
}

fn check_serving(name: &str, workload: &WorkloadSpec, found: &mut Found) {
    if workload.port.is_some_and(|port| !(1..=65535).contains(&port)) {
        found.add("port", "is out of range; choose one of 1 to 65535");
    }
    let has_service = workload.port.is_some() || !workload.volumes.is_empty();
    if has_service && !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        let field = if workload.port.is_some() { "port" } else { "volumes" };
        found
            .add(field, format!("makes a Service called `{name}`, and those begin with a letter; choose another name"));
    }
    if !workload.health_path.is_empty() {
        if !workload.health_path.starts_with('/') {
            found.add("health_path", format!("`{}` is no absolute path; begin it with `/`", workload.health_path));
        }
        if workload.port.is_none() {
            found.add("health_path", "is asked for on the port; give a port");
        }
    }
}

fn check_autoscale(autoscale: &Autoscale, found: &mut Found) {
    let min = autoscale.min.unwrap_or(1);
    if min < 1 {
        found.add("autoscale.min", "is at least 1; for none at all use replicas: 0");
    }
    match autoscale.max {
        None => found.add("autoscale.max", "is required; say how many copies there may be"),
        Some(max) if max < min => found.add("autoscale.max", format!("{max} is less than min ({min}); raise it")),
        Some(_) => {}
    }
    if autoscale.cpu.is_some_and(|cpu| !(1..=1000).contains(&cpu)) {
        found.add("autoscale.cpu", "is out of range; choose 1 to 1000 percent of what is requested");
    }
}

fn check_volumes(volumes: &[Volume], found: &mut Found) {
    for (index, volume) in volumes.iter().enumerate() {
        if !volume.path.starts_with('/') || volume.path.contains(':') {
            found.add(&format!("volumes[{index}].path"), format!("`{}` is no absolute path without `:`", volume.path));
        }
        if volumes[..index].iter().any(|other| other.path == volume.path) {
            found.add(&format!("volumes[{index}].path"), format!("`{}` is mounted twice; remove one", volume.path));
        }
        if !is_quantity(&volume.size) {
            found.add(
                &format!("volumes[{index}].size"),
                format!("`{}` is no quantity; write it like `10Gi`", volume.size),
            );
        }
    }
}

fn check_processes(name: &str, workload: &WorkloadSpec, found: &mut Found) {
    for process in sorted(workload.processes.keys()) {
        let place = format!("processes[{process:?}]");
        let whole = format!("{name}-{process}");
        if !is_label(process) {
            found.add(&place, format!("`{process}` is no DNS label (1 to 63 of a-z, 0-9 and -)"));
        } else if whole.len() > MAX_NAME {
            found.add(
                &place,
                format!("would run as `{whole}`, which has more than {MAX_NAME} characters; shorten one of the names"),
            );
        } else if process == "main" {
            found.add(&place, "is how the main process is called; choose another name");
        }
        if words(&workload.processes[process]).is_none() {
            found.add(&place, "is empty or has a quote that isn't closed; write a command line");
        }
    }
}
