//! What a chat completion says.

use serde_json::Value;

/// The text of the first choice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// As it came; empty if the model only thought.
    pub(super) text: String,
    /// Whether the limit of tokens ended it.
    pub(super) is_cut: bool,
}

impl Said {
    /// Reads the answer of a server; none if it is no completion.
    ///
    /// Text is a string, or a list of parts of which those with a `text` count. What a model thought is apart from it, in
    /// `reasoning_content` or `reasoning`, or before it, in `<think>` marks.
    pub(super) fn of(completion: &Value) -> Option<Self> {
        let choice = completion.get("choices")?.get(0)?;
        let is_cut = choice.get("finish_reason").and_then(Value::as_str) == Some("length");
        let message = choice.get("message")?;
        let text = match message.get("content") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => parts
                .iter()
                .filter_map(|part| part.get("text")?.as_str())
                .collect(),
            // A model that was cut off while it thought has said nothing.
            _ if is_cut => String::new(),
            _ => return None,
        };
        Some(Self { text, is_cut })
    }
}

/// What a model said after it had thought; none if it still thinks at the end. Some servers leave the first mark out.
pub(super) fn after_thinking(text: &str) -> Option<&str> {
    match text.rsplit_once("</think>") {
        Some((_, said)) => Some(said),
        None if text.trim_start().starts_with("<think>") => None,
        None => Some(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_is_found_wherever_servers_put_it() {
        let completion = |message: Value, reason: &str| json!({"choices": [{"message": message, "finish_reason": reason}]});
        let said = |message, reason| {
            Said::of(&completion(message, reason)).map(|said| (said.text, said.is_cut))
        };
        let text = |text: &str, is_cut| Some((text.to_owned(), is_cut));
        assert_eq!(said(json!({"content": "7"}), "stop"), text("7", false));
        assert_eq!(
            said(
                json!({"content": "7", "reasoning_content": "It is 9"}),
                "stop"
            ),
            text("7", false)
        );
        let parts = json!([{"type": "thinking", "thinking": [{"text": "9"}]}, {"type": "text", "text": "7"}]);
        assert_eq!(said(json!({"content": parts}), "stop"), text("7", false));
        assert_eq!(said(json!({"content": "7"}), "length"), text("7", true));
        let thought = json!({"content": null, "reasoning_content": "Let me see"});
        assert_eq!(said(thought.clone(), "length"), text("", true));
        assert_eq!(said(thought, "stop"), None);
        for other in [
            json!({}),
            json!({"choices": []}),
            json!([1]),
            json!({"error": "no"}),
        ] {
            assert_eq!(Said::of(&other), None);
        }
    }

    #[test]
    fn thoughts_are_no_answer() {
        for (text, expected) in [
            ("7", Some("7")),
            ("<think>Is it 9?</think>\n\n7", Some("\n\n7")),
            ("Is it 9?</think>7", Some("7")),
            ("<think>a</think>b<think>c</think>7", Some("7")),
            (" <think>Is it 9", None),
            ("<think></think>", Some("")),
        ] {
            assert_eq!(after_thinking(text), expected, "{text}");
        }
    }
}
