//! Values in shared memory that are known by their numbers, and of which there are as many as were ever asked for.

use core::iter;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use ngx::core::slab::LockedSlabPool;

use super::{NoMemory, Shared};

/// Some values, and further on twice as many each time. None is ever taken away.
pub struct Growing<T: 'static, const N: usize> {
    first: [T; N],
    more: AtomicPtr<More<T>>,
}

struct More<T: 'static> {
    values: &'static [T],
    more: AtomicPtr<More<T>>,
}

impl<T: Default, const N: usize> Default for Growing<T, N> {
    fn default() -> Self {
        Self { first: core::array::from_fn(|_| T::default()), more: AtomicPtr::default() }
    }
}

// SAFETY: it refers to values in the zone.
unsafe impl<T: Shared> Shared for More<T> {}

impl<T: Default + Shared, const N: usize> Growing<T, N> {
    /// The value of that number, if it is there yet.
    pub fn get(&self, number: usize) -> Option<&T> {
        if let Some(value) = self.first.get(number) {
            return Some(value);
        }

        let mut number = number.checked_sub(N)?;

        for more in self.chain() {
            match more.values.get(number) {
                Some(value) => return Some(value),
                None => number = number.checked_sub(more.values.len())?,
            }
        }

        None
    }

    /// The value of that number, and those before it.
    pub fn get_or_add(&self, pool: &LockedSlabPool, number: usize) -> Result<&T, NoMemory> {
        loop {
            match self.get(number) {
                Some(value) => return Ok(value),
                None => self.add(pool)?,
            }
        }
    }

    fn add(&self, pool: &LockedSlabPool) -> Result<(), NoMemory> {
        let (last, len) =
            self.chain().last().map_or((&self.more, N), |last| (&last.more, last.values.len()));

        let values = super::alloc_slice(pool, len.saturating_mul(2), |_| T::default())?;

        let more = super::alloc(pool, More { values, more: AtomicPtr::default() }).inspect_err(
            // SAFETY: they have just been allocated.
            |_| unsafe { super::free(pool, values) },
        )?;

        last.store(ptr::from_ref(more).cast_mut(), Ordering::Release);

        Ok(())
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(self.chain().flat_map(|more| more.values))
    }

    fn chain(&self) -> impl Iterator<Item = &'static More<T>> {
        iter::successors(follow(&self.more), |more| follow(&more.more))
    }

    /// The memory that is still to be allocated for so many values.
    pub fn size_of_missing(&self, n: usize) -> usize {
        let (mut there, mut size) = (self.iter().count(), 0_usize);
        let mut len = self.chain().last().map_or(N, |last| last.values.len());

        while there < n {
            len = len.saturating_mul(2);
            there = there.saturating_add(len);
            size = size
                .saturating_add(super::size_of::<T>(len))
                .saturating_add(super::size_of::<More<T>>(1));
        }

        size
    }
}

fn follow<T>(more: &AtomicPtr<More<T>>) -> Option<&'static More<T>> {
    // SAFETY: the pointer is null, or was made from a reference to what is never freed.
    unsafe { more.load(Ordering::Acquire).as_ref() }
}
