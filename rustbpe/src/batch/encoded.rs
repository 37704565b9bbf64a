//! The ids of many texts: groups that threads finish in any order become one row in the order of the texts.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::memory::reserve;
use crate::threads::lock;
use crate::worker::{Id, expected_ids, room_for_ids};

/// The ids of texts, one after the other.
#[derive(Default)]
pub struct Encoded<T> {
    /// Of all texts.
    pub ids: Vec<T>,
    /// Where those of each text end.
    pub ends: Vec<usize>,
}

impl<T: Id> Encoded<T> {
    /// The ids of each text.
    pub fn texts(&self) -> impl Iterator<Item = &[T]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, &end)| &self.ids[begin..end])
    }

    /// Takes over the texts of `other`, which is empty afterwards and may keep its room.
    fn append(&mut self, other: &mut Self) {
        let before = self.ids.len();
        if before == 0 && self.ids.capacity() < other.ids.capacity() {
            std::mem::swap(&mut self.ids, &mut other.ids);
        } else {
            self.ids.extend_from_slice(&other.ids);
            other.ids.clear();
        }
        self.ends.extend(other.ends.drain(..).map(|end| before + end));
    }
}

/// Where threads put the groups that they finished.
///
/// Whoever puts one there appends all whose turn has come, unless another thread is at it: nobody waits while new
/// pages are filled. Emptied groups are used again, so that there are about as many as threads.
#[derive(Default)]
pub struct Outbox<T> {
    finished: Mutex<Finished<T>>,
    encoded: Mutex<Encoded<T>>,
}

#[derive(Default)]
struct Finished<T> {
    groups: BTreeMap<usize, Encoded<T>>,
    /// The number of the group whose turn it is.
    next: usize,
    emptied: Vec<Encoded<T>>,
}

impl<T: Id> Outbox<T> {
    /// Makes room for the ids of so many bytes of text in all.
    pub fn reserve(&self, bytes: usize) {
        let ids = &mut lock(&self.encoded).ids;
        reserve(ids, expected_ids(bytes).saturating_sub(ids.len()));
    }

    /// A group without texts; one that is new has room for the ids of so many bytes.
    pub fn empty(&self, bytes: usize) -> Encoded<T> {
        let emptied = lock(&self.finished).emptied.pop();
        emptied.unwrap_or_else(|| Encoded { ids: room_for_ids(bytes), ends: Vec::new() })
    }

    /// Takes the group of this number in; they are numbered from 0 in the order of their texts.
    pub fn put(&self, number: usize, group: Encoded<T>) {
        lock(&self.finished).groups.insert(number, group);
        if let Ok(mut encoded) = self.encoded.try_lock() {
            self.append_finished(&mut encoded);
        }
    }

    /// All that was put there, up to the first number that was not.
    pub fn into_encoded(self) -> Encoded<T> {
        self.append_finished(&mut lock(&self.encoded));
        self.encoded.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn append_finished(&self, encoded: &mut Encoded<T>) {
        while let Some(mut group) = self.next_finished() {
            encoded.append(&mut group);
            lock(&self.finished).emptied.push(group);
        }
    }

    fn next_finished(&self) -> Option<Encoded<T>> {
        let mut finished = lock(&self.finished);
        let next = finished.next;
        let group = finished.groups.remove(&next)?;
        finished.next += 1;
        Some(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(ids: &[u32], ends: &[usize]) -> Encoded<u32> {
        Encoded { ids: ids.to_vec(), ends: ends.to_vec() }
    }

    #[test]
    fn groups_come_out_in_their_order() {
        let outbox = Outbox::default();
        outbox.put(2, group(&[6], &[1]));
        outbox.put(0, group(&[1, 2, 3], &[2, 2, 3]));
        outbox.put(1, group(&[], &[]));
        outbox.put(4, group(&[9], &[1]));
        assert_eq!(lock(&outbox.encoded).ids, [1, 2, 3, 6]);
        outbox.put(3, group(&[7, 8], &[2]));
        let encoded = outbox.into_encoded();
        let texts: Vec<&[u32]> = encoded.texts().collect();
        assert_eq!(texts, [&[1, 2][..], &[], &[3], &[6], &[7, 8], &[9]]);
    }

    #[test]
    fn emptied_groups_are_used_again() {
        let outbox = Outbox::default();
        outbox.reserve(1 << 20);
        for number in 0..10 {
            let mut group = outbox.empty(300);
            assert!(group.ids.is_empty() && group.ends.is_empty() && group.ids.capacity() >= 100);
            group.ids.push(number as u32);
            group.ends.push(1);
            outbox.put(number, group);
        }
        assert_eq!(lock(&outbox.finished).emptied.len(), 1);
        assert_eq!(outbox.into_encoded().ids, (0..10).collect::<Vec<u32>>());
    }

    #[test]
    fn what_is_finished_while_another_thread_appends_is_not_lost() {
        let outbox = Outbox::default();
        let held = outbox.encoded.lock().unwrap();
        outbox.put(0, group(&[1], &[1]));
        assert!(held.ids.is_empty());
        drop(held);
        assert_eq!(outbox.into_encoded().ids, [1]);
    }
}
