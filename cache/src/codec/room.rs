//! Responsible for a payload as it grows: what is left in the buffer from the payload before is written over, never cleared first,
//! which would cost as much as writing it. It must never know what is written.

/// A buffer that fills from the front.
pub(super) struct Room<'a> {
    bytes: &'a mut Vec<u8>,
    used: usize,
}

impl<'a> Room<'a> {
    /// An empty one, in this buffer, whose bytes count as free.
    pub(super) const fn new(bytes: &'a mut Vec<u8>) -> Self {
        Self { bytes, used: 0 }
    }

    /// Bytes that were taken.
    pub(super) const fn len(&self) -> usize {
        self.used
    }

    /// The next `count` bytes, whatever they hold: the caller must write each of them.
    pub(super) fn take(&mut self, count: usize) -> &mut [u8] {
        let from = self.used;
        self.used += count;
        if self.bytes.len() < self.used {
            self.bytes.resize(self.used, 0);
        }
        self.bytes.get_mut(from..self.used).unwrap_or_default()
    }

    pub(super) fn push(&mut self, byte: u8) {
        self.extend(&[byte]);
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.take(bytes.len()).copy_from_slice(bytes);
    }

    /// Gives back all but the first `count` bytes.
    pub(super) fn truncate(&mut self, count: usize) {
        self.used = self.used.min(count);
    }

    /// All that was taken.
    pub(super) fn written(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    /// All that was taken, to write to.
    pub(super) fn written_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.used).unwrap_or_default()
    }
}

impl Drop for Room<'_> {
    /// Leaves in the buffer what was taken.
    fn drop(&mut self) {
        self.bytes.truncate(self.used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_written_whatever_the_buffer_held() {
        for before in [0, 3, 5, 900] {
            let mut bytes = vec![0xee; before];
            let mut room = Room::new(&mut bytes);
            room.push(1);
            room.extend(&[2, 3, 4]);
            room.take(2).copy_from_slice(&[5, 6]);
            room.truncate(5);
            room.push(7);
            assert_eq!((room.len(), room.written()), (6, &[1, 2, 3, 4, 5, 7][..]));
            drop(room);
            assert_eq!(bytes, [1, 2, 3, 4, 5, 7]);
        }
    }
}
