//! A table of pieces in which a piece's hash alone says where it is, so that its memory can be asked for ahead.

use crate::memory::spacious;

/// A piece and its tokens.
pub trait Entry: Copy {
    /// What is where no piece is.
    const FREE: Self;
    /// How many sets a table begins with, and grows to: powers of two.
    const SETS: [usize; 2];
    /// A table grows when it has forgotten more than one piece for so many sets.
    const SETS_PER_LOSS: usize;

    fn is_free(&self) -> bool;

    /// The lowest bits are the number of its set.
    fn hash(&self) -> usize;
}

/// Two pieces, of which the second is the one to be forgotten.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct Set<E>(pub [E; 2]);

/// Pieces and their tokens.
pub struct Table<E> {
    sets: Vec<Set<E>>,
    /// Pieces that were forgotten since the table grew.
    forgotten: usize,
}

impl<E: Entry> Default for Table<E> {
    fn default() -> Self {
        Self { sets: vec![Set([E::FREE; 2]); E::SETS[0]], forgotten: 0 }
    }
}

impl<E: Entry> Table<E> {
    /// Where a piece of this hash is, if it is there.
    #[inline]
    pub fn set(&self, hash: usize) -> &Set<E> {
        &self.sets[hash & (self.sets.len() - 1)]
    }

    #[inline]
    pub fn set_mut(&mut self, hash: usize) -> &mut Set<E> {
        let last = self.sets.len() - 1;
        &mut self.sets[hash & last]
    }

    /// Remembers a piece that is not there.
    pub fn keep(&mut self, entry: E) {
        if self.forgotten > self.sets.len() / E::SETS_PER_LOSS && self.sets.len() < E::SETS[1] {
            self.grow();
        }
        self.put(entry);
    }

    /// How many sets there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    fn put(&mut self, entry: E) {
        let Set([first, second]) = self.set_mut(entry.hash());
        let lost = std::mem::replace(second, std::mem::replace(first, entry));
        self.forgotten += usize::from(!lost.is_free());
    }

    fn grow(&mut self) {
        let count = self.sets.len() * 4;
        let mut sets = spacious(count);
        sets.resize(count, Set([E::FREE; 2]));
        let before = std::mem::replace(&mut self.sets, sets);
        // The first of a set is put last, so that it is the first again.
        for Set([first, second]) in before {
            [second, first].into_iter().filter(|entry| !entry.is_free()).for_each(|entry| self.put(entry));
        }
        self.forgotten = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name and a hash.
    #[derive(Clone, Copy)]
    struct Named(&'static str, usize);

    impl Entry for Named {
        const FREE: Self = Self("", 0);
        const SETS: [usize; 2] = [1 << 3, 1 << 5];
        const SETS_PER_LOSS: usize = 2;

        fn is_free(&self) -> bool {
            self.0.is_empty()
        }

        fn hash(&self) -> usize {
            self.1
        }
    }

    #[test]
    fn the_older_of_two_whose_hashes_end_alike_is_forgotten() {
        let mut table = Table::default();
        let found = |table: &Table<Named>| {
            let Set(entries) = table.set(7 + 5 * Named::SETS[0]);
            ["one", "two", "six"].map(|name| entries.iter().any(|entry| entry.0 == name))
        };
        table.keep(Named("one", 7));
        table.keep(Named("two", 7 + Named::SETS[0]));
        assert_eq!(found(&table), [true, true, false]);
        table.keep(Named("six", 7));
        assert_eq!(found(&table), [false, true, true]);
    }

    #[test]
    fn a_table_grows_when_it_has_forgotten_enough_and_what_it_holds_stays_in_its_order() {
        let mut table = Table::default();
        for _ in 0..7 {
            table.keep(Named("old", 7));
        }
        assert_eq!((table.len(), table.forgotten), (Named::SETS[0], 5));
        table.keep(Named("new", 7));
        assert_eq!((table.len(), table.forgotten), (Named::SETS[1], 1));
        assert_eq!(table.set(7).0.map(|entry| entry.0), ["new", "old"]);
        for _ in 0..100 {
            table.keep(Named("old", 7));
        }
        assert_eq!(table.len(), Named::SETS[1]);
    }
}
