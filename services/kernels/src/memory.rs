//! Memory whose start is aligned to a cache line.

/// The alignment of buffers, and of values within the memory of a run.
pub(crate) const ALIGNMENT: usize = 64;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct CacheLine {
    _bytes: [u8; ALIGNMENT],
}

/// Bytes that start at a cache line. New bytes are 0.
#[derive(Default)]
pub(crate) struct AlignedBytes(Vec<CacheLine>);

impl AlignedBytes {
    /// Grows the memory to at least `bytes`. It may move.
    pub(crate) fn reserve(&mut self, bytes: usize) -> *mut u8 {
        let lines = bytes.div_ceil(ALIGNMENT);
        if self.0.len() < lines {
            self.0.resize(
                lines,
                CacheLine {
                    _bytes: [0; ALIGNMENT],
                },
            );
        }
        self.0.as_mut_ptr().cast()
    }

    /// Sets every bit, which makes all numbers NaN: a kernel that reads what no step wrote then fails its test.
    #[cfg(test)]
    pub(crate) fn fill_with_nan(&mut self) {
        self.0.fill(CacheLine {
            _bytes: [0xff; ALIGNMENT],
        });
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len() * ALIGNMENT
    }
}

/// A fixed array of numbers that starts at a cache line.
pub(crate) struct AlignedArray<T> {
    bytes: AlignedBytes,
    element: std::marker::PhantomData<T>,
}

impl<T: Copy> AlignedArray<T> {
    pub(crate) fn from_slice(values: &[T]) -> Self {
        let mut bytes = AlignedBytes::default();
        let start = bytes.reserve(std::mem::size_of_val(values)).cast::<T>();
        // SAFETY: the memory has room for the values and an alignment of 64.
        unsafe { start.copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        Self {
            bytes,
            element: std::marker::PhantomData,
        }
    }

    pub(crate) fn as_ptr(&self) -> *const T {
        self.bytes.as_ptr().cast()
    }

    /// The size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// Temporary memory of one thread, reused by all steps.
#[derive(Default)]
pub(crate) struct Scratch {
    bytes: AlignedBytes,
    rows: AlignedBytes,
}

impl Scratch {
    /// Returns at least `bytes` bytes with any content that earlier steps left.
    pub(crate) fn take(&mut self, bytes: usize) -> *mut u8 {
        let start = self.bytes.reserve(bytes);
        #[cfg(test)]
        self.bytes.fill_with_nan();
        start
    }

    /// Like [`Self::take`], from a second buffer: a product stores its scaled rows there while the step uses the first.
    pub(crate) fn take_rows(&mut self, bytes: usize) -> *mut u8 {
        let start = self.rows.reserve(bytes);
        #[cfg(test)]
        self.rows.fill_with_nan();
        start
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.rows.len()
    }
}
