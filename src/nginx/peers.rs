//! A peer in shared memory, and the table that it is found in.
//!
//! A peer that no configuration names any more gives its place to another one when there is no other room: its figures
//! are added to those of the others, under the zone's lock. So whoever counts has it pinned, by a gauge of the worker.

use core::fmt;
use core::ops::Deref;
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use nginx_sys::ngx_murmur_hash2;
use ngx::core::slab::LockedSlabPool;

use super::growing::Growing;
use super::slab::{self, NoMemory};
use super::workers;
use crate::counters::{Counters, Snapshot};
use crate::outcome::Close;

/// A peer. Its memory stays that of a peer for ever.
pub struct Peer {
    pub upstream: &'static [u8],
    name: Name,
    pub counters: Counters,
    /// The last configuration of the upstream that named it.
    named: AtomicU32,
    gauges: Growing<Gauges, 16>,
}

/// What a worker has to do with a peer. No other process writes to it while the worker is alive, or it has the lock.
#[derive(Default)]
struct Gauges {
    /// Idle connections; not more than there are pins.
    idle: AtomicU32,
    pins: AtomicU32,
}

/// A peer that stays what it is for as long as there is this.
pub struct Pinned {
    peer: &'static Peer,
    /// None where there was no memory for it: then idle connections are not counted.
    gauges: Option<&'static Gauges>,
}

/// A name that changes under the lock, when nobody has the peer pinned.
struct Name {
    bytes: AtomicPtr<u8>,
    len: AtomicUsize,
}

impl Name {
    fn new(name: &'static [u8]) -> Self {
        Self { bytes: AtomicPtr::new(name.as_ptr().cast_mut()), len: AtomicUsize::new(name.len()) }
    }

    fn get(&self) -> &[u8] {
        let bytes = self.bytes.load(Ordering::Relaxed);

        // SAFETY: these are bytes in the zone, which are freed only when nobody has the peer pinned, nor the lock.
        unsafe { slice::from_raw_parts(bytes, self.len.load(Ordering::Relaxed)) }
    }

    fn set(&self, name: &'static [u8]) {
        self.bytes.store(name.as_ptr().cast_mut(), Ordering::Relaxed);
        self.len.store(name.len(), Ordering::Relaxed);
    }
}

impl Peer {
    pub fn new(
        pool: &LockedSlabPool,
        upstream: &'static [u8],
        name: &[u8],
    ) -> Result<&'static Self, NoMemory> {
        let name = slab::alloc_bytes(pool, name)?;

        let peer = Self {
            upstream,
            name: Name::new(name),
            counters: Counters::default(),
            named: AtomicU32::new(0),
            gauges: Growing::default(),
        };

        // SAFETY: the name has just been allocated.
        slab::alloc(pool, peer).inspect_err(|_| unsafe { slab::free(pool, name) })
    }

    /// The memory that a peer takes for so many workers.
    pub fn size_of(workers: usize) -> usize {
        // a name, whose length is not known yet, is that of a unix socket at the most
        slab::size_of::<Self>(1)
            .saturating_add(slab::size_of::<u8>(128))
            .saturating_add(Growing::<Gauges, 16>::default().size_of_missing(workers))
    }

    pub fn size_of_missing(&self, workers: usize) -> usize {
        self.gauges.size_of_missing(workers)
    }

    /// The caller has the peer pinned, or the zone's lock.
    pub fn name(&self) -> &[u8] {
        self.name.get()
    }

    pub fn set_named(&self, generation: u32) {
        self.named.store(generation, Ordering::Relaxed);
    }

    /// None when this worker has no gauges here yet.
    pub fn pin(&'static self) -> Option<Pinned> {
        let gauges = self.gauges.get(workers::number())?;
        let pins = gauges.pins.load(Ordering::Relaxed).wrapping_add(1);

        // before the caller looks whether the peer is still in its place, as `take` looks for pins after it is not
        gauges.pins.store(pins, Ordering::SeqCst);

        Some(Pinned { peer: self, gauges: Some(gauges) })
    }

    pub fn pin_locked(&'static self, pool: &LockedSlabPool) -> Result<Pinned, NoMemory> {
        self.gauges.get_or_add(pool, workers::number())?;
        self.pin().ok_or(NoMemory)
    }

    /// The peer, where nothing is kept of who has it: for one that is never given up.
    pub fn unpinned(&'static self) -> Pinned {
        Pinned { peer: self, gauges: None }
    }

    fn is_pinned(&self) -> bool {
        self.gauges.iter().any(|gauges| gauges.pins.load(Ordering::SeqCst) != 0)
    }

    pub fn snapshot(&self) -> Snapshot {
        let idle = |gauges: &Gauges| u64::from(gauges.idle.load(Ordering::Acquire));

        self.counters.snapshot(self.gauges.iter().map(idle).sum())
    }

    /// What a worker that is no more has left.
    pub fn forget(&self, worker: usize) {
        let Some(gauges) = self.gauges.get(worker) else {
            return;
        };

        let idle = gauges.idle.swap(0, Ordering::AcqRel);

        if idle > 0 {
            self.counters.close_many(Close::Shutdown, idle.into());
        }

        gauges.pins.store(0, Ordering::Release);
    }

    /// Adds what was counted of a peer in a zone whose workers are about to end.
    pub fn absorb(&self, before: &Snapshot) {
        self.counters.absorb(before);
        self.counters.close_many(Close::Shutdown, before.connections);
    }

    /// Begins anew with another name. The caller has the lock, and nobody else has the peer.
    fn become_another(&self, pool: &LockedSlabPool, name: &'static [u8], others: &Self) {
        let old: *const [u8] = self.name();

        others.absorb(&self.snapshot());

        // SAFETY: these are atomics in shared memory, which nobody else uses at this time.
        unsafe { ptr::from_ref(&self.counters).cast_mut().write(Counters::default()) };

        self.name.set(name);

        // SAFETY: the name was allocated with the peer, or put in the place of that one here.
        unsafe { slab::free(pool, old) };
    }
}

impl Pinned {
    /// A connection has come to the cache of this process.
    pub fn enter_cache(&self) {
        self.count_idle(|idle| idle.wrapping_add(1));
    }

    /// A connection has left the cache of this process.
    pub fn leave_cache(&self) {
        self.count_idle(|idle| idle.wrapping_sub(1));
    }

    fn count_idle(&self, change: impl FnOnce(u32) -> u32) {
        if let Some(gauges) = self.gauges {
            gauges.idle.store(change(gauges.idle.load(Ordering::Relaxed)), Ordering::Release);
        }
    }
}

impl Deref for Pinned {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        self.peer
    }
}

impl Clone for Pinned {
    fn clone(&self) -> Self {
        self.peer.pin().unwrap_or_else(|| self.peer.unpinned())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(gauges) = self.gauges {
            let pins = gauges.pins.load(Ordering::Relaxed).wrapping_sub(1);

            // after all that was counted
            gauges.pins.store(pins, Ordering::Release);
        }
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, upstream) = (self.name().escape_ascii(), self.upstream.escape_ascii());

        write!(f, "{address} of upstream \"{upstream}\"")
    }
}

/// A hash table of peers, and those that were added when it was full. A place that was taken is never free again.
pub struct Table {
    slots: &'static [Slot],
    more: AtomicPtr<Table>,
}

#[derive(Default)]
struct Slot {
    hash: AtomicU32,
    peer: AtomicPtr<Peer>,
}

/// What a worker sees of a peer in the table without the lock.
pub enum Seen {
    Peer(Pinned),
    /// Something that only the lock makes clear.
    Maybe,
    Nothing,
}

/// A name, and its hash.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    hash: u32,
    name: &'a [u8],
}

impl<'a> Key<'a> {
    pub fn new(name: &'a [u8]) -> Self {
        // SAFETY: nginx reads so many bytes.
        let hash = unsafe { ngx_murmur_hash2(name.as_ptr().cast_mut(), name.len()) };

        Self { hash, name }
    }
}

impl Slot {
    fn get(&self) -> Option<&'static Peer> {
        // SAFETY: the pointer is null, or was made from a reference to a peer, whose memory stays that of one.
        unsafe { self.peer.load(Ordering::Acquire).as_ref() }
    }

    fn set(&self, peer: &'static Peer, hash: u32) {
        self.hash.store(hash, Ordering::Relaxed);
        self.peer.store(ptr::from_ref(peer).cast_mut(), Ordering::Release);
    }

    fn hash(&self) -> u32 {
        self.hash.load(Ordering::Relaxed)
    }

    fn is_still(&self, peer: &Peer) -> bool {
        ptr::eq(self.peer.load(Ordering::SeqCst), peer)
    }

    /// Takes the peer out of its place, for `other`, unless somebody has it pinned.
    fn take(&self, peer: &'static Peer, other: &'static Peer) -> bool {
        if peer.is_pinned() {
            return false;
        }

        self.peer.store(ptr::from_ref(other).cast_mut(), Ordering::SeqCst);

        // a worker that has pinned it before it saw this
        if peer.is_pinned() {
            self.peer.store(ptr::from_ref(peer).cast_mut(), Ordering::Release);
            return false;
        }

        true
    }
}

impl Table {
    pub fn new(pool: &LockedSlabPool, len: usize) -> Result<Self, NoMemory> {
        let slots = slab::alloc_slice(pool, len, |_| Slot::default())?;

        Ok(Self { slots, more: AtomicPtr::default() })
    }

    /// The memory that a table with so many places takes.
    pub fn size_of(len: usize) -> usize {
        slab::size_of::<Slot>(len).saturating_add(slab::size_of::<Self>(1))
    }

    /// How many peers there is room for.
    pub fn capacity(&self) -> usize {
        self.tables().fold(0, |sum, table| sum.saturating_add(table.slots.len()))
    }

    pub fn add_capacity(&self, pool: &LockedSlabPool, len: usize) -> Result<(), NoMemory> {
        let table = Self::new(pool, len)?;
        let slots = table.slots;

        let table = slab::alloc(pool, table).inspect_err(
            // SAFETY: they have just been allocated.
            |_| unsafe { slab::free(pool, slots) },
        )?;

        if let Some(last) = self.tables().last() {
            last.more.store(ptr::from_ref(table).cast_mut(), Ordering::Release);
        }

        Ok(())
    }

    fn tables(&self) -> impl Iterator<Item = &Self> {
        // SAFETY: the pointer is null, or was made from a reference to a table, which is never freed.
        core::iter::successors(Some(self), |table| unsafe {
            table.more.load(Ordering::Acquire).as_ref()
        })
    }

    /// The places of this table, from the one on where the hash belongs.
    fn from(&self, hash: u32) -> impl Iterator<Item = &'static Slot> {
        let first = (hash as usize).checked_rem(self.slots.len()).unwrap_or(0);
        let (before, after) = self.slots.split_at_checked(first).unwrap_or_default();

        after.iter().chain(before)
    }

    /// All places, in the order in which a peer is looked for, up to the first free one.
    fn probe(&self, hash: u32) -> impl Iterator<Item = &'static Slot> + '_ {
        self.tables().flat_map(move |table| table.from(hash))
    }

    /// Looks for a peer without the lock.
    pub fn see(&self, key: Key<'_>) -> Seen {
        for slot in self.probe(key.hash) {
            let Some(peer) = slot.get() else {
                return Seen::Nothing;
            };

            if slot.hash() != key.hash {
                continue;
            }

            return match peer.pin() {
                Some(pinned) if slot.is_still(peer) && pinned.name() == key.name => {
                    Seen::Peer(pinned)
                }
                _ => Seen::Maybe,
            };
        }

        Seen::Nothing
    }

    /// The peers. The caller has the lock.
    pub fn peers(&self) -> impl Iterator<Item = &'static Peer> + '_ {
        self.tables().flat_map(|table| table.slots).filter_map(Slot::get)
    }

    /// Looks for a peer. The caller has the lock.
    pub fn find(&self, key: Key<'_>) -> Option<&'static Peer> {
        self.probe(key.hash)
            .map_while(|slot| slot.get().map(|peer| (slot, peer)))
            .find(|(slot, peer)| slot.hash() == key.hash && peer.name() == key.name)
            .map(|(_, peer)| peer)
    }

    pub fn is_full(&self) -> bool {
        self.tables().flat_map(|table| table.slots).all(|slot| slot.get().is_some())
    }

    /// Adds a peer where there is room.
    pub fn add(
        &self,
        pool: &LockedSlabPool,
        upstream: &'static [u8],
        key: Key<'_>,
    ) -> Result<Option<&'static Peer>, NoMemory> {
        let Some(slot) = self.probe(key.hash).find(|slot| slot.get().is_none()) else {
            return Ok(None);
        };

        let peer = Peer::new(pool, upstream, key.name)?;
        slot.set(peer, key.hash);

        Ok(Some(peer))
    }

    /// Adds a peer in the place of one that no configuration since that generation has named, and that nobody has to do
    /// with any more. Its figures go to `other`.
    pub fn replace(
        &self,
        pool: &LockedSlabPool,
        key: Key<'_>,
        generation: u32,
        other: &'static Peer,
    ) -> Result<Option<&'static Peer>, NoMemory> {
        let slots = self.tables().flat_map(|table| table.slots);

        let gone = slots
            .filter_map(|slot| slot.get().map(|peer| (slot, peer)))
            .filter(|(_, peer)| peer.named.load(Ordering::Relaxed) < generation)
            .filter(|(_, peer)| !peer.is_pinned())
            .min_by_key(|(_, peer)| peer.named.load(Ordering::Relaxed));

        let Some((slot, peer)) = gone else {
            return Ok(None);
        };

        let name = slab::alloc_bytes(pool, key.name)?;

        if !slot.take(peer, other) {
            // SAFETY: the name has just been allocated.
            unsafe { slab::free(pool, name) };
            return Ok(None);
        }

        peer.become_another(pool, name, other);
        peer.set_named(0);
        slot.set(peer, key.hash);

        Ok(Some(peer))
    }
}
