//! The classes of transformers' tokenizers: what each reads, and what it takes for granted.

use std::borrow::Cow;

/// A class of transformers 5, or open_clip's tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `CLIPTokenizer`.
    Clip,
    /// open_clip's `SimpleTokenizer`.
    OpenClip,
    /// `T5Tokenizer`.
    T5,
    /// `BertTokenizer`.
    Bert,
    /// `Qwen2Tokenizer`, which Qwen3 has as well; with its chat template.
    Qwen2,
}

impl Class {
    /// What a special token is called where no file names it: the defaults of the class's
    /// constructor.
    pub(super) fn default_token(self, name: &str) -> Option<&'static str> {
        let end = "<|endoftext|>";
        match (self, name) {
            (Self::Clip | Self::OpenClip, "bos_token") => Some("<|startoftext|>"),
            (
                Self::Clip | Self::OpenClip | Self::Qwen2,
                "eos_token" | "unk_token" | "pad_token",
            ) => Some(end),
            (Self::T5, "eos_token") => Some("</s>"),
            (Self::T5, "unk_token") => Some("<unk>"),
            (Self::T5, "pad_token") => Some("<pad>"),
            (Self::Bert, "unk_token") => Some("[UNK]"),
            (Self::Bert, "sep_token") => Some("[SEP]"),
            (Self::Bert, "pad_token") => Some("[PAD]"),
            (Self::Bert, "cls_token") => Some("[CLS]"),
            (Self::Bert, "mask_token") => Some("[MASK]"),
            _ => None,
        }
    }

    /// Tokens that this program itself puts around a prompt.
    pub(super) fn template_tokens(self) -> &'static [&'static str] {
        match self {
            Self::Qwen2 => &["<|im_start|>", "<|im_end|>"],
            _ => &[],
        }
    }

    /// What is tokenized of `prompt`.
    pub(super) fn text(self, prompt: &str) -> Cow<'_, str> {
        match self {
            Self::Clip | Self::T5 | Self::Bert => Cow::Borrowed(prompt),
            Self::OpenClip => Cow::Owned(prompt.to_lowercase()),
            Self::Qwen2 => Cow::Owned(qwen3_chat(prompt)),
        }
    }
}

/// Qwen3's chat template for one message of a user, with generation prompt, thinking enabled.
fn qwen3_chat(prompt: &str) -> String {
    format!("<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n")
}
