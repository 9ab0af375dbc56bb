//! What is wrong with a configuration: all of it at once.

use std::fmt;

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it was said: a key of a file, a variable or a flag.
    pub origin: String,
    /// What is wrong and what would be right. Holds no secret.
    pub message: String,
}

/// Everything there is to mend, in the order it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Notes a fault.
    pub fn add(&mut self, origin: impl fmt::Display, message: impl Into<String>) {
        self.0.push(Fault {
            origin: origin.to_string(),
            message: message.into(),
        });
    }

    /// Whether there is nothing to mend.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The faults in order.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => writeln!(f, "the configuration has 1 fault:")?,
            count => writeln!(f, "the configuration has {count} faults:")?,
        }
        for (index, fault) in self.0.iter().enumerate() {
            writeln!(f, "  {}. {}: {}", index + 1, fault.origin, fault.message)?;
        }
        Ok(())
    }
}

/// The part of a message that names what was probably meant, after the prefix that all words share; empty when
/// nothing is near.
pub(super) fn suggestion<'a>(
    said: &str,
    prefix: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> String {
    match nearest(said, known) {
        Some(meant) => format!("; did you mean `{prefix}{meant}`?"),
        None => String::new(),
    }
}

/// The known word nearest to what was said, if few enough slips lie between them for it to be meant.
pub(super) fn nearest<'a>(said: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // One slip in a short word, one more for every four letters.
    let slips = 1 + said.chars().count() / 4;
    known
        .into_iter()
        .map(|word| (strsim::osa_distance(said, word), word))
        .filter(|(distance, _)| *distance <= slips)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}
