//! `tptctl up`: a control plane on this machine.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use threeport::v1::{KubernetesRuntimeInstance, KubernetesRuntimeInstanceSpec, ObjectMeta, Project};
use threeport_sdk::Client;
use threeport_sdk::context::{Context, Contexts};
use tokio::signal::unix::{SignalKind, signal};

use crate::local::instance::{Instance, Settings, Turn};
use crate::local::launcher::{self, Launched};
use crate::local::state::State;
use crate::local::{Progress, given, sandbox, services};
use crate::session::Session;

/// The runtime that `--sandbox` registers.
pub const SANDBOX: &str = "sandbox";
const REPAIR_LIMIT: Duration = Duration::from_mins(1);

/// Start a control plane on this machine: Postgres, NATS, API server and controllers
///
/// They run in the background until `tptctl down`, are started again when they crash, and keep their data in
/// $`XDG_DATA_HOME/threeport` or ~/.local/share/threeport, for root in /var/lib/threeport; $`THREEPORT_HOME` names another
/// folder. Run it again to repair what is down. Interrupted or failed, it leaves nothing behind but the log of a failure.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl up                          a control plane named `local`
  tptctl up demo --sandbox           with a simulated Kubernetes to deploy to
  THREEPORT_DATABASE_URL=postgres://user:password@db.example/threeport tptctl up")]
pub struct Up {
    /// Name of the control plane, and of the context that is written for it
    #[arg(default_value = "local")]
    name: String,
    /// Also start a local Kubernetes with simulated nodes and make it the default runtime
    #[arg(long)]
    sandbox: bool,
    /// Use this Postgres instead of starting one; a password is better given in the environment, which others can't read
    #[arg(long, value_name = "URL", env = "THREEPORT_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Use this NATS, with `JetStream`, instead of starting one
    #[arg(long, value_name = "URL")]
    nats_url: Option<String>,
    /// Send traces to this OTLP endpoint (gRPC)
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
}

impl Up {
    pub async fn run(self, session: &Session) -> Result<()> {
        let instance = Instance::named(&self.name)?;
        // Two at once would each write settings of their own: the second finds what the first has started.
        let _turn = tokio::select! {
            turn = turn(&instance, session) => turn?,
            interrupted = interrupted() => interrupted.and_then(|()| bail!("interrupted"))?,
        };
        let is_first = !instance.exists();
        let mut launched = None;
        let outcome = tokio::select! {
            outcome = self.bring_up(&instance, is_first, &mut launched, session) => outcome,
            interrupted = interrupted() => interrupted.and_then(|()| bail!("interrupted")),
        };
        if outcome.is_err() {
            session.terminal.step("stopping what was started");
            match launched {
                Some(launched) => Launched::abandon(launched).await,
                None if is_first => remove_unless_used(&instance)?,
                None => {}
            }
        }
        outcome
    }

    async fn bring_up(
        &self,
        instance: &Instance,
        is_first: bool,
        launched: &mut Option<Launched>,
        session: &Session,
    ) -> Result<()> {
        let progress = &*session.terminal;
        let mut settings = self.settings(instance)?;
        instance.forget_logs()?;
        settings.find_programs()?;
        given::check(&settings).await?;
        services::prepare(&settings, progress).await?;
        let was_running = is_running(instance, &settings, progress).await?;
        if was_running {
            settings = instance.settings()?;
            repair(instance, progress).await?;
        } else {
            settings.assign_ports()?;
            instance.save(&settings)?;
            launched.insert(Launched::start(instance, is_first)?).ready(instance, progress).await?;
        }
        let context = Context {
            name: instance.name.clone(),
            server: settings.server()?,
            token: instance.user_token()?,
            project: "default".into(),
        };
        if settings.sandbox {
            progress.step("registering the sandbox as a runtime");
            // What runs keeps running: everything else may still be used.
            if let Err(error) = register_sandbox(&Client::from_context(&context)?, instance).await {
                progress.note(format_args!(
                    "warning: {error:#}; run `tptctl up {} --sandbox` again when that is mended",
                    instance.name
                ));
            }
        }
        write_context(context)?;
        if let Some(launched) = launched.take() {
            launched.keep().await?;
        }
        session.terminal.settle();
        say_what_next(instance, &settings, was_running, session)
    }

    /// What is stored, with the flags on top.
    fn settings(&self, instance: &Instance) -> Result<Settings> {
        let stored = if instance.exists() { instance.settings()? } else { Settings::default() };
        let over = |flag: &Option<String>, stored: Option<String>| flag.clone().or(stored);
        Ok(Settings {
            sandbox: self.sandbox || stored.sandbox,
            database_url: over(&self.database_url, stored.database_url),
            nats_url: over(&self.nats_url, stored.nats_url),
            otlp_endpoint: over(&self.otlp_endpoint, stored.otlp_endpoint),
            ports: stored.ports,
            programs: stored.programs,
        })
    }
}

/// Waits until nobody else is starting it.
async fn turn(instance: &Instance, session: &Session) -> Result<Turn> {
    let mut is_told = false;
    loop {
        if let Some(turn) = instance.try_take_turn()? {
            return Ok(turn);
        }
        if !std::mem::replace(&mut is_told, true) {
            session.terminal.step(&format!("waiting for another `tptctl up {}`", instance.name));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Another `up` may have started the control plane in the meantime: what a supervisor holds stays.
fn remove_unless_used(instance: &Instance) -> Result<()> {
    if instance.directory.is_dir()
        && let Some(_lock) = instance.try_lock()?
    {
        instance.remove()?;
    }
    Ok(())
}

fn say_what_next(instance: &Instance, settings: &Settings, was_running: bool, session: &Session) -> Result<()> {
    let terminal = &session.terminal;
    let verb = if was_running { "was running already" } else { "is running" };
    terminal.note(format_args!("control plane `{}` {verb} at {}", instance.name, settings.server()?));
    terminal.note(format_args!("  data and logs   {}", instance.directory.display()));
    terminal.note(format_args!("  context         {} (now current)", instance.name));
    if settings.sandbox {
        terminal.note(
            "  runtime         sandbox, the default: a real Kubernetes API with simulated nodes; nothing really runs",
        );
        let kubectl = sandbox::kubectl_line(&instance.sandbox_directory())?;
        terminal.note(format_args!("  look into it    {kubectl}"));
    }
    let deploy = "tptctl deploy web --image nginxinc/nginx-unprivileged:1.29 --port 8080 --wait";
    let down = format!("tptctl down {}", instance.name);
    let mut next = if settings.sandbox {
        vec![(deploy, "deploy an application"), ("tptctl tree", "see it")]
    } else {
        vec![("tptctl runtime add NAME", "register the Kubernetes cluster of your kubeconfig")]
    };
    next.push((&down, "stop it; --delete-data removes it"));
    terminal.note("next:");
    let width = next.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    for (command, what) in next {
        terminal.note(format_args!("  {command:<width$}  {what}"));
    }
    Ok(())
}

/// Whether it runs with these settings already; what runs with others is stopped.
async fn is_running(instance: &Instance, wanted: &Settings, progress: &dyn Progress) -> Result<bool> {
    if !instance.exists() || !instance.is_supervised() {
        return Ok(false);
    }
    if !instance.settings()?.differs_from(wanted) {
        return Ok(true);
    }
    progress.step("settings or programs have changed; restarting");
    launcher::stop(instance, progress).await?;
    Ok(false)
}

/// Has crashed processes started at once and waits for them.
async fn repair(instance: &Instance, progress: &dyn Progress) -> Result<()> {
    launcher::retry(instance);
    let deadline = Instant::now() + REPAIR_LIMIT;
    loop {
        let state = State::load(instance).context("its state is gone; run `tptctl down` and `tptctl up` again")?;
        if state.is_ready() {
            return Ok(());
        }
        let down = state.processes.iter().find(|process| process.phase != crate::local::state::Phase::Ready);
        if let Some(process) = down {
            progress.detail(&format!("{} is {}", process.name, process.phase));
            if Instant::now() > deadline {
                bail!(
                    "{} is still {} after {} s; look at {}",
                    process.name,
                    process.phase,
                    REPAIR_LIMIT.as_secs(),
                    instance.logs().display()
                );
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Registers the sandbox in project `default`, whose default runtime it becomes unless there is one.
async fn register_sandbox(client: &Client, instance: &Instance) -> Result<()> {
    let path = sandbox::kubeconfig_path(&instance.sandbox_directory());
    let kubeconfig = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let meta = ObjectMeta { project: "default".into(), name: SANDBOX.into(), ..ObjectMeta::default() };
    let spec = KubernetesRuntimeInstanceSpec { kubeconfig, location: "local".into(), ..Default::default() };
    let runtime = KubernetesRuntimeInstance { meta: Some(meta), spec: Some(spec), status: None };
    // Of one that is there only what may have changed with its ports: labels and sharing are the user's.
    match client.update(&runtime, &["spec.kubeconfig"]).await {
        Err(error) if error.is_not_found() => client.apply(&runtime).await.map(|applied| applied.object),
        updated => updated,
    }
    .context("the sandbox is not registered as a runtime")?;
    let mut project: Project = client.get("", "default").await.context("reading project `default`")?;
    let spec = project.spec.get_or_insert_default();
    if spec.default_runtime.is_empty() {
        spec.default_runtime = SANDBOX.into();
        client.update(&project, &["spec.default_runtime"]).await.context("making the sandbox the default runtime")?;
    }
    Ok(())
}

fn write_context(context: Context) -> Result<()> {
    let path = Contexts::path()?;
    let mut contexts = Contexts::load(&path)?;
    contexts.current.clone_from(&context.name);
    contexts.put(context);
    Ok(contexts.save(&path)?)
}

/// Completes on the first signal that asks us to end.
async fn interrupted() -> Result<()> {
    let listen = |kind| signal(kind).context("listening for signals");
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}
