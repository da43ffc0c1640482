//! A repository of charts on loopback: made by helm, served as static files, behind a password if asked.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tempfile::TempDir;

use crate::system::System;

const TEMPLATE: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: 'nginx:1.27'}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: greeting}
data: {greeting: {{ .Values.greeting | quote }}}
---
apiVersion: v1
kind: Secret
metadata: {name: password}
stringData: {password: {{ .Values.password | quote }}}
{{ if .Values.refuse }}{{ fail .Values.refuse }}{{ end }}
";

/// Who may read.
#[derive(Clone)]
pub struct Login {
    pub username: String,
    pub password: String,
}

pub struct Charts {
    pub helm: PathBuf,
    folder: TempDir,
    address: String,
    login: Arc<Mutex<Option<Login>>>,
}

impl Charts {
    /// An empty one.
    pub fn new(helm: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("public")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let login = Arc::new(Mutex::new(None));
        let (public, known) = (folder.path().join("public"), login.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = serve(stream, &public, known.lock().unwrap().clone());
            }
        });
        Self { helm, folder, address, login }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Only this user may read from now on.
    pub fn lock(&mut self, login: Login) {
        *self.login.lock().unwrap() = Some(login);
    }

    /// Adds a version of the chart `web`, with more in its template; answers its archive.
    pub fn add(&self, version: &str, more: &str) -> PathBuf {
        let chart = self.folder.path().join("web");
        std::fs::create_dir_all(chart.join("templates")).unwrap();
        let about = format!("apiVersion: v2\nname: web\nversion: {version}\nappVersion: '2.0'\n");
        std::fs::write(chart.join("Chart.yaml"), about).unwrap();
        std::fs::write(chart.join("values.yaml"), "replicas: 1\ngreeting: chart\npassword: none\n").unwrap();
        std::fs::write(chart.join("templates/all.yaml"), format!("{TEMPLATE}{more}")).unwrap();
        let public = self.folder.path().join("public").display().to_string();
        self.run(&["package", &chart.display().to_string(), "--destination", &public]);
        self.run(&["repo", "index", &public, "--url", &self.url()]);
        Path::new(&public).join(format!("web-{version}.tgz"))
    }

    /// Releases the chart as anybody could.
    pub fn install(&self, system: &System, name: &str, namespace: &str) {
        let kubeconfig = self.folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, &system.cluster.kubeconfig).unwrap();
        let chart = self.folder.path().join("web").display().to_string();
        let kubeconfig = kubeconfig.display().to_string();
        self.run(&[
            "install",
            name,
            &chart,
            "--namespace",
            namespace,
            "--create-namespace",
            "--kubeconfig",
            &kubeconfig,
        ]);
    }

    fn run(&self, arguments: &[&str]) {
        let output = Command::new(&self.helm).args(arguments).env("HOME", self.folder.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}

/// One request of HTTP, for one file.
fn serve(mut stream: TcpStream, public: &Path, login: Option<Login>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let headers = lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>();
    let wanted = login.map(|Login { username, password }| {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}")))
    });
    let is_let_in = wanted.is_none_or(|wanted| headers.iter().any(|header| header.ends_with(&wanted)));
    let name = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let (status, body) = match std::fs::read(public.join(name)) {
        _ if !is_let_in => ("401 Unauthorized", Vec::new()),
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body)
}
