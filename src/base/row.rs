//! Long rows of bounded length.

/// From here on a row has room for all that it may hold.
const LONG: usize = 1 << 14;

/// Adds to a row of at most `most`; `false` if there is no room.
///
/// A block that grows is there twice for a while. One that is large takes no more memory than was
/// written to, so a long row gets all of its room at once.
pub fn push_within<T>(row: &mut Vec<T>, value: T, most: usize) -> bool {
    if row.len() >= most {
        return false;
    }
    if row.len() == row.capacity() && row.len() >= LONG {
        row.reserve_exact(most - row.len());
    }
    row.push(value);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_row_gets_its_room_at_once() {
        let (mut row, most) = (Vec::new(), LONG * 3);
        let taken = (0..most + 5).filter(|at| push_within(&mut row, *at, most)).count();
        assert_eq!((taken, row.len()), (most, most));
        assert!(row.capacity() < most + LONG);
    }
}
