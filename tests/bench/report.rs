//! What was measured: a table for people, JSON for machines.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::latency::Latencies;
use crate::usage::Usages;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Milliseconds,
    PerSecond,
    Cores,
    Count,
    Ratio,
    Megabytes,
}

/// What a figure is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    None,
    AtMost(f64),
    AtLeast(f64),
    /// At most so many times the floor of the same run.
    TimesFloor(f64),
}

/// One measured number.
#[derive(Clone, Debug)]
pub struct Figure {
    pub phase: &'static str,
    pub name: String,
    pub value: f64,
    pub unit: Unit,
    pub bar: Bar,
    /// What the same costs without a control plane.
    pub floor: Option<f64>,
}

/// The resources that a phase took.
struct Spent {
    phase: &'static str,
    usages: Usages,
    took: Duration,
}

/// All that a run has measured.
#[derive(Default)]
pub struct Report {
    pub figures: Vec<Figure>,
    spent: Vec<Spent>,
}

impl Figure {
    pub fn new(phase: &'static str, name: impl Into<String>, value: f64, unit: Unit) -> Self {
        Self { phase, name: name.into(), value, unit, bar: Bar::None, floor: None }
    }

    pub fn seconds(phase: &'static str, name: impl Into<String>, value: Duration) -> Self {
        Self::new(phase, name, value.as_secs_f64(), Unit::Seconds)
    }

    pub fn milliseconds(phase: &'static str, name: impl Into<String>, value: Duration) -> Self {
        Self::new(phase, name, value.as_secs_f64() * 1000.0, Unit::Milliseconds)
    }

    pub fn bar(mut self, bar: Bar) -> Self {
        self.bar = bar;
        self
    }

    /// Held against twice the floor, where that was measured.
    pub fn floor(mut self, floor: Option<Duration>) -> Self {
        self.floor = floor.map(|floor| floor.as_secs_f64());
        self.bar = Bar::TimesFloor(2.0);
        self
    }

    /// Whether it holds; none without anything to hold it against.
    fn holds(&self) -> Option<bool> {
        match (self.bar, self.floor) {
            (Bar::AtMost(most), _) => Some(self.value <= most),
            (Bar::AtLeast(least), _) => Some(self.value >= least),
            (Bar::TimesFloor(times), Some(floor)) => Some(self.value <= floor * times),
            (Bar::None | Bar::TimesFloor(_), _) => None,
        }
    }

    fn bar_text(&self) -> String {
        match self.bar {
            Bar::None => String::new(),
            Bar::AtMost(most) => format!("≤ {}", self.unit.text(most)),
            Bar::AtLeast(least) => format!("≥ {}", self.unit.text(least)),
            Bar::TimesFloor(times) => format!("≤ {times} × floor"),
        }
    }

    fn verdict(&self) -> String {
        let mut text = match self.holds() {
            Some(true) => "holds".to_owned(),
            Some(false) => "MISSED".to_owned(),
            None => String::new(),
        };
        if let Some(floor) = self.floor {
            let _ = write!(text, " ({:.2} ×)", self.value / floor);
        }
        text.trim_start().to_owned()
    }

    fn json(&self) -> Value {
        json!({
            "phase": self.phase, "name": self.name, "value": self.value, "unit": self.unit.symbol(),
            "bar": self.bar_text(), "floor": self.floor, "holds": self.holds(),
        })
    }
}

impl Unit {
    fn symbol(self) -> &'static str {
        match self {
            Unit::Seconds => "s",
            Unit::Milliseconds => "ms",
            Unit::PerSecond => "/s",
            Unit::Cores => "core",
            Unit::Count => "",
            Unit::Ratio => "×",
            Unit::Megabytes => "MB",
        }
    }

    fn text(self, value: f64) -> String {
        let number = match value {
            0.0 => "0".to_owned(),
            value if value.abs() >= 100.0 => format!("{value:.0}"),
            value if value.abs() >= 10.0 => format!("{value:.1}"),
            value if value.abs() >= 1.0 => format!("{value:.2}"),
            value => format!("{value:.3}"),
        };
        format!("{number} {}", self.symbol()).trim_end().to_owned()
    }
}

impl Report {
    pub fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Median and p99 of many tries, the latter with its bar.
    pub fn add_latencies(&mut self, phase: &'static str, name: &str, latencies: &Latencies, bar: Bar) {
        let name = format!("{name} ({} times)", latencies.len());
        self.add(Figure::milliseconds(phase, format!("{name}, p50"), latencies.median()));
        self.add(Figure::milliseconds(phase, format!("{name}, p99"), latencies.percentile(99)).bar(bar));
    }

    pub fn spent(&mut self, phase: &'static str, usages: Usages, took: Duration) {
        self.spent.push(Spent { phase, usages, took });
    }

    /// The figures beside their floors and bars, then CPU seconds and memory by process.
    pub fn table(&self) -> String {
        let head = ["phase", "figure", "ours", "floor", "bar", ""].map(str::to_owned).to_vec();
        let rows = self.figures.iter().map(|figure| {
            let floor = figure.floor.map(|floor| figure.unit.text(floor)).unwrap_or_default();
            let ours = figure.unit.text(figure.value);
            vec![figure.phase.to_owned(), figure.name.clone(), ours, floor, figure.bar_text(), figure.verdict()]
        });
        let mut text = aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
        let names = self.spent.iter().flat_map(|spent| spent.usages.keys()).collect::<std::collections::BTreeSet<_>>();
        for (title, show) in [("CPU seconds", cpu as fn(&Spent, &str) -> String), ("resident MB at the end", memory)] {
            let head = [format!("{title} by process"), "took".to_owned()];
            let head = head.into_iter().chain(names.iter().map(ToString::to_string)).collect();
            let rows = self.spent.iter().map(|spent| {
                let start = [spent.phase.to_owned(), Unit::Seconds.text(spent.took.as_secs_f64())];
                start.into_iter().chain(names.iter().map(|name| show(spent, name))).collect()
            });
            text.push('\n');
            text.push_str(&aligned(&std::iter::once(head).chain(rows).collect::<Vec<Vec<_>>>()));
        }
        text
    }

    pub fn json(&self) -> Value {
        let figures = self.figures.iter().map(Figure::json).collect::<Vec<_>>();
        let spent = self.spent.iter().map(|spent| {
            let by_process = spent.usages.iter().map(|(name, usage)| {
                (name.clone(), json!({ "cpu_seconds": usage.cpu.as_secs_f64(), "resident_bytes": usage.memory }))
            });
            json!({
                "phase": spent.phase, "seconds": spent.took.as_secs_f64(),
                "processes": by_process.collect::<serde_json::Map<_, _>>(),
            })
        });
        json!({ "figures": figures, "spent": spent.collect::<Vec<_>>() })
    }
}

fn cpu(spent: &Spent, process: &str) -> String {
    spent.usages.get(process).map(|usage| format!("{:.2}", usage.cpu.as_secs_f64())).unwrap_or_default()
}

fn memory(spent: &Spent, process: &str) -> String {
    spent.usages.get(process).map(|usage| (usage.memory >> 20).to_string()).unwrap_or_default()
}

/// A count as a number to divide.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
pub fn real(count: u64) -> f64 {
    count as f64
}

/// Columns as wide as their widest cell.
fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = (0..rows[0].len()).map(width).collect::<Vec<_>>();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
