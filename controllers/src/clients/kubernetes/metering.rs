//! Counts and times what is asked of clusters.

use std::time::Instant;

use super::calls::Answer;
use super::error::Result;

/// One call on its way; counted once, however it ends.
pub struct Meter {
    verb: &'static str,
    kind: String,
    code: String,
    started: Instant,
}

impl Meter {
    /// A call that is about to be sent.
    pub fn start(verb: &'static str, kind: &str) -> Self {
        Self { verb, kind: kind.to_owned(), code: "Abandoned".into(), started: Instant::now() }
    }

    /// The end of the call; without it, it was dropped, or took too long.
    pub fn end(mut self, code: String) {
        self.code = code;
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let (kind, code) = (std::mem::take(&mut self.kind), std::mem::take(&mut self.code));
        metrics::counter!("threeport_cluster_calls_total", "verb" => self.verb, "kind" => kind, "code" => code)
            .increment(1);
        metrics::histogram!("threeport_cluster_call_seconds", "verb" => self.verb).record(self.started.elapsed());
    }
}

/// The HTTP status of a 2xx; what else was answered by its name.
pub fn code(answer: &Result<Answer>) -> String {
    match answer {
        Ok(answer) => answer.code.to_string(),
        Err(error) => error.reason().to_owned(),
    }
}

/// A watch, for as long as it is open.
pub struct OpenWatch;

impl OpenWatch {
    pub fn start() -> Self {
        metrics::gauge!("threeport_cluster_watches").increment(1.0);
        Self
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        metrics::gauge!("threeport_cluster_watches").decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn every_call_is_counted_once_also_one_that_is_dropped() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let text = metrics::with_local_recorder(&recorder, || {
            Meter::start("apply", "Deployment").end("201".into());
            drop(Meter::start("apply", "Deployment"));
            let _open = OpenWatch::start();
            drop(OpenWatch::start());
            recorder.handle().render()
        });
        for line in [
            r#"threeport_cluster_calls_total{verb="apply",kind="Deployment",code="201"} 1"#,
            r#"threeport_cluster_calls_total{verb="apply",kind="Deployment",code="Abandoned"} 1"#,
            "threeport_cluster_watches 1",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
