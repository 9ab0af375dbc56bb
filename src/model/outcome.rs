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
}

/// Tokens, as the upstream counted them; zero where it did not say.
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
    }
}
