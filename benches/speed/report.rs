//! What was measured, and the tables.

use std::fmt::Write as _;

use super::Fallible;

/// Samples of one figure, or why there are none.
#[derive(Clone, Debug)]
struct Row {
    workload: &'static str,
    case: String,
    what: &'static str,
    samples: Vec<f64>,
    fault: Option<String>,
}

/// Names one figure: workload, case, what.
pub(crate) type Name = (&'static str, &'static str, &'static str);

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Takes the samples of a figure.
    pub(crate) fn add(
        &mut self,
        workload: &'static str,
        case: &str,
        what: &'static str,
        samples: Vec<f64>,
    ) {
        self.push(Row {
            workload,
            case: case.to_owned(),
            what,
            samples,
            fault: None,
        });
    }

    /// A figure that counts as zero, because something was lost, repeated or broken.
    pub(crate) fn zero(&mut self, workload: &'static str, case: &str, why: &str) {
        self.push(Row {
            workload,
            case: case.to_owned(),
            what: "counts as zero",
            samples: Vec::new(),
            fault: Some(
                why.split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
                    .replace('|', "/"),
            ),
        });
    }

    /// Notes that a case could not be carried through, if so.
    pub(crate) fn hold(&mut self, workload: &'static str, case: &str, outcome: Fallible<()>) {
        if let Err(error) = outcome {
            self.zero(workload, case, &chain(error.as_ref()));
        }
    }

    fn push(&mut self, row: Row) {
        eprintln!("{}", line(&row));
        self.rows.push(row);
    }

    /// Whether anything counts as zero.
    pub(crate) fn is_sound(&self) -> bool {
        self.rows.iter().all(|row| row.fault.is_none())
    }

    /// The median of a figure; none where it was not measured or its case counts as zero.
    pub(crate) fn median(&self, (workload, case, what): Name) -> Option<f64> {
        let of_case = || {
            self.rows
                .iter()
                .filter(move |row| (row.workload, row.case.as_str()) == (workload, case))
        };
        if of_case().any(|row| row.fault.is_some()) {
            return None;
        }
        let row = of_case().find(|row| row.what == what)?;
        median(&row.samples)
    }

    /// Every figure as a table.
    pub(crate) fn table(&self) -> String {
        let mut text =
            "| workload | case | what | median | least .. most |\n|---|---|---|---:|---|\n"
                .to_owned();
        for row in &self.rows {
            let _ = writeln!(text, "{}", line(row));
        }
        text
    }

    /// How figures stand to each other, and to what was aimed at.
    pub(crate) fn ratios(&self, ratios: &[Ratio]) -> String {
        let mut text = "| ratio | is | goal |\n|---|---:|---|\n".to_owned();
        for ratio in ratios {
            let (Some(one), Some(other)) = (self.median(ratio.of), self.median(ratio.to)) else {
                continue;
            };
            let _ = writeln!(
                text,
                "| {} | {:.2} | {} |",
                ratio.text,
                one / other,
                ratio.goal
            );
        }
        text
    }
}

/// How one figure stands to another.
#[derive(Clone, Debug)]
pub(crate) struct Ratio {
    /// What it says.
    pub(crate) text: &'static str,
    /// The figure above the line.
    pub(crate) of: Name,
    /// The figure below it.
    pub(crate) to: Name,
    /// What is aimed at.
    pub(crate) goal: &'static str,
}

fn line(row: &Row) -> String {
    let (median, range) = match &row.fault {
        Some(why) => ("**0**".to_owned(), why.clone()),
        None => (
            median(&row.samples).map_or_else(|| "–".to_owned(), figure),
            range(&row.samples),
        ),
    };
    let Row {
        workload,
        case,
        what,
        ..
    } = row;
    format!("| {workload} | {case} | {what} | {median} | {range} |")
}

fn range(samples: &[f64]) -> String {
    match (percentile(samples, 0.0), percentile(samples, 1.0)) {
        (Some(least), Some(most)) if samples.len() > 1 => {
            format!("{} .. {}", figure(least), figure(most))
        }
        _ => String::new(),
    }
}

/// The middle one, or what lies between the two in the middle.
fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some((lower + upper) / 2.0)
}

/// The sample that this share of them does not pass.
pub(crate) fn percentile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().checked_sub(1)?)).copied()
}

/// A number with as many digits as it can be trusted with.
fn figure(number: f64) -> String {
    match number.abs() {
        1_000.0.. => thousands(number),
        100.0.. => format!("{number:.0}"),
        1.0.. => format!("{number:.2}"),
        _ => format!("{number:.4}"),
    }
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    text
}
