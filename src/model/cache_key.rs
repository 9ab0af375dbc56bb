//! When two requests have the same answer: the key that the cache and single-flight go by. Pure.
//!
//! The key is a hash over tenant, path and the body in a canonical form: members sorted by name, numbers written one
//! way, strings as they are. Whatever a body holds takes part, known or not, except what is named in [`LEFT_OUT`]: a
//! member too many costs a call, one too few would give a wrong answer.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::kind::Kind;

/// Keeps these hashes apart from all others, and from those of another canonical form.
const CONTEXT: &str = "tidings 2026-11 request cache key 1";

/// Keeps the keys of answers that are checked apart from all others.
const CHECKED: &str = "tidings 2026-11 request cache key 1, checked";

/// Whether the provider keeps the answer. Where later requests may refer to it, one that is not kept is another answer.
const STORE: &str = "store";

/// Members of a body that cannot change what the model says.
const LEFT_OUT: [&str; 8] = [
    // How the answer travels.
    "stream",
    "stream_options",
    // Whom the provider holds to account; models do not see it.
    "user",
    "safety_identifier",
    // What the provider keeps of the call, and under which names.
    "metadata",
    STORE,
    // Where the provider looks for a prefix that it has read before.
    "prompt_cache_key",
    "prompt_cache_retention",
];

/// Beyond it a number with a point or an exponent no longer stands for one whole number.
const WHOLE: f64 = 9_007_199_254_740_992.0;
/// Whole numbers from here on are read as the nearest that fits, so that two of them may look the same.
const UNCERTAIN: f64 = 18_446_744_073_709_551_616.0;

/// Names all requests of a tenant that have the same answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey([u8; 32]);

impl CacheKey {
    /// The key of a request. None where it cannot be told which others are equal to it: the body is no JSON object, or
    /// holds a number that cannot be read exactly.
    pub fn of(tenant: &str, kind: Kind, body: &[u8]) -> Option<CacheKey> {
        let Node::Object(mut members) = serde_json::from_slice(body).ok()? else {
            return None;
        };
        members.retain(|(name, _)| {
            let counts = name == STORE && kind.keeps_answers();
            counts || !LEFT_OUT.contains(&name.as_str())
        });
        let whole = Node::Array(vec![
            Node::Text(tenant.to_owned()),
            Node::Text(kind.path().to_owned()),
            Node::Object(members),
        ]);
        let mut text = Vec::with_capacity(body.len() + 64);
        whole.write(&mut text)?;
        Some(CacheKey(blake3::derive_key(CONTEXT, &text)))
    }

    /// The key of the same request where its answers are checked.
    #[must_use]
    pub fn checked(self) -> Self {
        CacheKey(blake3::derive_key(CHECKED, &self.0))
    }

    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        CacheKey(bytes)
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Which of so many partitions what belongs to the key lies in.
    pub fn partition(&self, partitions: u16) -> u16 {
        let number = u64::from_be_bytes(std::array::from_fn(|byte| self.0[byte]));
        u16::try_from(number % u64::from(partitions.max(1))).unwrap_or_default()
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

/// Whether a request asks for the same answer each time: nothing in it is drawn by chance, its temperature is 0, or it
/// names a seed.
pub fn is_repeatable(kind: Kind, body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Sampling {
        temperature: Option<f64>,
        seed: Option<IgnoredAny>,
        /// What the provider keeps of a conversation grows with each request.
        conversation: Option<IgnoredAny>,
    }
    if !kind.is_sampled() {
        return true;
    }
    let sampling: Result<Sampling, _> = serde_json::from_slice(body);
    sampling.is_ok_and(|it| {
        it.conversation.is_none() && (it.temperature == Some(0.0) || it.seed.is_some())
    })
}

/// A JSON value with nothing lost: members that are there twice are both kept.
enum Node {
    Null,
    Bool(bool),
    Whole(i128),
    Float(f64),
    Text(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    /// Writes the canonical form; none when there is no such.
    fn write(&self, to: &mut Vec<u8>) -> Option<()> {
        match self {
            Node::Null => to.extend(b"null"),
            Node::Bool(true) => to.extend(b"true"),
            Node::Bool(false) => to.extend(b"false"),
            Node::Whole(number) => to.extend(number.to_string().bytes()),
            Node::Float(number) => to.extend(float(*number)?.bytes()),
            Node::Text(text) => serde_json::to_writer(to, text).ok()?,
            Node::Array(items) => {
                to.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    comma(index, to);
                    item.write(to)?;
                }
                to.push(b']');
            }
            Node::Object(members) => {
                let mut sorted: Vec<&(String, Node)> = members.iter().collect();
                // Stable: which of two members of one name comes first may matter to who reads them.
                sorted.sort_by(|one, other| one.0.cmp(&other.0));
                to.push(b'{');
                for (index, (name, value)) in sorted.into_iter().enumerate() {
                    comma(index, to);
                    serde_json::to_writer(&mut *to, name).ok()?;
                    to.push(b':');
                    value.write(to)?;
                }
                to.push(b'}');
            }
        }
        Some(())
    }
}

fn comma(index: usize, to: &mut Vec<u8>) {
    if index > 0 {
        to.push(b',');
    }
}

/// `1.0` and `1e0` are `1`; none for a number that may have been another one in the text.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a whole number of at most 53 bits"
)]
fn float(number: f64) -> Option<String> {
    if number.fract() == 0.0 && number.abs() <= WHOLE {
        return Some((number as i64).to_string());
    }
    // Shows a point or an exponent, which no whole number does.
    (number.abs() < UNCERTAIN).then(|| format!("{number:?}"))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Whole(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Whole(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Node::Object(members))
    }
}

#[cfg(test)]
mod tests;
