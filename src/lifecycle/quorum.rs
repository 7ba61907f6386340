//! Whether distinct people fill all the slots of a request's rules.

/// How many of `slots` can be filled at once by distinct people.
///
/// `able[p]` lists the slots that person `p` could fill. A maximum bipartite matching by
/// augmenting paths (Kuhn 1955): giving people greedily to the first slot they fit could leave
/// one empty that a better choice fills.
pub fn filled(slots: usize, able: &[Vec<usize>]) -> usize {
    let mut holder: Vec<Option<usize>> = vec![None; slots];
    (0..able.len()).filter(|person| place(*person, able, &mut holder, &mut vec![false; slots])).count()
}

fn place(person: usize, able: &[Vec<usize>], holder: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    for &slot in able.get(person).into_iter().flatten() {
        if tried.get(slot).copied().unwrap_or(true) {
            continue;
        }
        tried[slot] = true;
        let free = match holder[slot] {
            None => true,
            Some(other) => place(other, able, holder, tried),
        };
        if free {
            holder[slot] = Some(person);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::filled;
    use proptest::prelude::*;

    #[test]
    fn a_better_choice_is_found_than_the_first() {
        // The first person fits both slots, the second only the first one.
        assert_eq!(filled(2, &[vec![0, 1], vec![0]]), 2);
    }

    #[test]
    fn one_person_fills_one_slot() {
        assert_eq!(filled(2, &[vec![0, 1]]), 1);
        assert_eq!(filled(2, &[]), 0);
        assert_eq!(filled(0, &[vec![]]), 0);
    }

    /// Tries every way: gives each person one of their slots or none.
    fn by_force(taken: u32, able: &[Vec<usize>]) -> usize {
        let Some((first, rest)) = able.split_first() else { return 0 };
        let without = by_force(taken, rest);
        first
            .iter()
            .filter(|slot| taken & (1 << **slot) == 0)
            .map(|slot| 1 + by_force(taken | (1 << slot), rest))
            .fold(without, usize::max)
    }

    proptest! {
        #[test]
        fn as_many_as_trying_every_way(able in prop::collection::vec(prop::collection::vec(0usize..4, 0..4), 0..6)) {
            prop_assert_eq!(filled(4, &able), by_force(0, &able));
        }
    }
}
