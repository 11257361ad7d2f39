//! Token ids of prompts, to compare with other programs: `token_ids CLASS FOLDER LENGTH < PROMPTS >
//! IDS`.
//!
//! CLASS is `clip`, `open_clip` (captions are cleaned), `t5`, `bert` or `qwen3` (with its chat
//! template); FOLDER holds the tokenizer. PROMPTS has a JSON string a line. IDS has for each of
//! them a JSON list of LENGTH ids, padding with it.

use std::{
    env,
    error::Error,
    io::{self, BufRead, Write},
    path::Path,
};

use dmdr_models::{ModelError, TextTokenizer};
use dmdr_rewards::open_clip_text;

type Load = fn(&Path, usize) -> Result<TextTokenizer, ModelError>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [class, folder, length] = arguments.as_slice() else {
        return Err("usage: token_ids CLASS FOLDER LENGTH < PROMPTS > IDS".into());
    };
    let load: Load = match class.as_str() {
        "clip" => TextTokenizer::clip,
        "open_clip" => TextTokenizer::open_clip,
        "t5" => TextTokenizer::t5,
        "bert" => TextTokenizer::bert,
        "qwen3" => TextTokenizer::qwen3,
        other => return Err(format!("CLASS `{other}` is none of them").into()),
    };
    let tokenizer = load(Path::new(folder), length.parse()?)?;
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let mut prompt: String = serde_json::from_str(&line?)?;
        if class == "open_clip" {
            prompt = open_clip_text(&prompt);
        }
        let ids = tokenizer.encode(&[prompt.as_str()])?.ids;
        let row = Vec::<i64>::try_from(&ids.reshape([-1]))?;
        writeln!(out, "{}", serde_json::to_string(&row)?)?;
    }
    Ok(())
}
