//! A reward that reads words before every prompt, as DMDR's published scripts have it for HPSv2.1 (`--magic-prompt
//! "Realistic photo"` of `train_t2i` at commit ee68d48^ of github.com/vvvvvjdy/dmdr, an idea of SRPO's).

use dmdr_batches::Prompts;
use dmdr_tensor::Tensor;

use crate::{RewardError, RewardModel, Scoring, Settings};

/// `inner` on prompts with `prefix` before them.
pub struct Prefixed {
    inner: Box<dyn RewardModel>,
    prefix: String,
}

impl Prefixed {
    /// `prefix` comes with the space that parts it from a prompt. `inner` must read prompts as text.
    pub fn new(inner: Box<dyn RewardModel>, prefix: String) -> Self {
        Self { inner, prefix }
    }
}

impl RewardModel for Prefixed {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn is_differentiable(&self) -> bool {
        self.inner.is_differentiable()
    }

    fn may_leave_out(&self) -> bool {
        self.inner.may_leave_out()
    }

    fn describe(&self) -> Settings {
        let mut settings = self.inner.describe();
        settings.insert("prefix", self.prefix.clone());
        settings
    }

    fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError> {
        self.inner.score(images, &prompts.prefixed(&self.prefix))
    }

    fn begin(&self, images: &Tensor, prompts: &Prompts) -> Result<Scoring, RewardError> {
        self.inner.begin(images, &prompts.prefixed(&self.prefix))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use dmdr_tensor::{Device, Kind};

    use super::*;

    /// Keeps what it reads.
    struct Reader(Rc<RefCell<Vec<String>>>);

    impl RewardModel for Reader {
        fn name(&self) -> &'static str {
            "reader"
        }

        fn is_differentiable(&self) -> bool {
            true
        }

        fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError> {
            self.0.borrow_mut().clone_from(&prompts.captions);
            Ok(images.mean_dim(&[1i64, 2, 3][..], false, Kind::Float))
        }
    }

    #[test]
    fn the_inner_reward_reads_the_words_before_each_prompt() {
        let read = Rc::default();
        let inner = Box::new(Reader(Rc::clone(&read)));
        let reward = Prefixed::new(inner, "Realistic photo ".to_owned());
        let prompts = Prompts::plain(vec!["a cat".into(), "two boats".into()]);
        let images = Tensor::ones([2, 3, 4, 4], (Kind::Float, Device::Cpu));
        let score = reward.score(&images, &prompts).expect("no towers");
        assert_eq!(Vec::<f32>::try_from(score).expect("f32"), [1.0, 1.0]);
        assert_eq!(
            *read.borrow(),
            ["Realistic photo a cat", "Realistic photo two boats"]
        );
        assert_eq!(
            prompts.captions,
            ["a cat", "two boats"],
            "those of the batch stay"
        );
        assert_eq!(
            (reward.name(), reward.is_differentiable()),
            ("reader", true)
        );
        assert_eq!(reward.describe()["prefix"], "Realistic photo ");
    }
}
