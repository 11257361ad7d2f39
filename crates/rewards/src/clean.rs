//! What open_clip does to a caption before it tokenizes it (its `basic_clean` and `whitespace_clean`): the repairs of `ftfy`
//! 6.3, HTML's entities, white space.
//!
//! Deviation: text in a wrong encoding ("â€™" for an apostrophe) is not guessed back; of what prompts hold that is the one part
//! of `ftfy` that is left out.

use unicode_normalization::UnicodeNormalization;

/// `text` as the towers were trained to read it; the tokenizer makes it lower case.
pub fn open_clip_text(text: &str) -> String {
    let mut text = text.to_owned();
    loop {
        // ftfy leaves entities where there are tags, and goes on until nothing changes.
        let decoded = if text.contains('<') {
            text.clone()
        } else {
            closed_entities(&text)
        };
        let next = repaired(&decoded);
        if next == text {
            break;
        }
        text = next;
    }
    // open_clip decodes them all the same, twice.
    let text = htmlize::unescape(htmlize::unescape(&text)).into_owned();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `text` with entities that end in a semicolon decoded, as ftfy does; those without one it leaves.
fn closed_entities(text: &str) -> String {
    const LONGEST: usize = 26; // of `#` and letters and digits
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        decoded.push_str(&rest[..start]);
        rest = &rest[start..];
        let is_name = |name: &str| {
            let name = name.strip_prefix('#').unwrap_or(name);
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        let end = rest.bytes().take(LONGEST).position(|byte| byte == b';');
        let end = end
            .filter(|&end| is_name(&rest[1..end]))
            .map_or(1, |end| end + 1);
        decoded.push_str(&htmlize::unescape(&rest[..end]));
        rest = &rest[end..];
    }
    decoded + rest
}

/// Ligatures, wide letters, curled quotes, line breaks and control characters as plain text; composed.
fn repaired(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in without_escapes(text).chars().map(windows_1252) {
        match letter {
            '\u{FB00}'..='\u{FB06}' | 'Ĳ' | 'ĳ' | 'ŉ' | 'Ǆ'..='ǌ' | 'Ǳ'..='ǳ' => {
                plain.push_str(ligature(letter));
            }
            '\u{3000}' => plain.push(' '),
            '\u{FF01}'..='\u{FFEF}' => plain.extend(letter.nfkc()),
            '\u{02BC}' | '\u{2018}'..='\u{201B}' => plain.push('\''),
            '\u{201C}'..='\u{201F}' => plain.push('"'),
            '\r' | '\u{2028}' | '\u{2029}' => plain.push('\n'),
            control if is_control(control) => {}
            other => plain.push(other),
        }
    }
    plain.nfc().collect()
}

/// Characters that say how to print and are left out, but for tabs and breaks.
fn is_control(letter: char) -> bool {
    matches!(letter, '\0'..='\u{08}' | '\u{0B}' | '\u{0E}'..='\u{1F}' | '\u{7F}')
        || matches!(letter, '\u{206A}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}')
}

/// What a control character of Latin-1 stands for in Windows-1252, which is what was meant.
fn windows_1252(letter: char) -> char {
    const MEANT: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8D}Ž\u{8F}\u{90}‘’“”•–—˜™š›œ\u{9D}žŸ"; // from U+0080 on
    match letter {
        '\u{80}'..='\u{9F}' => {
            let place = letter as usize - 0x80;
            MEANT.chars().nth(place).unwrap_or(letter)
        }
        other => other,
    }
}

/// Letters that print as several.
fn ligature(letter: char) -> &'static str {
    match letter {
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "'n", // whose apostrophe is uncurled as well
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        _ => "dz",
    }
}

/// Without the colours of terminals, `ESC [ 1 ; 31 m`.
fn without_escapes(text: &str) -> String {
    let mut parts = text.split("\u{1B}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ';');
        match rest.chars().next() {
            Some(end) if end.is_ascii_alphabetic() => plain.push_str(&rest[1..]),
            _ => {
                plain.push_str("\u{1B}[");
                plain.push_str(part);
            }
        }
    }
    plain
}
