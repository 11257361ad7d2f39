//! Errors of asking judges elsewhere.

use crate::FileError;

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
    /// The template has no place for the question.
    #[error("the prompt template has no `{{question}}`: {template}")]
    Template {
        /// The template.
        template: String,
    },
    /// The cache cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
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
