//! The arms of Table 4, and what each may choose from.

use dmdr_config::{Curve, TimeDistribution};

/// What is done about the start, when real and fake distribution are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arm {
    /// Nothing.
    Vanilla,
    /// The real score has a dose of the fake score's LoRA, which decays.
    DynaDg,
    /// Renoise times are drawn from a Beta skewed to noise, too, which goes to uniform.
    DynaRs,
    /// Both, without decay: the paper's "without dynamics".
    Static,
}

/// Names of [`Arm::ALL`] in a regime, in the table and of their folders.
macro_rules! arm_names {
    ($regime:literal) => {
        [
            concat!($regime, "vanilla DMD"),
            concat!($regime, "+ DynaDG"),
            concat!($regime, "+ DynaRS"),
            concat!($regime, "without dynamics"),
        ]
    };
}
pub(super) use arm_names;

/// Where the dynamics start from, and where arms without decay stay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strength {
    name: &'static str,
    /// Scale of the fake score's LoRA in the real score.
    dose: f64,
    /// The Beta that renoise times are drawn from.
    beta: (f64, f64),
}

/// The dose is of `s_f` = 1: .375 is the ratio of the authors' demo, .75 of 2.
const STRONG: Strength = Strength {
    name: "strong",
    dose: 0.375,
    beta: (4.0, 1.5),
};
const MILD: Strength = Strength {
    name: "mild",
    dose: 0.15,
    beta: (2.0, 1.2),
};

/// What an arm chooses for itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// Learning rate.
    pub(super) lr: f64,
    /// Of its dynamics, if it has any.
    strength: Option<Strength>,
}

impl Settings {
    /// E.g. "rate 4e-4, mild".
    pub(super) fn describe(self) -> String {
        let Self { lr, strength } = self;
        match strength {
            None => format!("rate {lr:e}"),
            Some(Strength { name, .. }) => format!("rate {lr:e}, {name}"),
        }
    }
}

impl Arm {
    /// In the order of the table.
    pub(super) const ALL: [Self; 4] = [Self::Vanilla, Self::DynaDg, Self::DynaRs, Self::Static];

    /// As in the authors' demo, the same for all arms.
    pub(super) fn of_authors(self) -> Settings {
        Settings {
            lr: 2e-5,
            strength: (self != Self::Vanilla).then_some(STRONG),
        }
    }

    /// Four for every arm: all of `rates` without dynamics, the two in the middle with strong and with mild ones.
    pub(super) fn candidates(self, rates: [f64; 4]) -> Vec<Settings> {
        let settings = |lr, strength| Settings { lr, strength };
        match self {
            Self::Vanilla => rates.map(|lr| settings(lr, None)).to_vec(),
            _ => [rates[1], rates[2]]
                .map(|lr| [STRONG, MILD].map(|strength| settings(lr, Some(strength))))
                .concat(),
        }
    }

    /// Scale of the fake score's LoRA in the real score, decaying over the first `half`.
    pub(super) fn real_scale(self, settings: Settings, half: u64) -> Curve {
        settings.strength.map_or(Curve::Constant(0.0), |strength| {
            self.anneal(strength.dose, 0.0, half)
        })
    }

    /// What renoise times are drawn from, relaxing over the first `half`.
    pub(super) fn renoise(self, settings: Settings, half: u64) -> TimeDistribution {
        match settings.strength {
            Some(Strength { beta: (a, b), .. }) if self != Self::DynaDg => TimeDistribution::Beta {
                a: self.anneal(a, 1.0, half),
                b: self.anneal(b, 1.0, half),
            },
            _ => TimeDistribution::Uniform,
        }
    }

    fn anneal(self, from: f64, to: f64, over: u64) -> Curve {
        match self {
            Self::Static => Curve::Constant(from),
            _ => Curve::Cosine { from, to, over },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_arm_has_the_same_budget() {
        for arm in Arm::ALL {
            let candidates = arm.candidates([1e-4, 2e-4, 4e-4, 8e-4]).into_iter();
            let different: BTreeSet<_> = candidates.map(Settings::describe).collect();
            assert_eq!(different.len(), 4, "{different:?}");
        }
    }

    #[test]
    fn the_authors_arms_are_as_strong_as_their_demo() {
        let start = |arm: Arm| arm.real_scale(arm.of_authors(), 10).at(0);
        let is_near = |arm, dose: f64| (start(arm) - dose).abs() < 1e-12;
        assert!(is_near(Arm::Vanilla, 0.0));
        for arm in [Arm::DynaDg, Arm::DynaRs, Arm::Static] {
            assert!(is_near(arm, 0.375), "{arm:?}");
        }
    }

    #[test]
    fn only_what_the_paper_calls_without_dynamics_keeps_them() {
        let settings = |arm: Arm| arm.candidates([1e-4, 2e-4, 4e-4, 8e-4])[0];
        let doses = Arm::ALL.map(|arm| {
            let dose = arm.real_scale(settings(arm), 10);
            [0, 5, 10].map(|update| dose.at(update))
        });
        let decaying = [0.375, 0.1875, 0.0];
        let expected = [[0.0; 3], decaying, decaying, [0.375; 3]];
        for (dose, expected) in doses.iter().flatten().zip(expected.iter().flatten()) {
            assert!((dose - expected).abs() < 1e-12, "{doses:?}");
        }
        let is_uniform = Arm::ALL.map(|arm| {
            let renoise = arm.renoise(settings(arm), 10);
            matches!(renoise, TimeDistribution::Uniform)
        });
        assert_eq!(is_uniform, [true, true, false, false]);
    }
}
