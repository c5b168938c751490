//! What is in the shared memory zone: the counters of each upstream and of each of its peers.
//!
//! All is found from a [`Header`]. It is never freed, and but for its atomics never changed. nginx maps the zone at one
//! address in all processes, for as long as they live, so that what is in it may refer to each other.

use core::alloc::Layout;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::mem;
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::hash::DefaultHasher;
use std::io;

use ngx::allocator::Allocator;
use ngx::core::slab::LockedSlabPool;
use ngx::core::SlabPool;

use crate::counters::{Counters, Snapshot};
use crate::outcome::Close;

/// The name of what is counted once the table of peers is full.
const OTHER: &[u8] = b"other";

/// The number that this process has in the zone.
static WORKER: AtomicUsize = AtomicUsize::new(usize::MAX);

/// From where all is found.
pub struct Header {
    pool: SlabPool,
    upstreams: AtomicPtr<Upstream>,
    /// The worker processes, by their numbers.
    workers: &'static [AtomicI32],
}

/// An upstream.
pub struct Upstream {
    header: &'static Header,
    next: Option<&'static Upstream>,
    pub name: &'static [u8],
    /// A hash table of peers.
    peers: &'static [AtomicPtr<Peer>],
    other: &'static Peer,
    /// Set when it was first found full.
    full: AtomicBool,
}

/// A peer.
pub struct Peer {
    pub upstream: &'static [u8],
    pub name: &'static [u8],
    pub counters: Counters,
    /// Idle connections, by the worker that has them: those of a killed worker are gone.
    idle: &'static [AtomicU32],
}

/// There is no memory left in the zone.
#[derive(Debug)]
pub struct NoMemory;

impl Header {
    /// Puts a header into a new zone.
    pub fn new(pool: SlabPool, workers: usize) -> Result<&'static Self, NoMemory> {
        let locked = pool.lock();
        let workers = alloc_slice(&locked, workers, |_| AtomicI32::new(0))?;

        alloc(&locked, Self { pool: pool.clone(), upstreams: AtomicPtr::default(), workers })
    }

    /// The memory that a header for so many workers takes.
    pub fn size_of(workers: usize) -> usize {
        size_of_slab::<Self>(1).saturating_add(size_of_slab::<AtomicI32>(workers))
    }

    /// How much of the zone is taken.
    pub fn used(&self) -> usize {
        let workers = self.workers.len();

        self.upstreams().fold(Self::size_of(workers), |used, upstream| {
            used.saturating_add(Upstream::size_of(upstream.peers.len(), workers))
        })
    }

    /// The upstream of that name, if there is one with room for so many peers.
    pub fn find(&self, name: &[u8], capacity: usize) -> Option<&'static Upstream> {
        self.upstreams()
            .find(|upstream| upstream.name == name)
            .filter(|upstream| upstream.peers.len() >= capacity)
    }

    pub fn upstreams(&self) -> impl Iterator<Item = &'static Upstream> {
        // SAFETY: the pointer is null, or was made from a reference to an upstream in the zone.
        let first = unsafe { self.upstreams.load(Ordering::Acquire).as_ref() };

        core::iter::successors(first, |upstream| upstream.next)
    }

    /// The upstream of that name with room for so many peers; it is made from the one that was there before.
    pub fn upstream(
        &'static self,
        name: &[u8],
        capacity: usize,
    ) -> Result<&'static Upstream, NoMemory> {
        match self.find(name, capacity) {
            Some(upstream) => Ok(upstream),
            None => self.add_upstream(name, capacity, self.find(name, 0)),
        }
    }

    fn add_upstream(
        &'static self,
        name: &[u8],
        capacity: usize,
        before: Option<&'static Upstream>,
    ) -> Result<&'static Upstream, NoMemory> {
        let locked = self.pool.lock();

        let name = alloc_bytes(&locked, name)?;
        let other = match before {
            Some(upstream) => upstream.other,
            None => self.add_peer(&locked, name, OTHER)?,
        };

        let upstream = alloc(
            &locked,
            Upstream {
                header: self,
                next: self.upstreams().next(),
                name,
                peers: alloc_slice(&locked, capacity, |_| AtomicPtr::default())?,
                other,
                full: AtomicBool::new(before.is_some_and(Upstream::is_full)),
            },
        )?;

        for peer in before.into_iter().flat_map(Upstream::known_peers) {
            if let Some(Slot::Free(slot)) = upstream.slot(peer.name) {
                slot.store(ptr::from_ref(peer).cast_mut(), Ordering::Release);
            }
        }

        self.upstreams.store(ptr::from_ref(upstream).cast_mut(), Ordering::Release);

        Ok(upstream)
    }

    fn add_peer(
        &self,
        pool: &LockedSlabPool,
        upstream: &'static [u8],
        name: &[u8],
    ) -> Result<&'static Peer, NoMemory> {
        let name = alloc_bytes(pool, name)?;
        let idle = alloc_slice(pool, self.workers.len(), |_| AtomicU32::new(0))?;

        alloc(pool, Peer { upstream, name, counters: Counters::default(), idle })
    }

    /// Gives this process a number, and with it gauges of its own; false when there is none left.
    pub fn enter(&self) -> bool {
        self.forget_dead_workers();

        let _lock = self.pool.lock();

        let Some(number) = self.workers.iter().position(|pid| pid.load(Ordering::Relaxed) == 0)
        else {
            return false;
        };

        if let Some(worker) = self.workers.get(number) {
            worker.store(process_id(), Ordering::Release);
        }

        WORKER.store(number, Ordering::Relaxed);

        true
    }

    /// Takes the number back from this process, which ends.
    pub fn leave(&self) {
        let number = WORKER.swap(usize::MAX, Ordering::Relaxed);

        if let Some(worker) = self.workers.get(number) {
            self.forget(number);
            worker.store(0, Ordering::Release);
        }
    }

    /// Takes the numbers back from processes that were killed.
    pub fn forget_dead_workers(&self) {
        let _lock = self.pool.lock();

        for (number, worker) in self.workers.iter().enumerate() {
            let pid = worker.load(Ordering::Acquire);

            if pid != 0 && !is_alive(pid) {
                self.forget(number);
                worker.store(0, Ordering::Release);
            }
        }
    }

    /// The idle connections of a worker went with it.
    fn forget(&self, number: usize) {
        for peer in self.upstreams().flat_map(Upstream::all_peers) {
            let idle = peer.idle.get(number).map_or(0, |idle| idle.swap(0, Ordering::AcqRel));

            if idle > 0 {
                peer.counters.close_many(Close::Shutdown, idle.into());
            }
        }
    }
}

/// Where a peer is in the table, or where it could be.
enum Slot {
    Taken(&'static Peer),
    Free(&'static AtomicPtr<Peer>),
}

impl Upstream {
    /// The memory that an upstream with so many peers takes at the most.
    pub fn size_of(peers: usize, workers: usize) -> usize {
        let table = size_of_slab::<AtomicPtr<Peer>>(peers);
        // a name, whose length is not known yet, is that of a unix socket at the most
        let name = size_of_slab::<u8>(128);
        let peer = size_of_slab::<Peer>(1)
            .saturating_add(size_of_slab::<AtomicU32>(workers))
            .saturating_add(name);

        size_of_slab::<Self>(1)
            .saturating_add(name)
            .saturating_add(table)
            .saturating_add(peer.saturating_mul(peers.saturating_add(1)))
    }

    /// The peer of that name, which is added when it is new, or the others when there is no room for it.
    pub fn peer(&'static self, name: &[u8]) -> &'static Peer {
        match self.slot(name) {
            Some(Slot::Taken(peer)) => peer,
            Some(Slot::Free(_)) => self.add_peer(name).unwrap_or(self.other),
            None => self.other,
        }
    }

    /// Whether there was no room for a peer before.
    fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whether this is the first time that there was no room for a peer.
    pub fn overflows(&self, peer: &Peer) -> bool {
        ptr::eq(peer, self.other) && !self.full.swap(true, Ordering::Relaxed)
    }

    fn add_peer(&'static self, name: &[u8]) -> Option<&'static Peer> {
        let locked = self.header.pool.lock();

        // another process may have added it meanwhile
        match self.slot(name)? {
            Slot::Taken(peer) => Some(peer),
            Slot::Free(slot) => {
                let peer = self.header.add_peer(&locked, self.name, name).ok()?;
                slot.store(ptr::from_ref(peer).cast_mut(), Ordering::Release);
                Some(peer)
            }
        }
    }

    fn slot(&self, name: &[u8]) -> Option<Slot> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);

        let capacity = self.peers.len();
        let first = usize::try_from(hasher.finish()).ok()?.checked_rem(capacity)?;
        let (before, after) = self.peers.split_at_checked(first)?;

        after.iter().chain(before).find_map(|slot| {
            // SAFETY: the pointer is null, or was made from a reference to a peer in the zone.
            match unsafe { slot.load(Ordering::Acquire).as_ref() } {
                None => Some(Slot::Free(slot)),
                Some(peer) if peer.name == name => Some(Slot::Taken(peer)),
                Some(_) => None,
            }
        })
    }

    /// The peers in the table.
    pub fn known_peers(&self) -> impl Iterator<Item = &'static Peer> {
        // SAFETY: the pointer is null, or was made from a reference to a peer in the zone.
        self.peers.iter().filter_map(|slot| unsafe { slot.load(Ordering::Acquire).as_ref() })
    }

    /// The peers in the table, and the others if there were any.
    pub fn shown_peers(&self) -> impl Iterator<Item = &'static Peer> {
        let others = self.is_full().then_some(self.other);

        self.known_peers().chain(others)
    }

    /// The peers in the table, and the others.
    pub fn all_peers(&self) -> impl Iterator<Item = &'static Peer> {
        self.known_peers().chain([self.other])
    }

    /// Takes over what was counted in a zone that is replaced, and whose workers are about to end.
    pub fn absorb_from(&'static self, header: &Header) {
        let Some(before) = header.find(self.name, 0) else {
            return;
        };

        for peer in before.known_peers() {
            self.peer(peer.name).absorb(peer);
        }

        self.other.absorb(before.other);
        self.full.store(before.is_full(), Ordering::Relaxed);
    }
}

impl Peer {
    /// A connection has come to the cache of this process.
    pub fn enter_cache(&self) {
        self.count_idle(|idle| idle.wrapping_add(1));
    }

    /// A connection has left the cache of this process.
    pub fn leave_cache(&self) {
        self.count_idle(|idle| idle.wrapping_sub(1));
    }

    fn count_idle(&self, change: impl FnOnce(u32) -> u32) {
        if let Some(idle) = self.idle.get(WORKER.load(Ordering::Relaxed)) {
            // no other process writes to it while this one is alive
            idle.store(change(idle.load(Ordering::Relaxed)), Ordering::Release);
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        let idle = self.idle.iter().map(|idle| u64::from(idle.load(Ordering::Acquire))).sum();

        self.counters.snapshot(idle)
    }

    fn absorb(&self, before: &Peer) {
        let snapshot = before.snapshot();

        self.counters.absorb(&snapshot);
        self.counters.close_many(Close::Shutdown, snapshot.connections);
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.escape_ascii().fmt(f)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, upstream) = (self.name.escape_ascii(), self.upstream.escape_ascii());

        write!(f, "{address} of upstream \"{upstream}\"")
    }
}

fn process_id() -> i32 {
    // SAFETY: the call has no precondition.
    unsafe { libc::getpid() }
}

fn is_alive(pid: i32) -> bool {
    // SAFETY: signal 0 is not sent.
    let rc = unsafe { libc::kill(pid, 0) };

    rc == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

fn alloc<T>(pool: &LockedSlabPool, value: T) -> Result<&'static T, NoMemory> {
    let memory = pool.allocate(Layout::new::<T>()).or(Err(NoMemory))?.cast::<T>();

    // SAFETY: the memory is for a value, and is never freed.
    unsafe { memory.write(value) };
    // SAFETY: as above.
    Ok(unsafe { memory.as_ref() })
}

fn alloc_slice<T>(
    pool: &LockedSlabPool,
    len: usize,
    value: impl Fn(usize) -> T,
) -> Result<&'static [T], NoMemory> {
    let layout = Layout::array::<T>(len).or(Err(NoMemory))?;
    let memory = pool.allocate(layout).or(Err(NoMemory))?.cast::<T>();

    for i in 0..len {
        // SAFETY: the memory is for so many values, and is never freed.
        unsafe { memory.add(i).write(value(i)) };
    }

    // SAFETY: as above.
    Ok(unsafe { slice::from_raw_parts(memory.as_ptr(), len) })
}

fn alloc_bytes(pool: &LockedSlabPool, bytes: &[u8]) -> Result<&'static [u8], NoMemory> {
    alloc_slice(pool, bytes.len(), |i| bytes.get(i).copied().unwrap_or_default())
}

/// What the slab allocator takes for so many values: a power of two, or whole pages.
fn size_of_slab<T>(len: usize) -> usize {
    const PAGE: usize = 4096;

    let size = mem::size_of::<T>().saturating_mul(len);

    if size > PAGE / 2 {
        size.checked_next_multiple_of(PAGE).unwrap_or(usize::MAX)
    } else {
        size.next_power_of_two().max(8)
    }
}
