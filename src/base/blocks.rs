//! Long rows whose length nobody knows before.

/// Entries of a block.
const BLOCK: usize = 1 << 12;

/// A row that grows by blocks: a `Vec` that grows is there twice for a while, and has room for up to as much
/// again, which counts where there are hundreds of thousands.
#[derive(Debug)]
pub struct Blocks<T>(Vec<Vec<T>>);

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Blocks<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * BLOCK + last.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one at this place.
    #[inline]
    pub fn get(&self, at: usize) -> Option<&T> {
        self.0.get(at / BLOCK)?.get(at % BLOCK)
    }

    /// The one at this place, to be changed.
    #[inline]
    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.0.get_mut(at / BLOCK)?.get_mut(at % BLOCK)
    }

    /// Adds one behind the others.
    pub fn push(&mut self, value: T) {
        match self.0.last_mut() {
            Some(last) if last.len() < BLOCK => last.push(value),
            // The first one grows as it may: most captures are short.
            None => self.0.push(vec![value]),
            Some(_) => {
                let mut block = Vec::with_capacity(BLOCK);
                block.push(value);
                self.0.push(block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_at_its_place() {
        let (mut row, count) = (Blocks::default(), BLOCK * 3 + 5);
        assert!(row.is_empty());
        for at in 0..count {
            assert_eq!(row.len(), at);
            row.push(at);
        }
        assert!((0..count).all(|at| row.get(at) == Some(&at)));
        assert_eq!((row.len(), row.get(count)), (count, None));
        *row.get_mut(BLOCK).unwrap() = 7;
        assert_eq!((row.get(BLOCK - 1), row.get(BLOCK)), (Some(&(BLOCK - 1)), Some(&7)));
    }

    #[test]
    fn nothing_that_stands_is_moved() {
        let mut row = Blocks::default();
        (0..BLOCK).for_each(|at| row.push(at));
        let first: *const usize = row.get(0).unwrap();
        (0..BLOCK * 2).for_each(|at| row.push(at));
        assert!(std::ptr::eq(first, row.get(0).unwrap()));
    }
}
