//! Judges that run elsewhere: [`VlmJudge`] asks a vision-language model, [`RemoteReward`] any model behind a small
//! protocol of our own. Both wait, try again and say what is wrong; neither guesses.
//!
//! ```no_run
//! use dmdr_remote::{Cache, Endpoint, VlmJudge};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Endpoint::new("http://localhost:8000/v1/chat/completions").client()?;
//! let judge = VlmJudge::new(client, "qwen2.5-vl-7b").with_cache(Cache::new("answers"));
//! let is_there = judge.yes_no(&std::fs::read("image.png")?, "Is there a cow?")?;
//! # Ok(())
//! # }
//! ```

mod cache;
mod chat;
mod endpoint;
mod error;
mod parameters;
mod remote;
mod reply;
mod vlm;

pub use cache::Cache;
pub use endpoint::{ApiKey, Client, Endpoint, Retry};
pub use error::JudgeError;
pub use parameters::Parameters;
pub use remote::RemoteReward;
pub use vlm::VlmJudge;
