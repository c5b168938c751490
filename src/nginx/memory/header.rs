//! From where all in the zone is found: the upstreams, and the workers.
//!
//! But for its atomics nothing here changes, and but for names of peers nothing is freed. nginx maps the zone at one
//! address in all processes, for as long as they live, so that what is in it may refer to each other.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use ngx::core::SlabPool;

use super::slab::{self, NoMemory, Shared};
use super::upstream::Upstream;
use super::workers::Workers;

/// From where all is found.
pub struct Header {
    pool: SlabPool,
    upstreams: AtomicPtr<Upstream>,
    /// For upstreams that there was no memory for.
    spare: &'static Upstream,
    workers: Workers,
}

// SAFETY: it refers to upstreams in the zone, and to the zone's pool.
unsafe impl Shared for Header {}

impl Header {
    /// Puts a header into a new zone.
    pub fn new(pool: SlabPool) -> Result<&'static Self, NoMemory> {
        let locked = pool.lock();
        let spare = Upstream::new(&pool, &locked, None, b"", 0)?;

        // what it counts is not shown, and not missed
        spare.full.store(true, Ordering::Relaxed);

        let header = Self {
            pool: pool.clone(),
            upstreams: AtomicPtr::default(),
            spare,
            workers: Workers::default(),
        };

        slab::alloc(&locked, header)
    }

    /// The memory that a header for so many workers takes.
    pub fn size_of(workers: usize) -> usize {
        slab::size_of::<Self>(1)
            .saturating_add(Upstream::size_of(0, workers))
            .saturating_add(Workers::default().size_of_missing(workers))
    }

    /// The memory that is still to be allocated for so many workers.
    pub fn size_of_missing(&self, workers: usize) -> usize {
        let _lock = self.pool.lock();

        self.upstreams()
            .flat_map(Upstream::all_peers)
            .fold(self.workers.size_of_missing(workers), |size, peer| {
                size.saturating_add(peer.size_of_missing(workers))
            })
    }

    /// The memory that nothing was allocated of yet.
    pub fn room(&self) -> usize {
        let _lock = self.pool.lock();

        self.pool.as_ref().pfree.saturating_mul(slab::page())
    }

    pub fn find(&self, name: &[u8]) -> Option<&'static Upstream> {
        self.upstreams().find(|upstream| upstream.name == name)
    }

    pub fn upstreams(&self) -> impl Iterator<Item = &'static Upstream> {
        // SAFETY: the pointer is null, or was made from a reference to an upstream in the zone.
        let first = unsafe { self.upstreams.load(Ordering::Acquire).as_ref() };

        core::iter::successors(first, |upstream| upstream.next)
    }

    /// The upstream of that name; a new one has room for so many peers.
    pub fn upstream(&self, name: &[u8], capacity: usize) -> Result<&'static Upstream, NoMemory> {
        match self.find(name) {
            Some(upstream) => Ok(upstream),
            None => self.add_upstream(name, capacity),
        }
    }

    fn add_upstream(&self, name: &[u8], capacity: usize) -> Result<&'static Upstream, NoMemory> {
        let locked = self.pool.lock();
        let next = self.upstreams().next();
        let upstream = Upstream::new(&self.pool, &locked, next, name, capacity)?;

        self.upstreams.store(ptr::from_ref(upstream).cast_mut(), Ordering::Release);

        Ok(upstream)
    }

    /// What an upstream counts with that there is no memory for. It is not shown.
    pub fn spare(&self) -> &'static Upstream {
        self.spare
    }

    /// Gives this process a number, and with it gauges of its own.
    pub fn enter(&self) -> Result<(), NoMemory> {
        self.forget_dead_workers();

        self.workers.enter(&self.pool.lock())
    }

    /// Takes the number back from this process, which ends.
    pub fn leave(&self) {
        let _lock = self.pool.lock();

        self.workers.leave(|number| self.forget(number));
    }

    /// Takes the numbers back from processes that were killed.
    pub fn forget_dead_workers(&self) {
        let _lock = self.pool.lock();

        self.workers.forget_dead(|number| self.forget(number));
    }

    /// What a worker had went with it.
    fn forget(&self, number: usize) {
        for peer in self.upstreams().chain([self.spare]).flat_map(Upstream::all_peers) {
            peer.forget(number);
        }
    }
}
