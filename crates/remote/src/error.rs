//! Errors of asking judges elsewhere.

use dmdr_events::EventsError;

/// Why a judge gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JudgeError {
    /// The address is none.
    #[error("`{url}` is not an address: expected `http://host:port/...` or `https://...`")]
    Address {
        /// What was given.
        url: String,
    },
    /// Nobody answered, or only with an error that may pass, as often as was tried.
    #[error("no answer from {url} after {attempts} attempts: {problem}")]
    NoAnswer {
        /// The address.
        url: String,
        /// How often.
        attempts: u32,
        /// What went wrong the last time.
        problem: String,
    },
    /// A key that cannot be sent.
    #[error("the key {problem}")]
    Key {
        /// What is wrong with it; never the key itself.
        problem: String,
    },
    /// The server wants a key, or another one.
    #[error("{url} {problem} (status {status}): {reply}")]
    Denied {
        /// The address.
        url: String,
        /// 401 or 403.
        status: u16,
        /// Whether one was sent.
        problem: &'static str,
        /// What the server says, shortened.
        reply: String,
    },
    /// The server says that the request is wrong.
    #[error("{url} refused the request with status {status}: {reply}")]
    Refused {
        /// The address.
        url: String,
        /// The status.
        status: u16,
        /// What the server says, shortened.
        reply: String,
    },
    /// The answer is not what the protocol asks for.
    #[error("{url} does not keep to the protocol: {message}: {reply}")]
    Protocol {
        /// The address.
        url: String,
        /// What is wrong.
        message: String,
        /// The answer, shortened.
        reply: String,
    },
    /// The answer to a question is neither yes nor no, or not a number of the range.
    #[error("the judge was asked for {expected} and said `{reply}`")]
    Unparsable {
        /// The question's form.
        expected: String,
        /// The answer, shortened.
        reply: String,
    },
    /// The answer ended before it was said.
    #[error("the judge was cut off after {max_tokens} tokens, at `{reply}`; raise `max_tokens`")]
    Cut {
        /// How many it had.
        max_tokens: u64,
        /// The end of what it said, shortened.
        reply: String,
    },
    /// The server left a picture out.
    #[error("the server gave `null` as the score of a picture")]
    Unscored,
    /// A field of the request that is not the user's to set.
    #[error("the parameter `{name}` cannot be set: the judge's own request holds it")]
    Parameter {
        /// Its name.
        name: String,
    },
    /// The template has no place for the question.
    #[error("the prompt template has no `{{question}}`: {template}")]
    Template {
        /// The template.
        template: String,
    },
    /// The cache cannot be read or written.
    #[error(transparent)]
    File(#[from] EventsError),
}

impl JudgeError {
    /// Whether the judge is there but this answer cannot be used: other pictures may get answers that can.
    pub fn is_of_one_answer(&self) -> bool {
        // Status 400, 413 and 422 are about the content of a request, such as a picture that a filter refuses.
        let is_of_content = matches!(
            self,
            Self::Refused {
                status: 400 | 413 | 422,
                ..
            }
        );
        is_of_content || self.may_pass() || matches!(self, Self::Unscored)
    }

    /// Whether the same question may get another answer.
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unparsable { .. } | Self::Cut { .. } | Self::Protocol { .. }
        )
    }
}

/// What `ask` gives, which asks the same up to three times while its answer cannot be used: servers differ from one
/// answer to the next, also at temperature 0.
pub(super) fn ask_again<T>(
    mut ask: impl FnMut() -> Result<T, JudgeError>,
) -> Result<T, JudgeError> {
    const MOST: u32 = 3;
    for _ in 1..MOST {
        match ask() {
            Err(error) if error.may_pass() => {}
            other => return other,
        }
    }
    ask()
}

/// The start of a text for a message.
pub(super) fn shortened(text: &str) -> String {
    const MOST: usize = 200;
    let text = text.trim();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    }
}
