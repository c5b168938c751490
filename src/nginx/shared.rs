//! What is in the shared memory zone: the counters of each upstream and of each of its peers.
//!
//! All is found from a [`Header`]. But for its atomics it never changes, and but for names of peers nothing is freed.
//! nginx maps the zone at one address in all processes, for as long as they live, so that what is in it may refer to
//! each other.

use core::fmt;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use ngx::core::slab::LockedSlabPool;
use ngx::core::SlabPool;

use super::clock;
use super::peers::{Key, Peer, Pinned, Seen, Table};
use super::slab::{self, NoMemory};
use super::workers::{self, Workers};
use crate::counters::Snapshot;
use crate::policy::Msec;

/// The name of what is counted once the table of peers is full.
const OTHER: &[u8] = b"other";

/// How often a worker looks through a full table for a peer that is gone.
const LOOK_INTERVAL: Msec = 1000;

/// From where all is found.
pub struct Header {
    pool: SlabPool,
    upstreams: AtomicPtr<Upstream>,
    /// For upstreams that there was no memory for.
    spare: &'static Upstream,
    workers: Workers,
}

/// An upstream.
pub struct Upstream {
    next: Option<&'static Upstream>,
    pub name: &'static [u8],
    pool: SlabPool,
    /// How many configurations named it.
    generation: AtomicU32,
    peers: Table,
    other: &'static Peer,
    /// Whether anything was counted as of the others.
    has_other: AtomicBool,
    /// Set when it was first found full.
    full: AtomicBool,
    /// Set when there was first no memory for a peer.
    no_memory: AtomicBool,
    /// When a worker last looked through a full table.
    looked: AtomicU64,
}

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

impl Upstream {
    fn new(
        pool: &SlabPool,
        locked: &LockedSlabPool,
        next: Option<&'static Self>,
        name: &[u8],
        capacity: usize,
    ) -> Result<&'static Self, NoMemory> {
        let name = slab::alloc_bytes(locked, name)?;

        let upstream = Self {
            next,
            name,
            pool: pool.clone(),
            generation: AtomicU32::new(0),
            peers: Table::new(locked, capacity)?,
            other: Peer::new(locked, name, OTHER)?,
            has_other: AtomicBool::new(false),
            full: AtomicBool::new(false),
            no_memory: AtomicBool::new(false),
            looked: AtomicU64::new(0),
        };

        slab::alloc(locked, upstream)
    }

    /// The memory that an upstream with so many peers takes at the most.
    pub fn size_of(peers: usize, workers: usize) -> usize {
        slab::size_of::<Self>(1)
            .saturating_add(slab::size_of::<u8>(128))
            .saturating_add(Table::size_of(peers))
            .saturating_add(Peer::size_of(workers).saturating_mul(peers.saturating_add(1)))
    }

    /// The memory that is still to be allocated for these peers, and as many as there is to be room for.
    pub fn size_of_missing<'a>(
        &self,
        addresses: impl Iterator<Item = &'a [u8]>,
        capacity: usize,
        workers: usize,
    ) -> usize {
        let _lock = self.pool.lock();

        let new = addresses.filter(|address| self.peers.find(Key::new(address)).is_none()).count();
        let known = self.peers.peers().count();
        let places = self.peers.capacity();
        let peers = known.saturating_add(new).max(capacity).max(places);

        let table = match peers.saturating_sub(places) {
            0 => 0,
            more => Table::size_of(more.next_power_of_two()),
        };

        Peer::size_of(workers).saturating_mul(peers.saturating_sub(known)).saturating_add(table)
    }

    /// Sees to it that each of the peers that the configuration names has a place of its own.
    pub fn configure<'a>(
        &'static self,
        addresses: impl Iterator<Item = &'a [u8]> + Clone,
        capacity: usize,
    ) -> Result<(), NoMemory> {
        let locked = self.pool.lock();
        let generation = self.generation.load(Ordering::Relaxed).wrapping_add(1);

        // before a place is looked for, so that none of them has to give up its own
        for peer in addresses.clone().filter_map(|address| self.peers.find(Key::new(address))) {
            peer.set_named(generation);
        }

        self.grow(&locked, capacity)?;

        for address in addresses {
            self.configured_peer(&locked, Key::new(address), generation)?.set_named(generation);
        }

        self.generation.store(generation, Ordering::Relaxed);

        Ok(())
    }

    fn configured_peer(
        &'static self,
        locked: &LockedSlabPool,
        key: Key<'_>,
        generation: u32,
    ) -> Result<&'static Peer, NoMemory> {
        if let Some(peer) = self.peers.find(key) {
            return Ok(peer);
        }

        if let Some(peer) = self.add_peer(locked, key, generation)? {
            return Ok(peer);
        }

        // those that are gone have connections yet
        self.grow(locked, self.peers.capacity().saturating_add(1))?;
        self.peers.add(locked, self.name, key)?.ok_or(NoMemory)
    }

    fn grow(&self, locked: &LockedSlabPool, capacity: usize) -> Result<(), NoMemory> {
        match capacity.saturating_sub(self.peers.capacity()) {
            0 => Ok(()),
            more => self.peers.add_capacity(locked, more.next_power_of_two().max(16)),
        }
    }

    /// Adds a peer, if need be in the place of one that is gone.
    fn add_peer(
        &'static self,
        locked: &LockedSlabPool,
        key: Key<'_>,
        generation: u32,
    ) -> Result<Option<&'static Peer>, NoMemory> {
        if let Some(peer) = self.peers.add(locked, self.name, key)? {
            return Ok(Some(peer));
        }

        let peer = self.peers.replace(locked, key, generation, self.other)?;

        if peer.is_some() {
            self.has_other.store(true, Ordering::Relaxed);
        }

        Ok(peer)
    }

    /// The peer of that name, which is added when it is new, or the others when there is no room for it.
    pub fn peer(&'static self, name: &[u8]) -> Pinned {
        let key = Key::new(name);

        match self.peers.see(key) {
            Seen::Peer(peer) => peer,
            Seen::Maybe => self.look_closer(key),
            Seen::Nothing if self.is_worth_a_look() => self.look_closer(key),
            Seen::Nothing => self.one_of_many(),
        }
    }

    /// Whether there is room for a peer, or could be.
    fn is_worth_a_look(&self) -> bool {
        if !self.peers.is_full() {
            return true;
        }

        let now = clock::event_time();
        let looked = self.looked.load(Ordering::Relaxed);

        if looked != 0 && now.saturating_sub(looked) < LOOK_INTERVAL {
            return false;
        }

        self.looked.store(now, Ordering::Relaxed);

        true
    }

    #[cold]
    fn look_closer(&'static self, key: Key<'_>) -> Pinned {
        if !workers::has_number() {
            return self.others();
        }

        match self.find_or_add(key) {
            Ok(Some(peer)) => peer,
            Ok(None) => self.one_of_many(),
            Err(NoMemory) => {
                if !self.no_memory.swap(true, Ordering::Relaxed) {
                    ::log::error!(
                        "no memory in shared memory zone for peers of upstream \"{self}\", \
                         they count as one"
                    );
                }

                self.others()
            }
        }
    }

    fn find_or_add(&'static self, key: Key<'_>) -> Result<Option<Pinned>, NoMemory> {
        let locked = self.pool.lock();
        let generation = self.generation.load(Ordering::Relaxed);

        // another process may have added it meanwhile
        let peer = match self.peers.find(key) {
            Some(peer) => Some(peer),
            None => self.add_peer(&locked, key, generation)?,
        };

        peer.map(|peer| peer.pin_locked(&locked)).transpose()
    }

    fn one_of_many(&'static self) -> Pinned {
        if !self.full.swap(true, Ordering::Relaxed) {
            ::log::warn!(
                "upstream \"{self}\" has had too many peers to count each, the others count as one"
            );
        }

        self.others()
    }

    /// The others, which are never given up.
    fn others(&'static self) -> Pinned {
        self.has_other.store(true, Ordering::Relaxed);

        let pinned = self.other.pin().or_else(|| {
            workers::has_number().then(|| self.other.pin_locked(&self.pool.lock()).ok())?
        });

        pinned.unwrap_or_else(|| self.other.unpinned())
    }

    /// The peers in the table, and the others. The caller has the lock.
    fn all_peers(&'static self) -> impl Iterator<Item = &'static Peer> {
        self.peers.peers().chain([self.other])
    }

    /// Takes the figures of each peer, and of the others if there were any; meanwhile none are moved.
    pub fn each_peer(&self, mut each: impl FnMut(&[u8], Snapshot) -> Option<()>) -> Option<()> {
        let _lock = self.pool.lock();
        let others = self.has_other.load(Ordering::Relaxed).then_some(self.other);

        self.peers.peers().chain(others).try_for_each(|peer| each(peer.name(), peer.snapshot()))
    }

    /// Takes over what was counted in a zone that is replaced, and whose workers are about to end.
    pub fn absorb_from(&'static self, header: &Header) {
        let Some(before) = header.find(self.name) else {
            return;
        };

        let locked = self.pool.lock();

        let _ = before.each_peer(|name, figures| {
            let key = Key::new(name);

            let peer = match self.peers.find(key) {
                Some(peer) => Some(peer),
                None if name == OTHER => None,
                None => self.peers.add(&locked, self.name, key).ok().flatten(),
            };

            match peer {
                Some(peer) => peer.absorb(&figures),
                None => {
                    self.other.absorb(&figures);
                    self.has_other.store(true, Ordering::Relaxed);
                }
            }

            Some(())
        });

        self.full.store(before.full.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.escape_ascii().fmt(f)
    }
}
