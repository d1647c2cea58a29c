//! Responsible for Spanish syllables: vowels that follow one another share a syllable or do not, by rule and without exceptions.
//!
//! # Source
//! Real Academia Española, *Ortografía de la lengua española* (2010), chapter II, 3.4.1: two open vowels part, an accented closed one
//! parts from an open one, two equal ones part, all others join; an `h` between them changes nothing.

/// The syllables of a folded word.
pub(super) fn count(word: &str) -> usize {
    let letters: Vec<char> = word
        .chars()
        .filter(|letter| letter.is_alphabetic())
        .collect();
    let mut syllables = 0;
    // The vowel just before, if nothing but an `h` stands between, and whether its syllable has an open one.
    let mut before: Option<(char, bool)> = None;
    for (at, &letter) in letters.iter().enumerate() {
        let previous = at.checked_sub(1).and_then(|at| letters.get(at)).copied();
        let next = letters.get(at + 1).copied();
        if !sounds_as_vowel(letter, previous, next) {
            if letter != 'h' {
                before = None;
            }
            continue;
        }
        let joins = before.is_some_and(|(vowel, has_open)| {
            let parts = part(vowel, letter) || part(letter, vowel) || (has_open && is_open(letter));
            !parts
        });
        syllables += usize::from(!joins);
        let has_open = is_open(letter) || (joins && before.is_some_and(|(_, has_open)| has_open));
        before = Some((letter, has_open));
    }
    syllables
}

const fn is_open(letter: char) -> bool {
    matches!(
        letter,
        'a' | 'e' | 'o' | 'á' | 'é' | 'ó' | 'à' | 'è' | 'ò' | 'ä' | 'ö'
    )
}

/// Whether an accented closed vowel parts from an open one, or two equal vowels part.
const fn part(one: char, other: char) -> bool {
    (matches!(one, 'í' | 'ú') && is_open(other))
        || matches!(
            (one, other),
            ('i' | 'í', 'i' | 'í') | ('u' | 'ú', 'u' | 'ú')
        )
}

/// The `u` of `que`, `qui`, `gue`, `gui` is silent; a `y` sounds as a vowel unless one follows.
const fn sounds_as_vowel(letter: char, previous: Option<char>, next: Option<char>) -> bool {
    match letter {
        'i' | 'í' | 'ï' | 'ú' | 'ü' => true,
        'u' => {
            !(matches!(previous, Some('q' | 'g')) && matches!(next, Some('e' | 'i' | 'é' | 'í')))
        }
        'y' => !matches!(
            next,
            Some('a' | 'e' | 'i' | 'o' | 'u' | 'á' | 'é' | 'í' | 'ó' | 'ú')
        ),
        _ => is_open(letter),
    }
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn words_divide_as_the_academy_divides_them() {
        let rows = [
            (
                1,
                "sol pan rey ley muy pie dios buey dio fue guion que y o bien seis juan vio cruel hoy guau miau huir",
            ),
            (
                2,
                "casa perro aire causa cielo guerra queso agua ciudad país raíz baúl oír leer ahí huevo feo caos deuda boina \
                 viuda ruido cuidar lengua pingüe búho limpiéis tío yegua mayo zoo construir quiosco huía",
            ),
            (
                3,
                "maría teatro poeta héroe caoba oído ahora pingüino ventana camisa español quisiera dirección diálogo línea rehúsa \
                 estudiáis uruguay paraguay reía caída oíais creíais vergüenza ahijado desahuciar jesuita chiita trabajo antiguo",
            ),
            (
                4,
                "murciélago alegría teléfono educación periódico paraguayo vehículo averiguáis lingüística desayuno \
                 cooperar aguacate seguimiento hawaiano",
            ),
            (5, "universidad refrigerador electricidad aeropuerto"),
            (6, "responsabilidad"),
            (7, "constitucionalmente"),
        ];
        for (syllables, words) in rows {
            for word in words.split_whitespace() {
                assert_eq!(count(word), syllables, "{word}");
            }
        }
    }

    #[test]
    fn what_has_no_vowel_has_no_syllable() {
        for word in ["kg", "2024", ""] {
            assert_eq!(count(word), 0, "{word}");
        }
    }
}
