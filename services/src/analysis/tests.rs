//! Responsible for what holds of the analysis as a whole: bounds of steps on hostile texts, whole answers, independence of seeds.

use proptest::prelude::*;

use super::*;

fn text(raw: &str) -> Text {
    Text::new(raw).expect("within bounds")
}

fn steps(raw: &str) -> (u64, u64) {
    let (text, options) = (text(raw), Options::default());
    let analysis = analyze(&text, &options).expect("good options");
    let report = quality(&text, &options).expect("good options");
    let bytes = u64::try_from(text.composed().len()).expect("small");
    (analysis.steps.max(report.steps), bytes)
}

/// Units that make segmentation, composing, folding or tables work hard.
const HOSTILE: &[&str] = &[
    ")",
    " ",
    ".",
    "a.)",
    "a. 1",
    "\u{301}",
    "a\u{301}\u{323}",
    "🇦",
    "👩\u{200d}",
    "a:",
    "a\u{301}:",
    "क\u{94d}",
    "'",
    "ß",
    "İ",
    "ﬃ",
    "a b ",
    "la ",
    "the the ",
    "\n",
    "a\n",
    "#\n",
    "- a\n",
    "1. ",
    "日",
    "ก",
    "\u{202e}",
    "\u{0}",
    "Σ",
    "e\u{301}\n\n",
];

#[test]
fn steps_are_linear_in_hostile_texts() {
    for unit in HOSTILE {
        let long = |code_points: usize| {
            let times = code_points / unit.chars().count();
            format!("0123456789 {}", unit.repeat(times))
        };
        let (small, small_bytes) = steps(&long(2_000));
        let (large, large_bytes) = steps(&long(20_000));
        assert!(
            large <= STEPS_PER_BYTE_MAX * large_bytes,
            "{unit:?}: {large} steps for {large_bytes} bytes"
        );
        // Ten times the text takes at most about ten times the steps.
        assert!(
            large * small_bytes <= small * large_bytes * 3 / 2,
            "{unit:?}: {small} then {large}"
        );
    }
}

#[test]
fn distinct_words_by_the_thousand_take_linear_steps_too() {
    let words: String = (0..8_000).map(|word| format!("p{word:04} ")).collect();
    let (steps, bytes) = steps(&words);
    assert!(
        steps <= STEPS_PER_BYTE_MAX * bytes,
        "{steps} steps for {bytes} bytes"
    );
}

#[test]
fn a_spanish_text_is_told_in_full() {
    let text = text(
        "El caché guarda lo que ya se calculó. Así, la segunda petición no lo calcula otra vez.\n\n\
         El caché guarda lo que ya se calculó. ¿Y si no cabe? Entonces sale lo que menos vale.",
    );
    let found = analyze(&text, &Options::default()).expect("good options");
    assert_eq!(found.language, Language::Spanish);
    assert_eq!(
        (
            found.word_count,
            found.sentence_count,
            found.paragraph_count
        ),
        (35, 5, 2)
    );
    assert_eq!(found.unique_words, 23);
    // Thirty-three shingles, six of which occurred before.
    assert!(
        (found.redundancy_score - 6.0 / 33.0).abs() < 1e-12,
        "{found:?}"
    );
    assert!(!found.is_redundant);
    assert_eq!(
        found.repeated.first().map(|repeated| repeated.count),
        Some(2)
    );
    assert_eq!(
        found.common_words.first().map(|word| word.word.as_str()),
        Some("caché")
    );
    assert_eq!(found.content_hash.len(), 32);

    let report = quality(&text, &Options::default()).expect("good options");
    let readability = report.readability.expect("Spanish has a formula");
    assert_eq!(readability.formula, "szigriszt_pazos");
    assert!(readability.score > 65.0, "{report:?}");
    assert!(report.suggestions.contains(&Suggestion::AddDetail));
    assert!(report.quality_rating >= Rating::Good, "{report:?}");
}

#[test]
fn what_repeats_rates_worse() {
    let fresh = "Each morning the baker opens early. Bread smells across the square. Children buy rolls before school begins.";
    let stale = "The baker opens early. ".repeat(20);
    let options = Options {
        language: Some(Language::English),
        ..Options::default()
    };
    let (fresh, stale) = (
        quality(&text(fresh), &options),
        quality(&text(&stale), &options),
    );
    let (fresh, stale) = (fresh.expect("good options"), stale.expect("good options"));
    assert!(
        fresh.quality_score > stale.quality_score + 30.0,
        "{fresh:?} {stale:?}"
    );
    assert!(stale.suggestions.contains(&Suggestion::RemoveRepetition));
    assert!(stale.suggestions.contains(&Suggestion::VaryVocabulary));
    assert!(!fresh.suggestions.contains(&Suggestion::RemoveRepetition));
}

#[test]
fn each_fault_is_named() {
    let rows = [
        ("..............", Suggestion::AddWords),
        (
            "TODO ESTO ESTÁ ESCRITO EN MAYÚSCULAS Y CUESTA LEERLO",
            Suggestion::AvoidCapitals,
        ),
        (
            "Дом моей бабушки стоит у моря.",
            Suggestion::LanguageUnknown,
        ),
    ];
    for (raw, expected) in rows {
        let found = quality(&text(raw), &Options::default()).expect("good options");
        assert!(found.suggestions.contains(&expected), "{raw}: {found:?}");
    }
    let long = "the cat and the dog went to the sea with a man who had seen it ".repeat(20);
    let found = quality(&text(&long), &Options::default()).expect("good options");
    for expected in [
        Suggestion::ShortenSentences,
        Suggestion::SplitLongestSentence,
        Suggestion::SplitParagraphs,
    ] {
        assert!(found.suggestions.contains(&expected), "{found:?}");
    }
    let heavy = "Responsabilidades constitucionales extraordinariamente internacionalizadas según la administración.";
    let found = quality(
        &text(heavy),
        &Options {
            language: Some(Language::Spanish),
            ..Options::default()
        },
    );
    assert!(
        found
            .expect("good options")
            .suggestions
            .contains(&Suggestion::UseSimplerWords)
    );
}

#[test]
fn md5_is_md5() {
    // RFC 1321, appendix A.5.
    let found =
        analyze(&text("abcdefghijklmnopqrstuvwxyz"), &Options::default()).expect("good options");
    assert_eq!(found.content_hash, "c3fcd3d76192e4007dfb496cca67e13b");
}

proptest! {
    #[test]
    fn figures_stay_in_range_and_seeds_change_nothing(raw in "\\PC{10,300}", seed in any::<u64>()) {
        let Ok(text) = Text::new(&raw) else { return Ok(()) };
        let plain = Options::default();
        let seeded = Options { table_seed: seed, ..plain };
        let (mut one, mut other) = (analyze(&text, &plain).expect("good"), analyze(&text, &seeded).expect("good"));
        prop_assert!((0.0..1.0).contains(&one.redundancy_score));
        prop_assert!(one.unique_words <= one.word_count && one.sentence_count <= one.word_count.max(1));
        prop_assert!(one.steps <= STEPS_PER_BYTE_MAX * u64::try_from(text.composed().len()).expect("small"));
        // Probes depend on where words lie; nothing else may.
        (one.steps, other.steps) = (0, 0);
        prop_assert_eq!(one, other);
        let report = quality(&text, &plain).expect("good");
        prop_assert!((0.0..=100.0).contains(&report.quality_score));
        prop_assert!((0.0..=1.0).contains(&report.complexity_score));
        prop_assert!((0.0..=1.0).contains(&report.unique_ratio));
    }

    #[test]
    fn repeating_a_text_makes_it_redundant(words in prop::collection::vec("[a-z]{3,8}", 10..30), times in 2_usize..6) {
        let once = words.join(" ");
        let many = vec![once.as_str(); times].join(" ");
        let single = analyze(&text(&once), &Options::default()).expect("good").redundancy_score;
        let found = analyze(&text(&many), &Options::default()).expect("good").redundancy_score;
        prop_assert!(found > single);
        let shingles = f64::from(u32::try_from(words.len() * times - 2).expect("small"));
        let distinct_max = f64::from(u32::try_from(words.len()).expect("small"));
        prop_assert!(found >= 1.0 - distinct_max / shingles - 1e-12);
    }
}
