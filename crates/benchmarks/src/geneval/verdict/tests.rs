//! Hand-made detections through every branch of the rules.

use super::*;

fn metadata(tag: &str, include: &str, exclude: &str) -> Metadata {
    let json = format!(
        r#"{{"tag":"{tag}","include":[{include}],"exclude":[{exclude}],"prompt":"a photo"}}"#
    );
    serde_json::from_str(&json).expect("valid metadata")
}

/// A square of side 10 with its corner at (x, y).
fn found(class: &str, score: f32, x: f32, y: f32, color: Option<Color>) -> Detection {
    Detection {
        class: class.to_owned(),
        bounds: [x, y, x + 10.0, y + 10.0],
        score,
        color,
        mask: None,
    }
}

fn cow(score: f32) -> Detection {
    found("cow", score, 0.0, 0.0, None)
}

/// The reason; empty when correct.
fn judge(metadata: &Metadata, detections: &[Detection]) -> String {
    let verdict = Rules::default()
        .verdict(metadata, detections)
        .expect("colours are given");
    assert_eq!(verdict.correct, verdict.reason.is_empty());
    verdict.reason
}

#[test]
fn objects_count_above_the_threshold_of_their_task() {
    let one = r#"{"class":"cow","count":1}"#;
    for (tag, score, missing) in [
        ("single_object", 0.31, false),
        ("single_object", 0.3, true),
        ("counting", 0.91, false),
        ("counting", 0.9, true),
    ] {
        let reason = judge(&metadata(tag, one, ""), &[cow(score)]);
        let expected = if missing {
            "expected cow>=1, found 0"
        } else {
            ""
        };
        assert_eq!(reason, expected, "{tag} {score}");
    }
}

#[test]
fn counting_wants_no_more_and_no_fewer() {
    let two = metadata(
        "counting",
        r#"{"class":"cow","count":2}"#,
        r#"{"class":"cow","count":3}"#,
    );
    assert_eq!(judge(&two, &vec![cow(0.95); 1]), "expected cow>=2, found 1");
    assert_eq!(judge(&two, &vec![cow(0.95); 2]), "");
    assert_eq!(judge(&two, &vec![cow(0.95); 3]), "expected cow<3, found 3");
    // Equal boxes are all kept, up to sixteen.
    assert_eq!(
        judge(&two, &vec![cow(0.95); 20]),
        "expected cow<3, found 16"
    );
    let many = metadata("counting", r#"{"class":"cow","count":17}"#, "");
    assert_eq!(
        judge(&many, &vec![cow(0.95); 20]),
        "expected cow>=17, found 16"
    );
}

#[test]
fn an_exclude_clause_fails_an_image_that_has_all_else() {
    let only = metadata(
        "single_object",
        r#"{"class":"cow","count":1}"#,
        r#"{"class":"dog","count":1}"#,
    );
    assert_eq!(judge(&only, &[cow(0.9)]), "");
    let dog = found("dog", 0.4, 0.0, 0.0, None);
    assert_eq!(
        judge(&only, &[cow(0.9), dog.clone()]),
        "expected dog<1, found 1"
    );
    assert_eq!(
        judge(&only, &[dog]),
        "expected cow>=1, found 0\nexpected dog<1, found 1"
    );
}

#[test]
fn the_most_confident_objects_decide_the_colour() {
    let red = metadata("colors", r#"{"class":"cow","count":1,"color":"red"}"#, "");
    let of = |score, color| found("cow", score, 0.0, 0.0, Some(color));
    assert_eq!(
        judge(&red, &[of(0.5, Color::Blue), of(0.9, Color::Red)]),
        ""
    );
    let reason = "expected red cow>=1, found 0 red; and 1 blue";
    assert_eq!(
        judge(&red, &[of(0.9, Color::Blue), of(0.5, Color::Red)]),
        reason
    );
    // Of equals, the later.
    assert_eq!(
        judge(&red, &[of(0.5, Color::Blue), of(0.5, Color::Red)]),
        ""
    );

    let three = metadata("colors", r#"{"class":"cow","count":3,"color":"red"}"#, "");
    let mixed = [
        of(0.5, Color::White),
        of(0.6, Color::Red),
        of(0.7, Color::Orange),
    ];
    let reason = "expected red cow>=3, found 1 red; and 1 red, 1 orange, 1 white";
    assert_eq!(judge(&three, &mixed), reason);
}

#[test]
fn a_colour_that_nobody_told_is_an_error_only_where_it_decides() {
    let red = metadata("colors", r#"{"class":"cow","count":1,"color":"red"}"#, "");
    let told = found("cow", 0.9, 0.0, 0.0, Some(Color::Red));
    assert_eq!(judge(&red, &[cow(0.5), told.clone()]), "");
    assert_eq!(judge(&red, &[]), "expected cow>=1, found 0");
    let error = Rules::default()
        .verdict(&red, &[cow(0.95), told])
        .expect_err("unknown");
    assert_eq!(
        error,
        MissingColor {
            class: "cow".to_owned(),
            rank: 1
        }
    );
}

#[test]
fn colours_are_asked_for_where_they_decide() {
    let red = metadata(
        "color_attr",
        r#"{"class":"cow","count":1,"color":"red"},{"class":"dog","count":2,"color":"blue"}"#,
        "",
    );
    let dog = |score, color| found("dog", score, 0.0, 0.0, color);
    let all = [
        cow(0.4),
        dog(0.8, None),
        cow(0.95),
        dog(0.7, Some(Color::Blue)),
        dog(0.6, None),
    ];
    // The more confident cow, and of the two most confident dogs the one without a colour.
    assert_eq!(Rules::default().uncolored(&red, &all), [1, 2]);
    // One dog is too few: its colour decides nothing.
    assert_eq!(Rules::default().uncolored(&red, &all[..3]), [2]);
    let plain = metadata("colors", r#"{"class":"cow","count":1}"#, "");
    assert!(Rules::default().uncolored(&plain, &all).is_empty());
}

#[test]
fn positions_look_at_all_pairs_of_the_two_groups() {
    let clause = r#"{"class":"cow","count":1},{"class":"dog","count":2,"position":["right of",0]}"#;
    let right = metadata("position", clause, "");
    let dog = |score, x, y| found("dog", score, x, y, None);
    assert_eq!(
        judge(
            &right,
            &[cow(0.9), dog(0.9, 50.0, 0.0), dog(0.8, 80.0, 0.0)]
        ),
        ""
    );
    let one_left = [cow(0.9), dog(0.9, 50.0, 0.0), dog(0.8, -50.0, 0.0)];
    let reason = "expected dog right of target, found left of target";
    assert_eq!(judge(&right, &one_left), reason);
    // A third dog is not looked at.
    let third_left = [
        cow(0.9),
        dog(0.9, 50.0, 0.0),
        dog(0.8, 80.0, 0.0),
        dog(0.7, -50.0, 0.0),
    ];
    assert_eq!(judge(&right, &third_left), "");
    let corner = [cow(0.9), dog(0.9, -50.0, 50.0), dog(0.8, 80.0, 0.0)];
    let reason = "expected dog right of target, found left of and below target";
    assert_eq!(judge(&right, &corner), reason);
    let on_top = [cow(0.9), dog(0.9, 0.0, 0.0), dog(0.8, 80.0, 0.0)];
    assert_eq!(
        judge(&right, &on_top),
        "expected dog right of target, found  target"
    );
}

#[test]
fn a_target_that_failed_takes_the_clause_with_it() {
    let clause = r#"{"class":"cow","count":1,"color":"red"},{"class":"dog","count":1,"position":["above",0]}"#;
    let above = metadata("position", clause, "");
    let blue = found("cow", 0.9, 0.0, 50.0, Some(Color::Blue));
    let dog = found("dog", 0.9, 0.0, 0.0, None);
    let reason = "expected red cow>=1, found 0 red; and 1 blue\nno target for dog to be above";
    assert_eq!(judge(&above, &[blue, dog.clone()]), reason);
    let red = found("cow", 0.9, 0.0, 50.0, Some(Color::Red));
    assert_eq!(judge(&above, &[red.clone(), dog]), "");
    // Too few objects end a clause before its position is looked at.
    assert_eq!(judge(&above, &[red]), "expected dog>=1, found 0");
}

#[test]
fn a_wrong_colour_ends_a_clause_before_its_position() {
    let clause = r#"{"class":"cow","count":1},{"class":"dog","count":1,"color":"red","position":["above",0]}"#;
    let dog = found("dog", 0.9, 0.0, 90.0, Some(Color::Pink));
    let reason = judge(&metadata("position", clause, ""), &[cow(0.9), dog]);
    assert_eq!(reason, "expected red dog>=1, found 0 red; and 1 pink");
}
