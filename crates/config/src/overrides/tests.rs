//! Overrides on trees and in errors.

use super::{DeTable, apply};

fn applied(text: &str, arguments: &[&str]) -> Result<toml::Table, String> {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let mut tree = DeTable::parse(text).expect("TOML");
    apply(tree.get_mut(), &arguments).map_err(|error| error.to_string())?;
    let deserializer = toml::de::Deserializer::from(tree);
    serde::Deserialize::deserialize(deserializer)
        .map_err(|error: toml::de::Error| error.to_string())
}

fn table(text: &str) -> toml::Table {
    text.parse().expect("TOML")
}

#[test]
fn values_are_toml_or_text() {
    let result = applied(
        "a = 1\n[b]\nc = 2",
        &[
            "a=0.5",
            "b.c = [0.9, 0.99]",
            "b.d=cuda:1",
            "b.e={ x = true }",
            "b.f=\"q\"",
            "b.g=2026",
        ],
    );
    let expected =
        "a = 0.5\n[b]\nc = [0.9, 0.99]\nd = \"cuda:1\"\ne = { x = true }\nf = \"q\"\ng = 2026";
    assert_eq!(result, Ok(table(expected)));
}

#[test]
fn later_ones_win_and_tables_are_made_on_the_way() {
    assert_eq!(
        applied("a = 1", &["a=2", "a=3", "b.c.d=4"]),
        Ok(table("a = 3\nb.c.d = 4"))
    );
    assert_eq!(
        applied("tuning = \"full\"", &["tuning.lora.rank=8"]),
        Ok(table("tuning.lora.rank = 8"))
    );
}

#[test]
fn an_empty_value_removes() {
    assert_eq!(applied("a = 1\n[b]\nc = 2", &["b="]), Ok(table("a = 1")));
    let error = applied("a = 1", &["b="]).expect_err("nothing to remove");
    assert!(
        error.contains("`--set b=`: there is no `b` to remove"),
        "{error}"
    );
}

#[test]
fn elements_of_lists_by_index() {
    let text = "[[r]]\nw = 1\n[[r]]\nw = 2";
    assert_eq!(
        applied(text, &["r.1.w=5"]),
        Ok(table("[[r]]\nw = 1\n[[r]]\nw = 5"))
    );
    assert_eq!(applied("b = [1, 2]", &["b.0=7"]), Ok(table("b = [7, 2]")));
    for (argument, message) in [
        ("r.2.w=5", "expected an index below 2, found `2`"),
        ("r.w=5", "expected an index below 2, found `w`"),
        ("r.0=", "cannot remove one element"),
    ] {
        let error = applied(text, &[argument]).expect_err(argument);
        assert!(error.contains(message), "{error}");
    }
    let error = applied("b = [1, 2]", &["b.0.x=7"]).expect_err("not a table");
    assert!(error.contains("`b.0` is not a table"), "{error}");
}

#[test]
fn malformed_arguments_are_named() {
    for (argument, message) in [
        ("a", "expected `key=value`, found no `=`"),
        ("=1", "not a dotted key"),
        ("a..b=1", "not a dotted key"),
        ("a=[1", "the value is not TOML"),
    ] {
        let error = applied("", &[argument]).expect_err(argument);
        assert!(error.contains(&format!("`--set {argument}`")), "{error}");
        assert!(error.contains(message), "{error}");
    }
}
