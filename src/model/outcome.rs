//! What a task that succeeded leaves behind.

/// The answer to a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Outcome {
    /// The text of the answer, or a function's result as JSON. Never trimmed.
    #[n(0)]
    pub text: String,
    /// The upstream's reply, byte for byte.
    #[n(1)]
    pub body: String,
    /// The model that answered.
    #[n(2)]
    pub model: String,
    /// Why the model stopped, as the upstream put it.
    #[n(3)]
    pub finish_reason: String,
    /// What the call used.
    #[n(4)]
    pub usage: Usage,
    /// The answer stopped at a token limit.
    #[n(5)]
    pub truncated: bool,
    /// The content filter cut or withheld the answer.
    #[n(6)]
    pub filtered: bool,
    /// The model refused to answer.
    #[n(7)]
    pub refused: bool,
    /// Which part the cache took; none when it took none.
    #[n(8)]
    pub cached: Option<Cached>,
}

impl Outcome {
    /// Bytes of the answer.
    pub fn weight(&self) -> usize {
        self.text.len() + self.body.len()
    }

    /// Whether it may answer other tasks too: a whole answer, and one that was given.
    pub fn is_shareable(&self) -> bool {
        !(self.truncated || self.filtered || self.refused)
    }

    /// The same answer for another task, which used nothing for it.
    #[must_use]
    pub fn shared(&self, cached: Cached) -> Outcome {
        Outcome {
            usage: Usage::default(),
            cached: Some(cached),
            ..self.clone()
        }
    }
}

/// Which part the cache took in an answer. The numbers are those of the wire and of stored records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum Cached {
    /// There was no answer yet; the upstream was called.
    #[n(1)]
    Miss = 1,
    /// The answer was there.
    #[n(2)]
    Hit = 2,
    /// It waited for the call of an equal task.
    #[n(3)]
    Coalesced = 3,
}

impl Cached {
    /// The word used in logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Cached::Miss => "miss",
            Cached::Hit => "hit",
            Cached::Coalesced => "coalesced",
        }
    }
}

/// Tokens, as the upstream counted them, and what they cost; zero where it did not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Usage {
    /// Tokens read.
    #[n(0)]
    pub input_tokens: u64,
    /// Tokens generated, reasoning included.
    #[n(1)]
    pub output_tokens: u64,
    /// The part of the input served from the provider's prompt cache.
    #[n(2)]
    pub cached_input_tokens: u64,
    /// The part of the output spent on reasoning.
    #[n(3)]
    pub reasoning_tokens: u64,
    /// What all of it costs, in billionths of the currency; zero where the model has no price.
    #[n(4)]
    #[cbor(default)]
    pub cost_nanos: u64,
}

impl Usage {
    /// Adds `other` to this sum, which stays at its bound: an upstream may claim any number.
    pub fn add(&mut self, other: &Usage) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cached_input_tokens = self
            .cached_input_tokens
            .saturating_add(other.cached_input_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
        self.cost_nanos = self.cost_nanos.saturating_add(other.cost_nanos);
    }
}
