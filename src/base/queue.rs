//! Long queues.

use std::collections::VecDeque;

/// Appends to a queue that grows by a quarter, not by doubling: it goes round in its block, so that
/// over time all of the block is written to and takes memory.
pub fn push_back<T>(queue: &mut VecDeque<T>, value: T) {
    if queue.len() == queue.capacity() {
        queue.reserve_exact((queue.len() / 4).max(16));
    }
    queue.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_little_more_room_than_it_needs() {
        let mut queue = VecDeque::new();
        for value in 0..10_000 {
            push_back(&mut queue, value);
            assert!(queue.capacity() <= (queue.len() + 16) * 5 / 4);
        }
        assert!(queue.into_iter().eq(0..10_000));
    }
}
