//! Charts as text.

use super::*;

fn chart(lines: Vec<Line>) -> Chart {
    Chart {
        title: "Loss <dm>".to_owned(),
        key: "loss/dm".to_owned(),
        about: String::new(),
        note: "n = 2".to_owned(),
        x: Scale::exact(0.0, 10.0),
        x_label: "update",
        y: None,
        bands: vec![Band {
            color: 0,
            points: vec![(0.0, 0.0, 2.0), (10.0, 1.0, 3.0)],
        }],
        lines,
        levels: Vec::new(),
        marks: vec![("reward joins".to_owned(), 4.0)],
        broken: vec![7.0],
        is_wide: false,
        has_legend: false,
    }
}

fn line(name: &str, end: f64) -> Line {
    Line {
        name: name.to_owned(),
        color: 0,
        points: vec![(0.0, 1.0), (10.0, end)],
        has_dots: false,
    }
}

#[test]
fn draws_what_it_is_given_and_escapes_text() {
    let svg = chart(vec![line("dm", 2.0)]).figure().into_string();
    for part in [
        "Loss &lt;dm&gt;",
        "class=\"line c0\"",
        "class=\"band c0\"",
        "reward joins",
        "×",
        "n = 2",
        "dm from 1 to 2",
    ] {
        assert!(svg.contains(part), "no `{part}` in {svg}");
    }
    assert!(!svg.contains("NaN"));
}

#[test]
fn names_do_not_overlap() {
    let lines = ["a", "b", "c"].map(|name| line(name, 2.0)).to_vec();
    let svg = chart(lines).figure().into_string();
    let mut places: Vec<f64> = svg
        .split("class=\"name ")
        .skip(1)
        .filter_map(|part| part.split("y=\"").nth(1)?.split('"').next()?.parse().ok())
        .collect();
    places.sort_by(f64::total_cmp);
    assert_eq!(places.len(), 3);
    assert!(
        places
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= LABEL_GAP - 0.2)
    );
}

#[test]
fn nothing_to_draw_is_no_figure() {
    let mut empty = chart(vec![]);
    empty.broken.clear();
    assert_eq!(empty.figure().into_string(), "");
}
