//! What was measured, and the tables.

use std::fmt::Write as _;

use super::{Fallible, goal::Goal};

/// Samples of one figure, or why there are none.
#[derive(Clone, Debug)]
struct Row {
    workload: &'static str,
    case: String,
    what: &'static str,
    samples: Vec<f64>,
    fault: Option<String>,
}

impl Row {
    /// Whether it is of the same case.
    fn is_of(&self, (workload, case, _): &Name) -> bool {
        (self.workload, self.case.as_str()) == (*workload, *case)
    }
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

    /// The median of a figure, if it was measured.
    fn median(&self, name: Name) -> Option<f64> {
        let row = self
            .rows
            .iter()
            .find(|row| row.is_of(&name) && row.what == name.2)?;
        median(&row.samples)
    }

    /// Every figure as a table.
    pub(crate) fn table(&self) -> String {
        let mut text =
            "| workload | case | what | median | least .. most |\n|---|---|---|---:|---|\n"
                .to_owned();
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        // What was measured of a workload stays in its order.
        rows.sort_by_key(|row| row.workload);
        for row in rows {
            let _ = writeln!(text, "{}", line(row));
        }
        text
    }

    /// How figures stand to each other, and to what is aimed at; those that were not measured are left out.
    pub(crate) fn goals(&self, goals: &[Goal]) -> String {
        let mut text = "| figure | is | goal |\n|---|---:|---|\n".to_owned();
        for goal in goals {
            if let Some(is) = self.standing(goal) {
                let _ = writeln!(text, "| {} | {is} | {} |", goal.text, goal.goal);
            }
        }
        text
    }

    fn standing(&self, goal: &Goal) -> Option<String> {
        let is_void = |name: &Name| {
            let mut of_case = self.rows.iter().filter(|row| row.is_of(name));
            of_case.any(|row| row.fault.is_some())
        };
        if is_void(&goal.of) {
            return Some("**0**".to_owned());
        }
        let one = self.median(goal.of)?;
        let Some(to) = goal.to else {
            return Some(figure(one));
        };
        if is_void(&to) {
            return Some("the other counts as zero".to_owned());
        }
        Some(format!("{:.2}", one / self.median(to)?))
    }
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

/// A whole number with commas.
pub(crate) fn thousands(number: f64) -> String {
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
