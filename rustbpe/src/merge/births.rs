//! The pairs that a merge makes: the new token with each token that it now stands beside.

use super::Pair;

/// What is known of the pairs with one neighbour.
#[derive(Clone, Copy, Default)]
struct Birth {
    count: u64,
    places: u32,
    /// Where the next place goes.
    next: u32,
}

/// Pairs of a new token with those on one side of it, gathered while the merge is under way.
#[derive(Default)]
pub struct Births {
    /// By neighbour.
    births: Vec<Birth>,
    /// Neighbours that were met, in the order of their first places.
    met: Vec<u32>,
    /// Each place with the neighbour that is there, ascending.
    places: Vec<(u32, u32)>,
}

impl Births {
    /// Makes room for neighbours up to `token`.
    pub fn make_room(&mut self, token: u32) {
        self.births.resize(token as usize + 1, Birth::default());
    }

    /// The new token meets `neighbour` at `place`, `weight` times. That it may become part of another new token
    /// in the same step is seen when the pair comes up, as with all stale places.
    #[inline]
    pub fn add(&mut self, neighbour: u32, place: u32, weight: u64) {
        let birth = &mut self.births[neighbour as usize];
        if birth.places == 0 {
            self.met.push(neighbour);
        }
        birth.count += weight;
        birth.places += 1;
        self.places.push((place, neighbour));
    }

    /// Hands each pair to `take`, with its count and where in `pool` its places are, and begins anew.
    pub fn settle(
        &mut self,
        pool: &mut Vec<u32>,
        pair_with: impl Fn(u32) -> Pair,
        mut take: impl FnMut(u64, Pair, u32, u32),
    ) {
        let start = pool.len();
        let mut next = start as u32;
        for &neighbour in &self.met {
            let birth = &mut self.births[neighbour as usize];
            birth.next = next;
            take(birth.count, pair_with(neighbour), next, birth.places);
            next += birth.places;
        }
        pool.resize(start + self.places.len(), 0);
        for &(place, neighbour) in &self.places {
            let birth = &mut self.births[neighbour as usize];
            pool[birth.next as usize] = place;
            birth.next += 1;
        }
        for neighbour in self.met.drain(..) {
            self.births[neighbour as usize] = Birth::default();
        }
        self.places.clear();
    }
}
