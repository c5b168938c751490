//! Values in the slab pool of the shared memory zone.

use core::alloc::Layout;
use core::mem;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::AtomicI32;

use nginx_sys::ngx_pagesize;
use ngx::allocator::Allocator;
use ngx::core::slab::LockedSlabPool;

mod growing;

pub use growing::Growing;

/// There is no memory left in the zone.
#[derive(Debug)]
pub struct NoMemory;

/// What may be put into the zone.
///
/// # Safety
///
/// It refers to nothing but the zone, or to what is at the same place in all processes, such as the zone's pool. What
/// changes of it is atomic, or is done under the lock. There is nothing to do when its memory is freed.
pub unsafe trait Shared {}

// SAFETY: it is a number.
unsafe impl Shared for u8 {}

// SAFETY: it is an atomic number.
unsafe impl Shared for AtomicI32 {}

/// Puts a value into the zone.
pub fn alloc<T: Shared>(pool: &LockedSlabPool, value: T) -> Result<&'static T, NoMemory> {
    let memory = pool.allocate(Layout::new::<T>()).or(Err(NoMemory))?.cast::<T>();

    // SAFETY: the memory is for a value.
    unsafe { memory.write(value) };
    // SAFETY: as above; it is there until `free`, whose caller promises that nobody has this any more.
    Ok(unsafe { memory.as_ref() })
}

/// Puts so many values into the zone.
pub fn alloc_slice<T: Shared>(
    pool: &LockedSlabPool,
    len: usize,
    value: impl Fn(usize) -> T,
) -> Result<&'static [T], NoMemory> {
    let layout = Layout::array::<T>(len).or(Err(NoMemory))?;
    let memory = pool.allocate(layout).or(Err(NoMemory))?.cast::<T>();

    for i in 0..len {
        // SAFETY: the memory is for so many values.
        unsafe { memory.add(i).write(value(i)) };
    }

    // SAFETY: as in `alloc`.
    Ok(unsafe { slice::from_raw_parts(memory.as_ptr(), len) })
}

/// Puts a copy of the bytes into the zone.
pub fn alloc_bytes(pool: &LockedSlabPool, bytes: &[u8]) -> Result<&'static [u8], NoMemory> {
    alloc_slice(pool, bytes.len(), |i| bytes.get(i).copied().unwrap_or_default())
}

/// Gives the memory of a value back.
///
/// # Safety
///
/// The value came from one of the functions above with this pool, and nobody uses it again.
pub unsafe fn free<T: ?Sized>(pool: &LockedSlabPool, value: *const T) {
    // SAFETY: the caller's promise; nothing in the zone has a destructor that does anything.
    let layout = unsafe { Layout::for_value(&*value) };

    if let Some(memory) = NonNull::new(value.cast_mut().cast()) {
        // SAFETY: as above.
        unsafe { pool.deallocate(memory, layout) };
    }
}

/// The size of a page.
pub fn page() -> usize {
    // SAFETY: nginx sets the variable when it starts.
    unsafe { ngx_pagesize }
}

/// What the slab allocator takes for so many values: a power of two, or whole pages.
pub fn size_of<T>(len: usize) -> usize {
    let size = mem::size_of::<T>().saturating_mul(len);

    if size > page() / 2 {
        size.checked_next_multiple_of(page()).unwrap_or(usize::MAX)
    } else {
        size.next_power_of_two().max(8)
    }
}
