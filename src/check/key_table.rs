//! Keys with the windows in which they are open, in little memory and one probe away.
//!
//! Entries stand sorted in one array, the windows of a key side by side; a hash index of
//! 4-byte positions, at most half full, says where a key begins. That is at most 48 bytes for an
//! integer key, and gives `jit_keys` its order for nothing. A table is built once and never changed.

use std::borrow::Borrow;

/// From when to when one grant serves, in microseconds since 2000-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub start: i64,
    pub end: i64,
    pub grant: i64,
}

impl Window {
    /// The start belongs to the window, the end does not.
    pub fn covers(&self, now: i64) -> bool {
        self.start <= now && now < self.end
    }
}

/// Of the windows that are open now the one that ends last, and where it stands. Each grant counts by
/// itself: one that ends shortens no other, and whoever may stay longer on another does.
#[inline]
pub fn last_open<'a>(
    windows: impl Iterator<Item = (usize, &'a Window)>,
    now: i64,
) -> Option<(usize, &'a Window)> {
    windows.filter(|(_, window)| window.covers(now)).max_by_key(|(_, window)| window.end)
}

/// When the next of these windows begins or ends, after `now`.
pub fn next_change<'a>(windows: impl Iterator<Item = &'a Window>, now: i64) -> i64 {
    windows
        .flat_map(|window| [window.start, window.end])
        .filter(|change| *change > now)
        .min()
        .unwrap_or(i64::MAX)
}

/// A hash whose upper bits are well mixed. Not one that withstands chosen keys: whoever can
/// choose the keys of a role's grants slows down that role's own checks only.
pub trait Hashed {
    fn hash(&self) -> u64;
}

/// 2^64 divided by the golden ratio, made odd.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(state: u64, word: u64) -> u64 {
    (state.rotate_left(29) ^ word).wrapping_mul(MIX)
}

impl Hashed for i64 {
    fn hash(&self) -> u64 {
        mix(0, self.cast_unsigned())
    }
}

impl Hashed for [u8] {
    fn hash(&self) -> u64 {
        let (words, rest) = self.as_chunks::<8>();
        let state = words.iter().fold(self.len() as u64, |state, word| mix(state, u64::from_le_bytes(*word)));
        let tail = rest.iter().fold(0u64, |tail, byte| tail << 8 | u64::from(*byte));
        // Once more, so that the last word reaches every upper bit.
        mix(mix(state, tail), 0)
    }
}

impl Hashed for [u8; 16] {
    fn hash(&self) -> u64 {
        self.as_slice().hash()
    }
}

#[derive(Debug)]
struct Entry<K> {
    key: K,
    window: Window,
}

#[derive(Debug)]
pub struct KeyTable<K> {
    entries: Box<[Entry<K>]>,
    /// Positions in `entries`; a power of two of them, or none.
    slots: Box<[u32]>,
    /// What a hash is shifted right by to become a place in `slots`.
    shift: u32,
    /// How many different keys.
    keys: usize,
}

const EMPTY: u32 = u32::MAX;

impl<K: Ord> KeyTable<K> {
    pub fn new<Q>(windows: Vec<(K, Window)>) -> Self
    where
        K: Borrow<Q>,
        Q: Hashed + ?Sized,
    {
        let mut entries: Vec<Entry<K>> =
            windows.into_iter().map(|(key, window)| Entry { key, window }).collect();
        // More than fit the index cannot be reached, which denies.
        entries.truncate(EMPTY as usize);
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key).then(a.window.start.cmp(&b.window.start)));
        let entries = entries.into_boxed_slice();
        let keys = entries.chunk_by(|a, b| a.key == b.key).count();
        if keys == 0 {
            return KeyTable { entries, slots: Box::default(), shift: 0, keys };
        }
        let size = (keys * 2).next_power_of_two();
        let shift = u64::BITS - size.trailing_zeros();
        let mut slots = vec![EMPTY; size].into_boxed_slice();
        let mut position = 0u32;
        for run in entries.chunk_by(|a, b| a.key == b.key) {
            let Some(first) = run.first() else { continue };
            let mut at = place(first.key.borrow(), shift);
            while let Some(slot) = slots.get_mut(at) {
                if *slot == EMPTY {
                    *slot = position;
                    break;
                }
                at = (at + 1) & (size - 1);
            }
            position = position.saturating_add(u32::try_from(run.len()).unwrap_or(EMPTY));
        }
        KeyTable { entries, slots, shift, keys }
    }

    /// Where the windows of this key begin among [`windows`](Self::windows). None: it has none.
    #[inline]
    pub fn first_of<Q>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Hashed + Eq + ?Sized,
    {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = place(key, self.shift);
        loop {
            let first = *self.slots.get(at)? as usize;
            // EMPTY is beyond every entry.
            if self.entries.get(first)?.key.borrow() == key {
                return Some(first);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// The window that serves now, of the key whose windows begin there, and where it stands: see [`last_open`].
    #[inline]
    pub fn open_from(&self, first: usize, now: i64) -> Option<(usize, &Window)> {
        let run = self.entries.get(first..)?;
        let key = &run.first()?.key;
        let same = run.iter().enumerate().take_while(|(at, entry)| *at == 0 || entry.key == *key);
        last_open(same.map(|(at, entry)| (first + at, &entry.window)), now)
    }

    pub fn windows(&self) -> impl Iterator<Item = &Window> {
        self.entries.iter().map(|entry| &entry.window)
    }

    /// The key that a grant opens, and until when. Looks through all of them.
    pub fn key_of(&self, grant: i64) -> Option<(&K, i64)> {
        let entry = self.entries.iter().find(|entry| entry.window.grant == grant)?;
        Some((&entry.key, entry.window.end))
    }

    /// How many keys there are, open or not.
    pub fn len(&self) -> usize {
        self.keys
    }

    /// About `most` of the keys, spread evenly; one with several windows may come several times.
    pub fn sample(&self, most: usize) -> impl Iterator<Item = &K> {
        let step = self.entries.len().div_ceil(most).max(1);
        self.entries.iter().step_by(step).map(|entry| &entry.key)
    }

    /// The keys that are open now, sorted, each once.
    pub fn open_keys(&self, now: i64) -> impl Iterator<Item = &K> {
        self.entries
            .chunk_by(|a, b| a.key == b.key)
            .filter(move |run| run.iter().any(|entry| entry.window.covers(now)))
            .filter_map(|run| run.first().map(|entry| &entry.key))
    }
}

fn place<Q: Hashed + ?Sized>(key: &Q, shift: u32) -> usize {
    (key.hash() >> shift) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(start: i64, end: i64, grant: i64) -> Window {
        Window { start, end, grant }
    }

    fn grant(found: (usize, &Window)) -> i64 {
        found.1.grant
    }

    fn ints(windows: &[(i64, Window)]) -> KeyTable<i64> {
        KeyTable::new::<i64>(windows.to_vec())
    }

    impl<K: Ord> KeyTable<K> {
        fn find<Q>(&self, key: &Q, now: i64) -> Option<(usize, &Window)>
        where
            K: Borrow<Q>,
            Q: Hashed + Eq + ?Sized,
        {
            self.open_from(self.first_of(key)?, now)
        }
    }

    #[test]
    fn the_start_is_inside_the_end_is_not() {
        let table = ints(&[(7, window(10, 20, 1))]);
        for (now, open) in [(9, None), (10, Some(1)), (19, Some(1)), (20, None), (21, None)] {
            assert_eq!(table.find(&7, now).map(grant), open, "at {now}");
            assert_eq!(last_open([(0, &window(10, 20, 1))].into_iter(), now).map(grant), open, "at {now}");
        }
        assert_eq!(table.find(&8, 15), None);
    }

    #[test]
    fn overlapping_grants_are_independent() {
        let table = ints(&[(7, window(10, 20, 1)), (7, window(15, 30, 2)), (7, window(40, 50, 3))]);
        for (now, open) in [(12, true), (17, true), (20, true), (29, true), (30, false), (40, true)] {
            assert_eq!(table.find(&7, now).is_some(), open, "at {now}");
        }
        assert_eq!(table.find(&7, 25).map(grant), Some(2));
        // The one that lasts longest.
        assert_eq!(table.find(&7, 17).map(grant), Some(2));
    }

    #[test]
    fn an_empty_table_opens_nothing() {
        assert_eq!(ints(&[]).find(&0, 0), None);
        assert_eq!(ints(&[]).open_keys(0).count(), 0);
    }

    #[test]
    fn text_is_told_apart_by_every_byte() {
        let keys: [&[u8]; 8] =
            [b"", b"\0", b"a", b"a\0", b"acme-eu-west-1", b"acme-eu-west-2", b"12345678", b"123456789"];
        let table = KeyTable::new::<[u8]>(
            keys.iter().zip(1..).map(|(key, id)| (Box::from(*key), window(0, 10, id))).collect(),
        );
        for (key, id) in keys.iter().zip(1..) {
            assert_eq!(table.find(*key, 5).map(grant), Some(id));
        }
        assert_eq!(table.find(&b"acme-eu-west-3"[..], 5), None);
    }

    #[test]
    fn memory_stays_small() {
        let table = ints(&(0..100_000).map(|key| (key, window(0, 1, key))).collect::<Vec<_>>());
        let bytes = size_of_val(&*table.entries) + size_of_val(&*table.slots);
        assert!(bytes <= 64 * 100_000, "{bytes}");
        assert!(size_of::<Entry<Box<[u8]>>>() + 16 + 48 <= 140);
    }

    #[test]
    fn usual_keys_do_not_cluster() {
        let series: [Vec<i64>; 4] = [
            (0..10_000).collect(),
            (0..10_000).map(|n| n * 1_000).collect(),
            (0..10_000).map(|n| n << 32).collect(),
            (0..10_000).map(|n| -n).collect(),
        ];
        for keys in series {
            let table = ints(&keys.iter().map(|key| (*key, window(0, 1, 0))).collect::<Vec<_>>());
            let longest = table.slots.split(|slot| *slot == EMPTY).map(<[u32]>::len).max();
            assert!(longest < Some(64), "{longest:?}");
        }
    }

    proptest! {
        #[test]
        fn a_table_says_what_a_list_says(
            grants in proptest::collection::vec((-6i64..6, 0i64..20, 1i64..12), 0..60),
            now in -1i64..34,
        ) {
            let list: Vec<(i64, Window)> = grants.iter().zip(0..)
                .map(|((key, start, length), id)| (*key * 0x1_0000_0001, window(*start, start + length, id)))
                .collect();
            let table = ints(&list);
            let naive = |key: i64| list.iter().any(|(k, w)| *k == key && w.start <= now && now < w.end);
            let mut open = Vec::new();
            for key in -7i64..7 {
                let key = key * 0x1_0000_0001;
                let found = table.find(&key, now);
                prop_assert_eq!(found.is_some(), naive(key));
                if let Some((position, window)) = found {
                    let named = usize::try_from(window.grant).ok().and_then(|id| list.get(id));
                    prop_assert!(named.is_some_and(|(k, w)| *k == key && w.covers(now)));
                    prop_assert_eq!(table.windows().nth(position), Some(window));
                }
                if naive(key) {
                    open.push(key);
                }
            }
            prop_assert_eq!(table.open_keys(now).copied().collect::<Vec<_>>(), open.clone());
            // Until the next change, every time gives the same answers.
            let change = next_change(table.windows(), now);
            for later in now..change.min(40) {
                prop_assert_eq!(table.open_keys(later).count(), open.len());
            }
        }

        #[test]
        fn a_table_of_texts_says_what_a_list_says(
            keys in proptest::collection::vec(proptest::collection::vec(0u8..4, 0..20), 0..60),
            probe in proptest::collection::vec(0u8..4, 0..20),
        ) {
            let table = KeyTable::new::<[u8]>(
                keys.iter().map(|key| (key.clone().into_boxed_slice(), window(0, 10, 0))).collect(),
            );
            for key in keys.iter() {
                prop_assert!(table.find(key.as_slice(), 5).is_some());
            }
            prop_assert_eq!(table.find(probe.as_slice(), 5).is_some(), keys.contains(&probe));
        }
    }
}
