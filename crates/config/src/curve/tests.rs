//! Values of curves, and curves as TOML.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::Curve;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Holder {
    curve: Curve,
}

fn parse(text: &str) -> Result<Curve, String> {
    toml::from_str::<Holder>(&format!("curve = {text}"))
        .map(|holder| holder.curve)
        .map_err(|error| error.to_string())
}

fn finite() -> impl Strategy<Value = f64> {
    -1e6..1e6
}

fn curves() -> impl Strategy<Value = Curve> {
    let over = 1_u64..2000;
    prop_oneof![
        finite().prop_map(Curve::Constant),
        (finite(), finite(), over.clone()).prop_map(|(from, to, over)| Curve::Linear {
            from,
            to,
            over
        }),
        (finite(), finite(), over.clone()).prop_map(|(from, to, over)| Curve::Cosine {
            from,
            to,
            over
        }),
        (finite(), finite(), 0_u64..2000).prop_map(|(from, to, at)| Curve::Step { from, to, at }),
        (finite(), finite(), 0_u64..500, over).prop_map(|(peak, end, warmup, more)| {
            Curve::WarmupCosine {
                peak,
                warmup,
                total: warmup + more,
                end,
            }
        }),
    ]
}

proptest! {
    #[test]
    fn exact_at_the_ends(from in finite(), to in finite(), over in 1_u64..5000, later in 0_u64..5000) {
        for curve in [Curve::Linear { from, to, over }, Curve::Cosine { from, to, over }] {
            prop_assert!((curve.at(0) - from).abs() <= 1e-9 * from.abs().max(to.abs()).max(1.0));
            prop_assert_eq!(curve.at(over + later).to_bits(), to.to_bits());
        }
    }

    #[test]
    fn monotone(from in finite(), to in finite(), over in 1_u64..300) {
        for curve in [
            Curve::Linear { from, to, over },
            Curve::Cosine { from, to, over },
            Curve::Step { from, to, at: over },
        ] {
            let values: Vec<f64> = (0..over + 3).map(|k| curve.at(k)).collect();
            for pair in values.windows(2) {
                let rises = pair[0] <= pair[1];
                let falls = pair[0] >= pair[1];
                prop_assert!((from > to || rises) && (from < to || falls));
            }
        }
    }

    #[test]
    fn warmup_rises_to_the_peak_then_falls_to_the_end(
        peak in 1e-6..1.0, share in 0.0..1.0, warmup in 0_u64..200, more in 1_u64..300,
    ) {
        let end = share * peak;
        let total = warmup + more;
        let curve = Curve::WarmupCosine { peak, warmup, total, end };
        prop_assert!(curve.at(0) > 0.0);
        prop_assert!((curve.at(warmup) - peak).abs() <= 1e-12 * peak);
        prop_assert_eq!(curve.at(total).to_bits(), end.to_bits());
        for k in 0..warmup {
            prop_assert!(curve.at(k) <= curve.at(k + 1));
        }
        for k in warmup..total {
            prop_assert!(curve.at(k) >= curve.at(k + 1));
        }
    }

    #[test]
    fn stays_in_its_bounds_and_settles(curve in curves(), step in 0_u64..3000) {
        let (low, high) = curve.bounds();
        prop_assert!((low..=high).contains(&curve.at(step)));
        let settled = curve.settled_at();
        prop_assert_eq!(curve.at(settled).to_bits(), curve.at(settled + step).to_bits());
    }

    #[test]
    fn toml_round_trip(curve in curves()) {
        let text = toml::to_string(&Holder { curve }).expect("renders");
        let back: Holder = toml::from_str(&text).expect("parses");
        prop_assert_eq!(back.curve, curve);
    }
}

/// `DynaDG` of the demo: `s_r / 2 (1 + cos(pi k / K))`.
#[test]
fn cosine_has_the_formula_of_the_paper() {
    let curve = Curve::Cosine {
        from: 0.75,
        to: 0.0,
        over: 1000,
    };
    for (step, expected) in [
        (0, 0.75),
        (250, 0.640_165_042_944_955_3),
        (500, 0.375),
        (1000, 0.0),
    ] {
        assert!(
            (curve.at(step) - expected).abs() < 1e-12,
            "{step}: {}",
            curve.at(step)
        );
    }
}

#[test]
fn a_step_changes_at_its_step() {
    let curve = Curve::Step {
        from: 0.0,
        to: 0.3,
        at: 160,
    };
    assert_eq!(
        [159, 160].map(|k| curve.at(k).to_bits()),
        [0.0_f64, 0.3].map(f64::to_bits)
    );
}

#[test]
fn a_bare_number_is_a_constant() {
    assert_eq!(parse("0.5"), Ok(Curve::Constant(0.5)));
    assert_eq!(parse("2"), Ok(Curve::Constant(2.0)));
    assert_eq!(parse("{ constant = 0.5 }"), Ok(Curve::Constant(0.5)));
    let text = toml::to_string(&Holder { curve: 0.5.into() }).expect("renders");
    assert_eq!(text, "curve = 0.5\n");
}

#[test]
fn errors_point_at_the_key() {
    let cases = [
        ("nan", "nan", "a finite number"),
        ("\"fast\"", "\"fast\"", "expected a number, or a table"),
        ("{}", "{}", "expected a number, or a table with one of"),
        (
            "{ cosin = { from = 1.0 } }",
            "cosin",
            "unknown variant `cosin`",
        ),
        (
            "{ cosine = { from = 1.0, too = 0.0, over = 3 } }",
            "too",
            "unknown field `too`",
        ),
        (
            "{ cosine = { from = 1.0, over = 3 } }",
            "{ from",
            "missing field `to`",
        ),
        (
            "{ cosine = { from = 1.0, to = 0.0, over = 0 } }",
            "0 }",
            "at least 1",
        ),
        (
            "{ linear = { from = inf, to = 0.0, over = 1 } }",
            "inf",
            "a finite number",
        ),
        (
            "{ step = { from = 0.0, to = 1.0, at = -1 } }",
            "-1",
            "expected u64",
        ),
        (
            "{ constant = 1.0, linear = { from = 0.0, to = 1.0, over = 2 } }",
            "",
            "exactly one shape",
        ),
        (
            "{ warmup_cosine = { peak = 1.0, warmup = 5, total = 5, end = 0.0 } }",
            "",
            "larger than `warmup` = 5",
        ),
    ];
    for (text, place, message) in cases {
        let error = parse(text).expect_err(text);
        assert!(error.contains(message), "{text}:\n{error}");
        let column = "curve = ".len() + text.find(place).expect("place in text") + 1;
        assert!(
            error.contains(&format!("line 1, column {column}")),
            "{text}:\n{error}"
        );
    }
}
