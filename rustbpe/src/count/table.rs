//! A hash table from the keys of short pieces to their counts.

/// A table is made larger when this part of it, in eighths, is full.
const FULL_EIGHTHS: usize = 6;
const FIRST_SLOTS: usize = 1 << 12;

/// A key with its count; no count, no key.
#[derive(Clone, Copy, Default)]
#[repr(align(32))]
pub struct Slot {
    /// The piece.
    pub key: u128,
    /// How often it was seen.
    pub count: u64,
}

/// Keys and counts in the slots of one array: a key is in the first free one at or after its hash.
pub struct ShortTable {
    slots: Vec<Slot>,
    used: usize,
}

impl Default for ShortTable {
    fn default() -> Self {
        Self::new(FIRST_SLOTS)
    }
}

impl ShortTable {
    /// An empty table; `slots` is a power of two.
    fn new(slots: usize) -> Self {
        Self { slots: vec![Slot::default(); slots], used: 0 }
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.used
    }

    /// The count in the slot where the search for a key begins.
    #[inline]
    pub fn first_count(&self, key: u128) -> u64 {
        self.slots[hash(key) as usize & (self.slots.len() - 1)].count
    }

    /// Adds to the count of a key.
    #[inline]
    pub fn add(&mut self, key: u128, count: u64) {
        let mask = self.slots.len() - 1;
        let mut at = hash(key) as usize & mask;
        loop {
            let slot = &mut self.slots[at & mask];
            if slot.key == key {
                slot.count += count;
                return;
            }
            if slot.count == 0 {
                *slot = Slot { key, count };
                self.used += 1;
                if self.used * 8 > self.slots.len() * FULL_EIGHTHS {
                    self.grow();
                }
                return;
            }
            at += 1;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let mut larger = Self::new(2 * self.slots.len());
        for slot in self.filled() {
            larger.add(slot.key, slot.count);
        }
        *self = larger;
    }

    /// Each key with its count.
    pub fn filled(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.count != 0)
    }
}

/// Both halves of the 128-bit product of both halves, each with random bits mixed in.
#[inline]
fn hash(key: u128) -> u64 {
    let low = key as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let high = (key >> 64) as u64 ^ 0xd1b5_4a32_d192_ed03;
    let product = u128::from(low) * u128::from(high);
    (product >> 64) as u64 ^ product as u64
}
