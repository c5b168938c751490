//! The table that an upstream's peers are found in, without a lock where they have their places.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use nginx_sys::ngx_murmur_hash2;
use ngx::core::slab::LockedSlabPool;

use super::peer::{Peer, Pinned};
use super::slab::{self, NoMemory, Shared};

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

// SAFETY: it refers to what is in the zone.
unsafe impl Shared for Slot {}

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

// SAFETY: it refers to what is in the zone.
unsafe impl Shared for Table {}

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
            .filter(|(_, peer)| peer.named() < generation)
            .filter(|(_, peer)| !peer.is_pinned())
            .min_by_key(|(_, peer)| peer.named());

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
