//! Keys of rows: their types, and the one way in which each value is written.

use serde::{Deserialize, Serialize};

use crate::errors::{Outcome, Refusal, shown};

/// What keys of a scope are. Written as in the option `key_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    Smallint,
    Int,
    Bigint,
    Uuid,
    Text,
}

/// Longest text key, in bytes: it must fit a B-tree entry with room to spare.
const LONGEST_TEXT: usize = 1_024;

impl KeyType {
    pub fn name(self) -> &'static str {
        match self {
            KeyType::Smallint => "smallint",
            KeyType::Int => "int",
            KeyType::Bigint => "bigint",
            KeyType::Uuid => "uuid",
            KeyType::Text => "text",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        [Self::Smallint, Self::Int, Self::Bigint, Self::Uuid, Self::Text]
            .into_iter()
            .find(|key_type| key_type.name() == name)
    }

    /// An example to show in a HINT.
    pub fn example(self) -> &'static str {
        match self {
            KeyType::Smallint | KeyType::Int | KeyType::Bigint => "'42'",
            KeyType::Uuid => "'6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e44'",
            KeyType::Text => "'acme'",
        }
    }

    /// The one text of a key, so that two ways to write a value are one key.
    pub fn canonical(self, written: &str) -> Outcome<String> {
        let found = match self {
            KeyType::Smallint => {
                integer(written).filter(|n| i16::try_from(*n).is_ok()).map(|n| n.to_string())
            }
            KeyType::Int => integer(written).filter(|n| i32::try_from(*n).is_ok()).map(|n| n.to_string()),
            KeyType::Bigint => integer(written).map(|n| n.to_string()),
            KeyType::Uuid => uuid(written),
            KeyType::Text => ((1..=LONGEST_TEXT).contains(&written.len())
                && !written.chars().any(char::is_control))
            .then(|| written.to_string()),
        };
        found.ok_or_else(|| {
            let refusal =
                Refusal::bad_value(format!("\"{}\" is not a key of type {}", shown(written), self.name()));
            match self {
                KeyType::Text => refusal
                    .hint(format!("A text key has 1 to {LONGEST_TEXT} bytes, and no control characters.")),
                _ => refusal.hint(format!("Write, for example, key => {}.", self.example())),
            }
        })
    }
}

fn integer(written: &str) -> Option<i64> {
    written.trim_matches(' ').parse().ok()
}

/// Accepts 32 hexadecimal digits, with hyphens in the places of RFC 9562 or with none, in
/// braces or not.
fn uuid(written: &str) -> Option<String> {
    let trimmed = written.trim_matches(' ');
    let inner = match trimmed.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => trimmed,
    };
    let digits: String = if inner.contains('-') {
        let groups: Vec<&str> = inner.split('-').collect();
        if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) {
            return None;
        }
        groups.concat()
    } else {
        inner.to_string()
    };
    if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let d = digits.to_ascii_lowercase();
    Some([&d[..8], &d[8..12], &d[12..16], &d[16..20], &d[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(key_type: KeyType, written: &str) -> Option<String> {
        key_type.canonical(written).ok()
    }

    #[test]
    fn integers_keep_their_range() {
        assert_eq!(canonical(KeyType::Int, " +0042 "), Some("42".into()));
        assert_eq!(canonical(KeyType::Int, "-0"), Some("0".into()));
        for (key_type, bad) in [
            (KeyType::Smallint, "32768"),
            (KeyType::Int, "2147483648"),
            (KeyType::Bigint, "9223372036854775808"),
            (KeyType::Int, ""),
            (KeyType::Int, "4 2"),
            (KeyType::Int, "0x2a"),
            (KeyType::Int, "42.0"),
        ] {
            assert_eq!(canonical(key_type, bad), None, "{bad}");
        }
    }

    #[test]
    fn uuids_have_one_form() {
        let one = Some("6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e44".to_string());
        for written in [
            "6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e44",
            "6B8F0C1E3F0B4A399A550D6C7B1F2E44",
            "{6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e44}",
        ] {
            assert_eq!(canonical(KeyType::Uuid, written), one);
        }
        for bad in [
            "",
            "6b8f",
            "{6b8f0c1e3f0b4a399a550d6c7b1f2e44",
            "6b8f0c1e-3f0b4a39-9a55-0d6c7b1f2e44",
            "gb8f0c1e3f0b4a399a550d6c7b1f2e44",
        ] {
            assert_eq!(canonical(KeyType::Uuid, bad), None, "{bad}");
        }
    }

    #[test]
    fn text_is_kept_as_it_is_but_never_empty() {
        assert_eq!(canonical(KeyType::Text, " Acme "), Some(" Acme ".into()));
        assert_eq!(canonical(KeyType::Text, ""), None);
        assert_eq!(canonical(KeyType::Text, &"x".repeat(1_025)), None);
        assert_eq!(canonical(KeyType::Text, "a\u{1b}[31m"), None);
    }

    proptest! {
        #[test]
        fn a_canonical_key_is_its_own_canonical_form(written in "\\PC{0,40}", at in 0usize..5) {
            let key_type = [KeyType::Smallint, KeyType::Int, KeyType::Bigint, KeyType::Uuid, KeyType::Text][at];
            if let Some(once) = canonical(key_type, &written) {
                prop_assert_eq!(canonical(key_type, &once), Some(once));
            }
        }

        #[test]
        fn every_integer_has_exactly_its_decimal_form(n: i64) {
            prop_assert_eq!(canonical(KeyType::Bigint, &n.to_string()), Some(n.to_string()));
            prop_assert_eq!(canonical(KeyType::Int, &n.to_string()).is_some(), i32::try_from(n).is_ok());
        }
    }
}
