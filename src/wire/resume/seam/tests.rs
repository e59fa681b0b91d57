//! Successors of every kind, at every place of texts in six scripts.
//!
//! Owns what must come out whole, and what must be refused.

use super::*;

const TEXTS: &[&str] = &[
    "The rope runs through the second pulley, and the load moves half as far. That is the whole trick: \
     what is lost in distance is won in strength.\n\nSo a sailor with two blocks lifts twice what he could before.",
    "Канат проходит через второй блок, и груз движется вдвое медленнее. В этом весь секрет: проигрываем в \
     расстоянии, выигрываем в силе. Так моряк поднимает вдвое больше.",
    "滑車を二つ使うと、荷物は半分の力で持ち上がる。その代わり、綱を引く距離は二倍になる。これが滑車の秘密であり、\
     昔の船乗りは皆これを知っていた。",
    "החבל עובר דרך הגלגלת השנייה, והמטען נע לאט יותר. זה כל הסוד: מה שאובד במרחק נצבר בכוח. כך המלח מרים כפליים.",
    "रस्सी दूसरी घिरनी से होकर गुज़रती है, और भार आधी गति से चलता है। यही पूरा रहस्य है: जो दूरी में खोता है वह शक्ति में मिलता है।",
    "밧줄은 두 번째 도르래를 지나가고 짐은 절반의 속도로 움직인다. 이것이 비밀의 전부다. 거리에서 잃은 것을 힘으로 얻는다.",
    "Deploy 🚢 with care 👩‍🔧👩‍🔧, flags 🇫🇷🇩🇪 up! Cost: 1,234.50 € — “fine”, she said… naïve café, e\u{301}te\u{301}, ½ of it.",
    "| name | size |\n|------|-----:|\n| alpha | 12 |\n| beta | 340 |\n| gamma | 5 |\n\n- one\n  - two\n  - three\n1. first\n2. second\n",
    "Run this:\n\n```rust\nfn main() {\n    let rope = \"taut\";\n    println!(\"{rope}\");\n}\n```\n\nThen see https://example.org/a/b?c=d&e=f#g for more.",
    "{\"answer\": \"the rope holds\", \"score\": 12, \"tags\": [\"a\", \"b\"], \"nested\": {\"deep\": [1, 2, {\"x\": null}]}}",
];

/// Tells a successor's words piece by piece. What the client has in the end, and how it fitted.
fn told(kind: Kind, delivered: &str, words: &str, piece: usize) -> Result<(String, Fit), &'static str> {
    let mut seam = Seam::new(kind, delivered).expect("there are words");
    let chars: Vec<char> = words.chars().collect();
    let mut pieces = chars.chunks(piece);
    let mut verdict = Verdict::Wait;
    while verdict == Verdict::Wait
        && let Some(piece) = pieces.next()
    {
        verdict = seam.push(&piece.iter().collect::<String>());
    }
    if verdict == Verdict::Wait {
        verdict = seam.end();
    }
    match verdict {
        Verdict::Join(Joined { text, fit, .. }) => {
            Ok((delivered.to_owned() + &text + &pieces.flatten().collect::<String>(), fit))
        }
        Verdict::Refuse(why) => Err(why),
        Verdict::Wait => unreachable!("an end decides"),
    }
}

/// Each place where an answer can break off with at least three letters of it delivered.
fn cuts(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.char_indices().map(|(at, _)| text.split_at(at)).filter(|(delivered, _)| Normal::of(delivered).len() > 2)
}

fn repeat_of(delivered: &str) -> String {
    Seam::new(Kind::Anchored, delivered).expect("words").fragment().to_owned()
}

/// What a successor that repeats the fragment writes.
fn good(delivered: &str, rest: &str) -> String {
    let words = delivered.trim_end_matches(is_ignored);
    repeat_of(delivered) + &delivered[words.len()..] + rest
}

#[test]
fn a_repeat_is_taken_out_at_every_place_of_every_script() {
    for text in TEXTS {
        for (delivered, rest) in cuts(text) {
            for piece in [1, 4, 1000] {
                let told = told(Kind::Anchored, delivered, &good(delivered, rest), piece);
                assert_eq!(told, Ok(((*text).to_owned(), Fit::Exact)), "{delivered:?} | {rest:?}");
            }
        }
    }
}

#[test]
fn a_repeat_behind_a_remark_in_other_case_and_spaces_is_found() {
    let mut normalised = 0;
    for text in TEXTS {
        for (delivered, rest) in cuts(text).filter(|(delivered, _)| Normal::of(delivered).len() >= TELLING) {
            let words = delivered.trim_end_matches(is_ignored);
            let spaces = &delivered[words.len()..];
            let repeat = repeat_of(delivered).to_lowercase().replace(' ', "  ").replace('"', "\u{201d}");
            let written = format!("Sure, I go on where the connection dropped:\n\n{repeat}{spaces}{rest}");
            let told = told(Kind::Anchored, delivered, &written, 5);
            let (joined, fit) = told.unwrap_or_else(|why| panic!("{why}: {delivered:?} | {written:?}"));
            assert_eq!(joined, *text, "{written:?}");
            normalised += usize::from(fit == Fit::Normalised);
        }
    }
    assert!(normalised > 200, "{normalised}");
}

#[test]
fn one_that_starts_over_is_followed_to_where_new_words_begin() {
    for text in TEXTS {
        for (delivered, _) in cuts(text) {
            for kind in [Kind::Anchored, Kind::Prefill] {
                if kind == Kind::Prefill && Normal::of(delivered).len() < TELLING {
                    continue;
                }
                match told(kind, delivered, text, 7) {
                    Ok((joined, _)) => assert_eq!(joined, *text, "{kind:?} {delivered:?}"),
                    Err(why) => panic!("{why}: {kind:?} {delivered:?}"),
                }
            }
        }
    }
}

#[test]
fn a_beginning_that_is_taken_up_goes_on_with_its_spaces_once() {
    for text in TEXTS {
        for (delivered, rest) in cuts(text) {
            let words = delivered.trim_end_matches(is_ignored);
            // Whoever does not write the spaces again cannot begin with more of them.
            let without = (!rest.starts_with(is_ignored)).then(|| rest.to_owned());
            for written in [format!("{}{rest}", &delivered[words.len()..])].into_iter().chain(without) {
                let told = told(Kind::Prefill, delivered, &written, 3);
                assert_eq!(told, Ok(((*text).to_owned(), Fit::Exact)), "{delivered:?} | {written:?}");
            }
        }
    }
}

#[test]
fn a_longer_and_a_shorter_repeat_are_found() {
    let (delivered, rest) = TEXTS[0].split_at(120);
    let longer = &delivered[50..];
    assert_eq!(told(Kind::Anchored, delivered, &format!("{longer}{rest}"), 4).expect("joins").0, TEXTS[0]);
    let shorter = &delivered[delivered.len() - 22..];
    let joined = told(Kind::Anchored, delivered, &format!("{shorter}{rest}"), 4);
    assert_eq!(joined, Ok((TEXTS[0].to_owned(), Fit::Overlap)));
    let joined = told(Kind::Anchored, delivered, &format!("Going on: \u{201c}{shorter}\u{201d}{rest}"), 4);
    assert_eq!(joined.expect("joins").0, TEXTS[0]);
}

#[test]
fn an_accent_and_a_quote_find_their_place() {
    let joined =
        told(Kind::Anchored, "In the old harbour there is a cafe", "in the old harbour there is a caf\u{e9} bar", 3);
    assert_eq!(joined, Ok(("In the old harbour there is a cafe\u{301} bar".to_owned(), Fit::Normalised)));
    let joined =
        told(Kind::Anchored, "In the old harbour there is a bar", "\"In the old harbour there is a bar\" and more", 3);
    assert_eq!(joined, Ok(("In the old harbour there is a bar and more".to_owned(), Fit::Exact)));
}

#[test]
fn other_words_are_refused() {
    let text = TEXTS[0];
    let (delivered, _) = text.split_at(150);
    let other = "Pulleys are wonderful. With each further block the force needed becomes smaller, while the length \
        of rope to be pulled grows. Sailors have used this for thousands of years, and builders too, long before \
        anybody wrote down why it works, and they still do so today on every ship.";
    for written in [other.to_owned(), other[..60].to_owned(), format!("{}{other}", &text[..60]), text[..100].to_owned()]
    {
        assert!(told(Kind::Anchored, delivered, &written, 4).is_err(), "{written:?}");
    }
    assert!(told(Kind::Prefill, delivered, &format!("{}{other}", &text[..60]), 4).is_err());
}

#[test]
fn what_could_stand_at_two_places_is_refused() {
    let delivered = "ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha";
    let written = "ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha and then he wept";
    assert!(told(Kind::Anchored, delivered, written, 4).is_err());
}

#[test]
fn an_echo_is_refused() {
    let (delivered, _) = TEXTS[0].split_at(100);
    assert!(told(Kind::Anchored, delivered, &repeat_of(delivered).repeat(5), 4).is_err());
}

#[test]
fn the_hold_is_bounded() {
    let mut seam = Seam::new(Kind::Anchored, TEXTS[0]).expect("words");
    let mut words = 0;
    while seam.push("other words ") == Verdict::Wait {
        words += 1;
        assert!(words < 30);
    }
    assert!(seam.held() <= HELD_CHARS_MAX + "other words ".len());
    assert!(Seam::new(Kind::Anchored, " \n").is_none());
    // Nor by spaces alone, which are compared with nothing.
    for kind in [Kind::Anchored, Kind::Prefill] {
        let mut seam = Seam::new(kind, "words that end in a space ").expect("words");
        let mut verdict = Verdict::Wait;
        for _ in 0..400 {
            verdict = seam.push(" \n");
            if verdict != Verdict::Wait {
                break;
            }
        }
        assert_ne!(verdict, Verdict::Wait, "{kind:?}");
        assert!(seam.held() < 400, "{kind:?}: {}", seam.held());
    }
}

#[test]
fn a_fragment_begins_with_a_word_or_a_whole_character() {
    assert_eq!(repeat_of("short"), "short");
    assert_eq!(repeat_of(&format!("{} ", &TEXTS[0][..60])), "the second pulley, and the load moves");
    let flags = "\u{1f1eb}\u{1f1f7}".repeat(30);
    let repeat = repeat_of(&flags);
    assert_eq!(repeat.graphemes(true).next(), Some("\u{1f1eb}\u{1f1f7}"));
    assert!(repeat.chars().count() <= 40);
}
