//! Which key types can be compared with each other.

/// Types whose values are compared as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// smallint, int, bigint
    Int,
    Uuid,
    Text,
}

impl Family {
    /// What an argument of this family is called in a message.
    pub fn name(self) -> &'static str {
        match self {
            Family::Int => "integer",
            Family::Uuid => "uuid",
            Family::Text => "text",
        }
    }
}

/// The `key_type` of a scope, as far as a check cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyKind {
    pub family: Family,
    /// The type to cast to.
    pub name: &'static str,
}

impl KeyKind {
    pub fn named(name: &[u8]) -> Option<Self> {
        let (family, name) = match name {
            b"smallint" => (Family::Int, "smallint"),
            b"int" => (Family::Int, "int"),
            b"bigint" => (Family::Int, "bigint"),
            b"uuid" => (Family::Uuid, "uuid"),
            b"text" => (Family::Text, "text"),
            _ => return None,
        };
        Some(KeyKind { family, name })
    }
}

/// A stored integer key. None, which serves nobody, for what is not one.
pub fn parse_int(written: &[u8]) -> Option<i64> {
    std::str::from_utf8(written).ok()?.parse().ok()
}

/// A stored uuid key: 32 hexadecimal digits, hyphens between bytes ignored.
pub fn parse_uuid(written: &[u8]) -> Option<[u8; 16]> {
    let mut bytes = [0u8; 16];
    let mut digits = 0usize;
    for c in written {
        if *c == b'-' && digits.is_multiple_of(2) {
            continue;
        }
        let nibble = u8::try_from(char::from(*c).to_digit(16)?).ok()?;
        let byte = bytes.get_mut(digits / 2)?;
        *byte = *byte << 4 | nibble;
        digits += 1;
    }
    (digits == 32).then_some(bytes)
}

/// As uuid_out() (uuid.c) writes it.
pub fn uuid_text(bytes: &[u8; 16]) -> String {
    let digits = |part: &[u8]| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (a, rest) = bytes.split_at(4);
    let (middle, last) = rest.split_at(6);
    let parts: Vec<_> = std::iter::once(a).chain(middle.chunks(2)).chain([last]).map(digits).collect();
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_integer_types_are_one_family() {
        for name in ["smallint", "int", "bigint"] {
            let kind = KeyKind::named(name.as_bytes());
            assert_eq!(kind.map(|kind| (kind.family, kind.name)), Some((Family::Int, name)));
        }
        assert_eq!(KeyKind::named(b"uuid").map(|kind| kind.family), Some(Family::Uuid));
        assert_eq!(KeyKind::named(b"text").map(|kind| kind.family), Some(Family::Text));
        for unknown in ["", "INT", "integer", "numeric", "text "] {
            assert_eq!(KeyKind::named(unknown.as_bytes()), None, "{unknown}");
        }
    }

    #[test]
    fn a_stored_integer_that_is_none_is_no_key() {
        assert_eq!(parse_int(b"-42"), Some(-42));
        assert_eq!(parse_int(b"9223372036854775807"), Some(i64::MAX));
        for bad in [&b""[..], b"x", b"9223372036854775808", b"4 2", b"\xff"] {
            assert_eq!(parse_int(bad), None);
        }
    }

    #[test]
    fn a_stored_uuid_that_is_none_is_no_key() {
        let bytes =
            [0x6b, 0x8f, 0x0c, 0x1e, 0x3f, 0x0b, 0x4a, 0x39, 0x9a, 0x55, 0x0d, 0x6c, 0x7b, 0x1f, 0x2e, 0x44];
        assert_eq!(parse_uuid(b"6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e44"), Some(bytes));
        assert_eq!(parse_uuid(b"6B8F0C1E3F0B4A399A550D6C7B1F2E44"), Some(bytes));
        assert_eq!(uuid_text(&bytes), "6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e44");
        for bad in [
            &b""[..],
            b"6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e4",
            b"6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e440",
            b"6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e4g",
            b"6-b8f0c1e3f0b4a399a550d6c7b1f2e44",
        ] {
            assert_eq!(parse_uuid(bad), None);
        }
    }
}
