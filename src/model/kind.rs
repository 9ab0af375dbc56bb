//! The kinds of requests that upstreams answer: the one place that knows their paths and what sets them apart.

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/responses`.
    Response,
    /// `/v1/completions`.
    Completion,
    /// `/v1/embeddings`.
    Embedding,
}

/// What is known of a kind.
struct Facts {
    path: &'static str,
    inputs: &'static [&'static str],
    deferred_by: Option<&'static str>,
    is_sampled: bool,
    is_streamed: bool,
    has_stream_options: bool,
    keeps_answers: bool,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [
        Kind::Chat,
        Kind::Response,
        Kind::Completion,
        Kind::Embedding,
    ];

    fn facts(self) -> &'static Facts {
        match self {
            Kind::Chat => &Facts {
                path: "/chat/completions",
                inputs: &["messages"],
                deferred_by: None,
                is_sampled: true,
                is_streamed: true,
                has_stream_options: true,
                keeps_answers: false,
            },
            Kind::Response => &Facts {
                path: "/responses",
                // A prompt that is kept at the provider may need no input.
                inputs: &["input", "prompt"],
                deferred_by: Some("background"),
                is_sampled: true,
                is_streamed: true,
                // The last event has the usage, asked for or not.
                has_stream_options: false,
                keeps_answers: true,
            },
            Kind::Completion => &Facts {
                path: "/completions",
                inputs: &["prompt"],
                deferred_by: None,
                is_sampled: true,
                is_streamed: true,
                has_stream_options: true,
                keeps_answers: false,
            },
            Kind::Embedding => &Facts {
                path: "/embeddings",
                inputs: &["input"],
                deferred_by: None,
                is_sampled: false,
                is_streamed: false,
                has_stream_options: false,
                keeps_answers: false,
            },
        }
    }

    /// The kind of requests to a path, with or without the API's version before it; none where it is no such path.
    pub fn of_path(path: &str) -> Option<Kind> {
        let path = path.strip_prefix("/v1").unwrap_or(path);
        Kind::ALL.into_iter().find(|kind| kind.path() == path)
    }

    /// The path below the upstream's base URL, with its leading slash.
    pub fn path(self) -> &'static str {
        self.facts().path
    }

    /// The members of a body of which it needs one.
    pub fn inputs(self) -> &'static [&'static str] {
        self.facts().inputs
    }

    /// The member by which a body asks to be answered later, and elsewhere than in the reply.
    pub fn deferred_by(self) -> Option<&'static str> {
        self.facts().deferred_by
    }

    /// Whether the answer is drawn by chance unless the body says otherwise.
    pub fn is_sampled(self) -> bool {
        self.facts().is_sampled
    }

    /// Whether the answer may come as a stream.
    pub fn is_streamed(self) -> bool {
        self.facts().is_streamed
    }

    /// Whether a stream tells its usage only where `stream_options` ask for it.
    pub fn has_stream_options(self) -> bool {
        self.facts().has_stream_options
    }

    /// Whether `store` lets later requests refer to the answer by its id.
    pub fn keeps_answers(self) -> bool {
        self.facts().keeps_answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_with_and_without_the_version_and_no_other_is() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of_path(kind.path()), Some(kind));
            assert_eq!(Kind::of_path(&format!("/v1{}", kind.path())), Some(kind));
        }
        for other in [
            "",
            "/",
            "/v1",
            "responses",
            "/v1/v1/responses",
            "/v1/responses/",
            "/v1/responses/resp_1",
            "/v1/Embeddings",
            "/v1/moderations",
            "/v1completions",
        ] {
            assert_eq!(Kind::of_path(other), None, "{other}");
        }
    }
}
