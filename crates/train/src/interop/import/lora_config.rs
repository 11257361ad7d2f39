//! PEFT's `LoraConfig`: what multiplies a pair, in `adapter_config.json` or in a header of diffusers.

use std::fmt;

use fancy_regex::Regex;
use serde_json::{Map, Value};

/// Ways to begin an adapter that also change the network under it, so that the pairs alone are half of it
/// (PEFT's `init_lora_weights`).
const CHANGE_THE_BASE: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];
/// What makes an adapter more than pairs. Anything but `false`, `null`, `"none"` and an empty list is meant.
const NO_PLAIN_PAIRS: [(&str, &str); 12] = [
    ("use_dora", "DoRA, which scales the rows of weights as well"),
    ("lora_bias", "pairs with a bias"),
    ("bias", "biases that were trained as well"),
    ("modules_to_save", "whole layers that were trained as well"),
    (
        "trainable_token_indices",
        "tokens that were trained as well",
    ),
    ("layer_replication", "layers that are repeated"),
    (
        "target_parameters",
        "pairs of parameters that are no layers",
    ),
    (
        "alora_invocation_tokens",
        "aLoRA, which acts on some tokens alone",
    ),
    ("use_qalora", "QALoRA, which pools its inputs"),
    ("use_bdlora", "BD-LoRA, whose pairs are block-diagonal"),
    (
        "kasa_config",
        "KaSA, which has singular values between its pairs",
    ),
    ("monteclora_config", "MonteCLoRA, which draws its pairs"),
];

/// What a file says about all its pairs.
#[derive(Debug)]
pub(super) struct LoraConfig {
    /// Where it stands.
    origin: String,
    rank: Option<i64>,
    alpha: f64,
    is_rank_stabilised: bool,
    ranks: Patterns,
    alphas: Patterns,
}

/// Values for some layers, by patterns of their names.
type Patterns = Vec<(Regex, f64)>;

impl LoraConfig {
    /// That of `fields`, which stand in `origin`.
    ///
    /// # Errors
    /// A value of the wrong type, or an adapter that is more than pairs: what it is.
    pub(super) fn new(origin: String, fields: &Map<String, Value>) -> Result<Self, String> {
        let at = |reason: String| format!("{origin} has {reason}");
        let kind = fields.get("peft_type").and_then(Value::as_str);
        if let Some(kind) = kind.filter(|kind| *kind != "LORA") {
            return Err(at(format!("`peft_type` {kind}; only LORA can be imported")));
        }
        for (key, what) in NO_PLAIN_PAIRS {
            if fields.get(key).is_some_and(is_meant) {
                return Err(at(format!(
                    "`{key}`: {what}, which a student's pairs cannot hold"
                )));
            }
        }
        let init = fields.get("init_lora_weights").and_then(Value::as_str);
        let init = init.filter(|init| CHANGE_THE_BASE.iter().any(|way| init.starts_with(way)));
        if let Some(init) = init {
            return Err(at(format!(
                "`init_lora_weights` \"{init}\", which changed the network as well; save it with PEFT's \
                 `path_initial_model_for_weight_conversion`, then it is pairs alone"
            )));
        }
        let number = |key: &str| match fields.get(key) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if number.is_finite() => Ok(Some(number)),
                _ => Err(at(format!("`{key}` {value}; expected a number"))),
            },
        };
        let is_rank_stabilised = match fields.get("use_rslora") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(flag)) => *flag,
            Some(value) => {
                return Err(at(format!("`use_rslora` {value}; expected true or false")));
            }
        };
        Ok(Self {
            rank: number("r")?.map(|rank| rank as i64),
            alpha: number("lora_alpha")?.unwrap_or(8.0), // PEFT's default
            is_rank_stabilised,
            ranks: patterns(fields, "rank_pattern").map_err(at)?,
            alphas: patterns(fields, "alpha_pattern").map_err(at)?,
            origin,
        })
    }

    /// What the pair of `layer`, of rank `rank`, is multiplied by.
    ///
    /// # Errors
    /// If it should have another rank.
    pub(super) fn scale(&self, layer: &str, rank: i64) -> Result<f64, String> {
        let expected = first(&self.ranks, layer)?.map(|rank| rank as i64);
        if let Some(expected) = expected.or(self.rank).filter(|&expected| expected != rank) {
            return Err(format!(
                "{} gives layer `{layer}` rank {expected}, but its pair has rank {rank}; do they belong together?",
                self.origin
            ));
        }
        let alpha = first(&self.alphas, layer)?.unwrap_or(self.alpha);
        let rank = rank as f64;
        Ok(alpha
            / if self.is_rank_stabilised {
                rank.sqrt()
            } else {
                rank
            })
    }
}

impl fmt::Display for LoraConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

/// Whether a value asks for something.
fn is_meant(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::String(text) => text != "none" && !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Number(_) => true,
    }
}

/// The patterns at `key`, in the file's order.
fn patterns(fields: &Map<String, Value>, key: &str) -> Result<Patterns, String> {
    let map = match fields.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(map)) => map,
        Some(value) => return Err(format!("`{key}` {value}; expected numbers by layer")),
    };
    let pattern = |(pattern, value): (&String, &Value)| {
        // PEFT's `get_pattern_key`: the whole name, or its end behind a dot.
        let regex = Regex::new(&format!(r"^(.*\.)?({pattern})$"));
        let regex = regex.map_err(|error| format!("`{key}` `{pattern}`: {error}"))?;
        let value = value.as_f64().filter(|value| value.is_finite());
        let value = value.ok_or(format!("`{key}` `{pattern}`; expected a number there"))?;
        Ok((regex, value))
    };
    map.iter().map(pattern).collect()
}

/// The value of the first pattern that matches `layer`.
fn first(patterns: &Patterns, layer: &str) -> Result<Option<f64>, String> {
    for (regex, value) in patterns {
        let matches = regex.is_match(layer);
        if matches.map_err(|error| format!("pattern `{regex}` for `{layer}`: {error}"))? {
            return Ok(Some(*value));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(fields: &Value) -> Result<LoraConfig, String> {
        let fields = fields.as_object().expect("an object");
        LoraConfig::new("`adapter_config.json`".into(), fields)
    }

    #[track_caller]
    fn assert_scale(fields: &Value, layer: &str, rank: i64, expected: f64) {
        let found = config(fields).expect("pairs").scale(layer, rank);
        let found = found.expect("the same rank");
        assert!((found - expected).abs() < 1e-12, "{layer}: {found}");
    }

    #[test]
    fn scales_are_pefts() {
        let plain = json!({ "peft_type": "LORA", "r": 2, "lora_alpha": 8 });
        assert_scale(&plain, "blocks.0.to_q", 2, 4.0);
        let stabilised = json!({ "r": 2, "lora_alpha": 8.0, "use_rslora": true });
        assert_scale(&stabilised, "blocks.0.to_q", 2, 8.0 / 2f64.sqrt());
        let patterns = json!({
            "r": 2, "lora_alpha": 8,
            "rank_pattern": { "blocks.0.to_k": 4, r"blocks\.[1-3]\.to_v": 1, "^to_out": 8 },
            "alpha_pattern": { "to_k": 16, r"(?!blocks\.0).*to_v": 3, "to_.*": 5 },
        });
        assert_scale(&patterns, "blocks.0.to_k", 4, 4.0);
        assert_scale(&patterns, "x.blocks.0.to_k", 4, 4.0);
        assert_scale(&patterns, "yblocks.0.to_k", 2, 8.0); // no dot before it
        assert_scale(&patterns, "blocks.2.to_v", 1, 3.0);
        assert_scale(&patterns, "blocks.0.to_q", 2, 2.5);
        assert_scale(&patterns, "blocks.0.to_out", 2, 2.5); // `^` is the start of the whole name
        assert_scale(&patterns, "to_out", 8, 5.0 / 8.0);
        assert_scale(&patterns, "blocks.0.ff", 2, 4.0);
    }

    #[test]
    fn the_first_pattern_counts_and_not_the_first_in_the_alphabet() {
        let text =
            r#"{ "r": 2, "lora_alpha": 8, "alpha_pattern": { "to_q": 2, "blocks.0.to_q": 4 } }"#;
        let fields: Value = serde_json::from_str(text).expect("JSON");
        assert_scale(&fields, "blocks.0.to_q", 2, 1.0);
    }

    #[test]
    fn what_is_more_than_pairs_is_refused() {
        for (fields, expected) in [
            (json!({ "peft_type": "LOHA" }), "LOHA"),
            (json!({ "use_dora": true }), "DoRA"),
            (json!({ "lora_bias": true }), "bias"),
            (json!({ "bias": "all" }), "biases"),
            (json!({ "modules_to_save": ["proj_out"] }), "whole layers"),
            (
                json!({ "init_lora_weights": "pissa_niter_4" }),
                "pissa_niter_4",
            ),
            (json!({ "lora_alpha": "8" }), "expected a number"),
            (json!({ "use_rslora": 1 }), "true or false"),
            (json!({ "alpha_pattern": { "to_q(": 2 } }), "to_q("),
            (
                json!({ "alpha_pattern": { "to_q": null } }),
                "expected a number",
            ),
        ] {
            let error = config(&fields).expect_err("refused");
            assert!(
                error.contains(expected) && error.contains("adapter_config.json"),
                "{error}"
            );
        }
        let harmless = json!({
            "r": 2, "bias": "none", "modules_to_save": null, "use_dora": false, "init_lora_weights": "gaussian",
            "layer_replication": [], "rank_pattern": null,
        });
        assert_scale(&harmless, "to_q", 2, 4.0);
        let error = config(&harmless).expect("pairs").scale("to_q", 3);
        let error = error.expect_err("another rank");
        assert!(
            error.contains("rank 2") && error.contains("rank 3"),
            "{error}"
        );
    }
}
